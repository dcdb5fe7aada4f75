//! What large tables are made of: columns of plain numbers that are the same in memory and on disk, and an index
//! over their rows. Both are bytes that are used where they lie, built here or read from a file: nothing is
//! allocated for a row, and a table of a million is freed as a handful of buffers.
//!
//! Numbers are little-endian and unaligned, so that no byte of a file has to lie anywhere in particular.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes, Unaligned};

/// Of so many slots of an index one stays free: a look-up tries two and a half slots where the row is there and eight
/// and a half where it is not (Knuth, volume 3, 6.4, linear probing), mostly in one line of the cache.
const SLOTS_WITH_ONE_FREE: usize = 4;

/// Numbers of one kind, one after the other.
pub struct Column<T> {
    bytes: Bytes,
    of: PhantomData<fn() -> T>,
}

/// What a column can hold: numbers as they lie in a file.
pub trait Element: FromBytes + IntoBytes + Immutable + Unaligned + Copy + Send + Sync + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Unaligned + Copy + Send + Sync + 'static> Element for T {}

/// A vector as its bytes.
struct Owned<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice().as_bytes()
    }
}

impl<T: Element> Column<T> {
    /// Of numbers that were made here; their bytes stay where they are.
    pub fn new(mut items: Vec<T>) -> Self {
        items.shrink_to_fit();
        Self { bytes: Bytes::from_owner(Owned(items)), of: PhantomData }
    }

    /// Of bytes; `None` where the last element is cut short.
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        bytes.len().is_multiple_of(size_of::<T>()).then_some(Self { bytes, of: PhantomData })
    }

    /// The numbers.
    #[inline]
    pub fn items(&self) -> &[T] {
        <[T]>::ref_from_bytes(&self.bytes)
            .expect("a column is made of whole elements, and they have no alignment")
    }

    /// The same as bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<T: Element> Default for Column<T> {
    fn default() -> Self {
        Self { bytes: Bytes::new(), of: PhantomData }
    }
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), of: PhantomData }
    }
}

impl<T: Element> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements", self.items().len())
    }
}

/// An index: from the hash of a key to where its row is, by open addressing. It holds positions and a byte of each hash
/// alone; whose key is meant, its user compares in the rows.
#[derive(Clone, Debug, Default)]
pub struct Slots(Column<Slot>);

/// The position of a row plus one, and the lowest byte of its key's hash: of 256 other keys that a look-up passes one has
/// to be read, and each would be a miss of the cache. All zeros where the slot is free.
type Slot = [u8; 5];

impl Slots {
    /// Of bytes; `None` unless they have slots for so many keys, and positions of which `is_sound` holds.
    pub fn from_bytes(bytes: Bytes, keys: usize, is_sound: impl Fn(usize) -> bool) -> Option<Self> {
        let slots = Column::<Slot>::from_bytes(bytes)?;
        let sound = |slot: &Slot| row_in(slot).is_none_or(&is_sound);
        (slots.items().len() == slots_for(keys) && slots.items().iter().all(sound)).then_some(Self(slots))
    }

    /// The row with this hash of which `is` holds.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        find(self.0.items(), hash, is).ok()
    }

    /// The same as bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        self.0.bytes()
    }

    /// How many slots the longest look-up of a key that is there can try; those that are free keep it short.
    pub fn longest_walk(&self) -> usize {
        let slots = self.0.items();
        slots.split(|slot| row_in(slot).is_none()).map(<[_]>::len).max().unwrap_or(0)
    }
}

/// An index while it is made.
pub struct SlotsBuilder(Vec<Slot>);

impl SlotsBuilder {
    /// For so many keys.
    pub fn new(keys: usize) -> Self {
        Self(vec![Slot::default(); slots_for(keys)])
    }

    /// Enters a row, unless one is there with this hash of which `is` holds: that one is returned.
    pub fn enter(&mut self, hash: u64, row: usize, is: impl Fn(usize) -> bool) -> Option<usize> {
        match find(&self.0, hash, is) {
            Ok(there) => return Some(there),
            Err(free) => self.0[free.expect("a quarter of the slots is free")] = slot_of(row, tag(hash)),
        }
        None
    }

    /// The index.
    pub fn finish(self) -> Slots {
        Slots(Column::new(self.0))
    }
}

const fn slots_for(keys: usize) -> usize {
    keys.div_ceil(SLOTS_WITH_ONE_FREE - 1) * SLOTS_WITH_ONE_FREE
}

/// The row with this hash of which `is` holds; else the free slot where it belongs, unless there are none at all.
#[inline]
fn find(slots: &[Slot], hash: u64, is: impl Fn(usize) -> bool) -> Result<usize, Option<usize>> {
    for at in walk(hash, slots.len()) {
        let slot = &slots[at];
        match row_in(slot) {
            None => return Err(Some(at)),
            Some(row) if slot[4] == tag(hash) && is(row) => return Ok(row),
            Some(_) => {}
        }
    }
    Err(None)
}

/// Slots in the order in which they are tried: each once, from the one that the hash names.
#[inline]
fn walk(hash: u64, slots: usize) -> impl Iterator<Item = usize> {
    // The upper bits of the product spread the hash evenly over any number of slots (Lemire, 2019).
    let home = usize::try_from((u128::from(hash) * slots as u128) >> 64).expect("below the number of slots");
    (home..slots).chain(0..home)
}

fn slot_of(row: usize, tag: u8) -> Slot {
    let number = u32::try_from(row + 1).expect("config limits tables far below 2^32 rows");
    let [a, b, c, d] = number.to_le_bytes();
    [a, b, c, d, tag]
}

#[inline]
fn row_in(&[a, b, c, d, _]: &Slot) -> Option<usize> {
    (u32::from_le_bytes([a, b, c, d]) as usize).checked_sub(1)
}

/// The lowest byte: [`walk`] begins where the highest ones say.
#[inline]
const fn tag(hash: u64) -> u8 {
    hash as u8
}

/// The hash of a number: the finalizer of splitmix64 (Steele, Lea and Flood, 2014). It stands in files, so another one
/// is another version of their format. It has no key: what is in a table its owner wrote, a quarter of the slots is
/// free whoever asks, and look-ups change nothing.
#[inline]
pub const fn hash_number(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The hash of a short text: FNV-1a, spread by [`hash_number`].
#[inline]
pub fn hash_text(text: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    hash_number(text.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}
