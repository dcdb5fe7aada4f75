//! The terminal while the live view has it: entered, drawn on, and left as it was found, however this ends.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use futures_util::StreamExt;

use crate::view::{Row, Tone};

/// Where a terminal does not say its size.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Whether there is a person at a terminal that can be drawn on.
pub fn is_there() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// A letter or a sign, in lower case.
    Sign(char),
    /// Ctrl-C, or the terminal is gone.
    Stop,
    /// Any other key.
    Other,
}

/// A terminal in raw mode; as it was before when this is dropped.
pub struct Screen {
    keys: EventStream,
    out: io::Stdout,
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> Result<Self> {
        leave_on_panic();
        enable_raw_mode().context("taking the terminal")?;
        // From here on dropping it gives the terminal back.
        let mut screen = Self { keys: EventStream::new(), out: io::stdout() };
        execute!(screen.out, EnterAlternateScreen, Hide).context("taking the terminal")?;
        Ok(screen)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        let (columns, rows) = size().unwrap_or(USUAL_SIZE);
        (columns.into(), rows.into())
    }

    /// Replaces what is shown.
    pub fn draw(&mut self, rows: &[Row]) -> Result<()> {
        self.queue_rows(rows).context("drawing on the terminal")
    }

    /// Shows a text of any length where it stays, below what was there before, until a key is pressed.
    pub async fn page(&mut self, text: &str) -> Result<Pressed> {
        let shown = || "showing a text on the terminal";
        execute!(self.out, LeaveAlternateScreen, Show).with_context(shown)?;
        // In raw mode a line feed alone does not go back to the first column.
        let text = text.replace('\n', "\r\n");
        write!(self.out, "{text}\r\n[any key: back to the live view; q: quit] ").with_context(shown)?;
        self.out.flush().with_context(shown)?;
        let pressed = self.pressed().await;
        write!(self.out, "\r\n").with_context(shown)?;
        execute!(self.out, EnterAlternateScreen, Hide).with_context(shown)?;
        Ok(pressed)
    }

    /// The next key.
    pub async fn pressed(&mut self) -> Pressed {
        loop {
            match self.keys.next().await {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => return meant(key),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Pressed::Stop,
            }
        }
    }

    fn queue_rows(&mut self, rows: &[Row]) -> io::Result<()> {
        queue!(self.out, MoveTo(0, 0))?;
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                queue!(self.out, Print("\r\n"))?;
            }
            for (tone, text) in row {
                self.queue_piece(*tone, text)?;
            }
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, Clear(ClearType::FromCursorDown))?;
        self.out.flush()
    }

    /// `NO_COLOR` is kept by the library.
    fn queue_piece(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        match tone {
            Tone::Plain => return queue!(self.out, Print(text)),
            Tone::Strong => queue!(self.out, SetAttribute(Attribute::Bold))?,
            Tone::Quiet => queue!(self.out, SetAttribute(Attribute::Dim))?,
            Tone::Good => queue!(self.out, SetForegroundColor(Color::Green))?,
            Tone::Bad => queue!(self.out, SetForegroundColor(Color::Red), SetAttribute(Attribute::Bold))?,
        }
        queue!(self.out, Print(text), SetAttribute(Attribute::Reset), ResetColor)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn meant(key: KeyEvent) -> Pressed {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Pressed::Stop,
        KeyCode::Char(sign) => Pressed::Sign(sign.to_ascii_lowercase()),
        _ => Pressed::Other,
    }
}

/// A terminal that is gone cannot be left any better than this.
fn leave() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// What a panic says must be readable where the person is looking.
fn leave_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        before(panic);
    }));
}
