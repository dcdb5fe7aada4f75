//! A command in lines of a terminal that a shell takes together again. Knows as much of a shell as [`super::commands`] writes:
//! words, both kinds of quotes, and a backslash before a character.

use super::words;

/// Narrower than this is no terminal, and what does not fit is not seen.
const NARROWEST: usize = 20;

/// What stands behind the last word of a line that goes on: a blank and the backslash.
const GOES_ON: usize = 2;

/// In lines of this width, broken between words, and in a word only where that alone is longer than a line.
///
/// A backslash has the last column: blanks behind it, which a mouse may take too, would make it one before a blank.
pub fn in_lines(command: &str, width: usize) -> Vec<String> {
    let width = width.max(NARROWEST);
    if words::width(command.trim_end()) <= width {
        return vec![command.to_owned()];
    }
    let (mut lines, mut line) = (Vec::new(), String::new());
    for (at, word) in shell_words(command).into_iter().enumerate() {
        // The last is nothing where the command ends with a blank: a reason follows it.
        let has_room = word.is_empty() || words::width(&line) + 1 + words::width(word) <= width - GOES_ON;
        if at > 0 && has_room {
            line.push(' ');
        } else if at > 0 {
            lines.push(words::left(&line, width - 1) + "\\");
            line.clear();
        }
        let mut pieces = pieces(word, width);
        line.push_str(&pieces.pop().unwrap_or_default());
        lines.extend(pieces);
    }
    lines.push(line);
    lines
}

/// Inside which quotes a character is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    None,
    Single,
    Double,
}

/// Characters as a shell takes them, a backslash with the one behind it; and inside which quotes each of them leaves it.
fn taken(text: &str) -> impl Iterator<Item = (&str, Quotes)> {
    let (mut rest, mut quotes) = (text, Quotes::None);
    std::iter::from_fn(move || {
        let mut characters = rest.chars();
        let first = characters.next()?;
        quotes = match (quotes, first) {
            (Quotes::None, '\'') => Quotes::Single,
            (Quotes::None, '"') => Quotes::Double,
            (Quotes::Single, '\'') | (Quotes::Double, '"') => Quotes::None,
            (Quotes::None | Quotes::Double, '\\') => {
                characters.next();
                quotes
            }
            (as_before, _) => as_before,
        };
        let (one, others) = rest.split_at(rest.len() - characters.as_str().len());
        rest = others;
        Some((one, quotes))
    })
}

/// Split at blanks outside quotes.
fn shell_words(command: &str) -> Vec<&str> {
    let (mut all, mut from, mut at) = (Vec::new(), 0, 0);
    for (one, quotes) in taken(command) {
        if one == " " && quotes == Quotes::None {
            all.push(&command[from..at]);
            from = at + 1;
        }
        at += one.len();
    }
    all.push(&command[from..]);
    all
}

/// A word in as few pieces as fit, each but the last a whole line with its backslash. Inside single quotes that would be a
/// character of the word: they end before it, and begin anew.
fn pieces(word: &str, width: usize) -> Vec<String> {
    if words::width(word) <= width - GOES_ON {
        return vec![word.to_owned()];
    }
    // For the backslash, and a quote before it.
    let room = width - 2;
    let (mut all, mut piece, mut within) = (Vec::new(), String::new(), Quotes::None);
    for (one, quotes) in taken(word) {
        if words::width(&piece) + words::width(one) > room {
            let quote = if within == Quotes::Single { "'" } else { "" };
            all.push(std::mem::replace(&mut piece, quote.to_owned()) + quote + "\\");
        }
        piece.push_str(one);
        within = quotes;
    }
    all.push(piece);
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_command_that_fits_is_one_line_and_another_is_broken_between_words() {
        let command = "cellgate cap cell us1 in_flight 12 --socket /run/cellgate/admin.sock --reason ";
        assert_eq!(in_lines(command, 77), [command]);
        let lines = in_lines(command, 44);
        assert_eq!(
            lines,
            ["cellgate cap cell us1 in_flight 12         \\", "--socket /run/cellgate/admin.sock --reason "]
        );
    }

    #[test]
    fn a_shell_takes_the_lines_as_the_command_at_every_width() {
        let commands = [
            "printf '<%s>' cellgate drain endpoint 10.0.0.1:443 --socket /run/cellgate/admin.sock --reason ",
            r"printf '<%s>' 'x; rm -rf '\''y'\''' '/run/cell gate/a folder with a very long name/a.sock' --reason ",
            r#"printf '<%s>' -H "Authorization: Bearer $HOME and \"what is long\"" https://edge-a.example:9443/config"#,
            "printf '<%s>' /run/a-folder-with-a-name-that-is-longer-than-any-line-of-a-narrow-terminal/admin.sock",
        ];
        let said = |script: &str| {
            let output = Command::new("sh").args(["-c", script]).output().unwrap();
            assert!(output.status.success() && !output.stdout.is_empty(), "{script}");
            String::from_utf8(output.stdout).unwrap()
        };
        for command in commands {
            let expect = said(command);
            for width in [20, 21, 22, 23, 31, 40, 64, 80, 200] {
                let lines = in_lines(command, width);
                let widest = lines.iter().map(|line| words::width(line.trim_end())).max().unwrap();
                assert!(widest <= width, "{lines:#?}");
                assert_eq!(said(&lines.join("\n")), expect, "{width}: {lines:#?}");
            }
        }
    }
}
