//! The `cellgate` command.

fn main() {}
