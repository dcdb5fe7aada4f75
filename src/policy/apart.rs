//! Values that different threads write to, in cache lines of their own: two in one line are written as if they were
//! one, and each write waits until the line has come from the core that wrote last.

use std::ops::Deref;

/// A value with no neighbour in its line. Two lines of 64 bytes: x86 fetches them in pairs, and some of ARM's have 128.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Apart<T>(pub T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_two_lines_apart() {
        let row = [Apart(1_u8), Apart(2)];
        let [first, second] = row.each_ref().map(|one| std::ptr::from_ref(&**one).addr());
        assert_eq!((second - first, *row[1]), (128, 2));
    }
}
