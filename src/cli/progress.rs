//! Signs of life of commands that may take longer than somebody waits without one: on a terminal's standard error, and
//! nowhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often it moves: as seldom as still looks alive, for it is drawn over ssh.
const EVERY: Duration = Duration::from_millis(200);

/// Shows what is being done, until it is dropped.
#[must_use]
pub(super) struct Busy(ProgressBar);

/// `what` is said in the form of "reading the books". Nothing is drawn into a pipe or a file.
pub(super) fn busy(what: &str) -> Busy {
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg}, {elapsed}"));
    Busy(begun(bar, what))
}

/// The same of work that is counted.
pub(super) fn counted(what: &str, all: usize) -> Busy {
    let bar = ProgressBar::new(all as u64).with_style(style("{spinner} {msg} [{bar:30}] {pos}/{len}"));
    Busy(begun(bar, what))
}

impl Busy {
    /// One more is done.
    pub(super) fn one_more(&self) {
        self.0.inc(1);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn begun(bar: ProgressBar, what: &str) -> ProgressBar {
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(EVERY);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a test draws each template").tick_chars("|/-\\ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_can_be_drawn_and_ends() {
        drop(busy("reading the books"));
        let letters = counted("writing letters", 2);
        letters.one_more();
        drop(letters);
    }
}
