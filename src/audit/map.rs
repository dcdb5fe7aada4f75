//! The hash map of the books. Its hasher is several times as fast as that of the standard library and has keys of each process
//! as well: addresses and names of programs are chosen by clients, and no list of them is slow in more than one process.

/// A hash map whose keys clients may have chosen.
pub(super) type Map<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;
