//! The terminal: taken, given back whatever happens, and drawn on. Everything else is decided elsewhere.

use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::{cursor, execute, terminal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, kill_current_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::super::OK;
use super::asking;
use super::draw::{Look, draw};
use super::keys::{Act, press};
use super::view::Top;

/// How often it is looked whether somebody has answered or wants this to end: sooner than a person notices.
const LOOK: Duration = Duration::from_millis(100);

/// Clocks and ages on the screen go on by themselves.
const REDRAW: Duration = Duration::from_secs(1);

/// Signals that wait: each says the same as the one before.
const SIGNALS: usize = 8;

/// How long what should end may take to do so in order, and then to give back the terminal: some looks and a frame over a slow
/// line. Both together are less than a second.
const PATIENCE: Duration = Duration::from_millis(400);

/// Shows it until somebody ends it.
pub fn show(mut top: Top, look: Look, every: Duration) -> io::Result<()> {
    let is_paused = Arc::new(AtomicBool::new(false));
    let heard = asking::begin(&top.fleet, every, &is_paused)?;
    let signals = signals()?;
    let mut held = Held::take()?;
    let mut drawn: Option<Instant> = None;
    loop {
        while let Ok((at, said)) = heard.try_recv() {
            // What was on its way when somebody pressed p.
            if top.view.paused.is_none() {
                top.fleet.hear(at, said, SystemTime::now());
                drawn = None;
            }
        }
        match signals.try_recv() {
            Ok(Wish::End) => return Ok(()),
            Ok(Wish::Anew) => {
                held.take_again()?;
                drawn = None;
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        if drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            let now = SystemTime::now();
            held.terminal.draw(|frame| draw(&top, now, look, frame.area(), frame.buffer_mut()))?;
            drawn = Some(Instant::now());
        }
        if !event::poll(LOOK)? {
            continue;
        }
        drawn = None;
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let width = usize::from(held.terminal.size()?.width);
        match press(&mut top, key, width, SystemTime::now()) {
            Act::Stay => is_paused.store(top.view.paused.is_some(), Ordering::Relaxed),
            Act::Anew => held.terminal.clear()?,
            Act::Suspend => held.suspend()?,
            Act::Quit => return Ok(()),
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug)]
enum Wish {
    End,
    /// The process was stopped and goes on.
    Anew,
}

/// The terminal while it is ours.
struct Held {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Held {
    fn take() -> io::Result<Self> {
        give_back_in_panics();
        let held = Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))? };
        enter()?;
        Ok(held)
    }

    /// After somebody else has had it, whatever they left of it.
    fn take_again(&mut self) -> io::Result<()> {
        leave();
        enter()?;
        self.terminal.clear()
    }

    /// As a shell expects of Ctrl-Z: the whole job stops, with the terminal as it was. Where no shell controls jobs, the system
    /// ignores the signal, and this goes on at once.
    fn suspend(&mut self) -> io::Result<()> {
        leave();
        kill_current_process_group(Signal::TSTP)?;
        self.take_again()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)
}

/// A terminal that is gone needs nothing back. What never waits comes first.
fn leave() {
    let _ = terminal::disable_raw_mode();
    let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
}

/// Before a panic of this thread is told: on the screen that is left it would be lost, and the shell afterwards unusable.
fn give_back_in_panics() {
    let (told, drawing) = (std::panic::take_hook(), std::thread::current().id());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == drawing {
            leave();
        }
        told(panic);
    }));
}

/// Threads that wait for them, and for the terminal to go: nothing may end the process while the terminal is ours, and all of this
/// has to.
fn signals() -> io::Result<Receiver<Wish>> {
    let (sender, receiver) = sync_channel(SIGNALS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let inside = runtime.enter();
    let ends = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [mut term, mut int, mut hup] = [signal(ends[0])?, signal(ends[1])?, signal(ends[2])?];
    let mut goes_on = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
    drop(inside);
    let of_terminal = sender.clone();
    let wait = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = term.recv() => return,
                    _ = int.recv() => return,
                    _ = hup.recv() => return,
                    // Where there is no room, the same is said already.
                    _ = goes_on.recv() => drop(sender.try_send(Wish::Anew)),
                }
            }
        });
        end(&sender);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    let hung_up = move || {
        if hung_up() {
            end(&of_terminal);
        }
    };
    std::thread::Builder::new().name("hang-up".into()).spawn(hung_up)?;
    Ok(receiver)
}

/// Waits until nobody can press a key any more: whoever is in another session than the terminal is sent no signal then. False
/// where the system cannot tell.
fn hung_up() -> bool {
    let keys = io::stdin();
    loop {
        // Asks for nothing: of a terminal that is gone it is told in any case.
        match poll(&mut [PollFd::new(&keys, PollFlags::empty())], None) {
            Err(Errno::INTR) => {}
            told => return told.is_ok(),
        }
    }
}

/// Has the loop end, and ends the process where the loop cannot: crossterm reads nothing for ever from a terminal that is gone,
/// and a terminal that takes nothing blocks whoever draws on it.
fn end(wishes: &SyncSender<Wish>) {
    if let Err(TrySendError::Disconnected(_)) = wishes.try_send(Wish::End) {
        return;
    }
    std::thread::sleep(PATIENCE);
    // In a thread of its own: it waits for the same terminal.
    let (sender, has_left) = sync_channel(1);
    let give_back = move || {
        leave();
        // Nobody may wait for it any more.
        let _ = sender.send(());
    };
    if std::thread::Builder::new().name("leaving".into()).spawn(give_back).is_ok() {
        // Whether it has left or not: there is no more time.
        let _ = has_left.recv_timeout(PATIENCE);
    }
    std::process::exit(OK.into());
}
