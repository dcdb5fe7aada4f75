//! Work that is done on several threads, with a result that does not depend on how many there are.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// A report runs beside a proxy that serves, and half a year of books has seven months: more threads would wait for the
/// last one.
const MOST_THREADS: usize = 4;

/// Into so many parts is the work of a thread divided: who is done early takes more of them.
const PARTS: usize = 16;

/// What becomes of each of these, in their order.
pub(super) fn each<T: Send, R: Send>(of: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads =
        thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS).min(of.len());
    let at_a_time = (of.len() / (threads.max(1) * PARTS)).max(1);
    let left = Mutex::new(of.into_iter().enumerate());
    let done: Mutex<Vec<(usize, Vec<R>)>> = Mutex::default();
    let run = || {
        loop {
            let part: Vec<_> = locked(&left).by_ref().take(at_a_time).collect();
            let Some((first, _)) = part.first() else { break };
            let first = *first;
            let results = part.into_iter().map(|(_, one)| work(one)).collect();
            locked(&done).push((first, results));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where no more threads are to be had, those that are there do all of it.
            let _ = thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(first, _)| *first);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

/// A panic of another thread ends the scope, and with it whoever waits here.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_what_they_are_of() {
        let squares = each((0..1_000u64).collect(), |number| number * number);
        assert!(squares.len() == 1_000 && squares.iter().zip(0u64..).all(|(square, of)| *square == of * of));
        assert!(each(Vec::<u64>::new(), |number| number).is_empty());
    }
}
