//! What pages of the documentation are made of, as far as tests look at it: links, and lines that are no code.

#![allow(dead_code)]

/// Targets of links that stay within the repository.
pub fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in without_code(text) {
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.is_empty() {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// Its lines but those of code blocks.
pub fn without_code(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}
