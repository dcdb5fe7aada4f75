//! What large tables are made of: columns of plain numbers that are the same in memory and on disk, and an index
//! over their rows. Both are bytes that are used where they lie, built here or read from a file: nothing is
//! allocated for a row, and a table of a million is freed as a handful of buffers.
//!
//! Numbers are little-endian and unaligned, so that no byte of a file has to lie anywhere in particular.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes, Unaligned};

/// Slots for each row of an index. Half of them stay free, so that a look-up tries one and a half slots where the
/// row is there and two and a half where it is not (Knuth, volume 3, 6.4, linear probing).
const SLOTS_A_ROW: usize = 2;

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

/// An index: from the hash of a key to where its row is, by open addressing. It holds places and a byte of each hash
/// alone; whose key is meant, its user compares in the rows.
#[derive(Clone, Debug)]
pub struct Slots<P: Place>(Column<P::Slot>);

/// Where a row is, as it lies in a slot.
pub trait Place: Copy {
    /// It and the lowest byte of its key's hash: of 256 other keys that a look-up passes one has to be read, and
    /// each would be a miss of the cache. All zeros where the slot is free.
    type Slot: Element + Default;

    /// Of a place and a byte.
    fn to_slot(self, tag: u8) -> Self::Slot;

    /// Back again; `None` of a free one.
    fn from_slot(slot: &Self::Slot) -> Option<(Self, u8)>;
}

/// The position of a row.
impl Place for usize {
    type Slot = [u8; 5];

    fn to_slot(self, tag: u8) -> [u8; 5] {
        let [a, b, c, d] = number_of(self);
        [a, b, c, d, tag]
    }

    #[inline]
    fn from_slot(&[a, b, c, d, tag]: &[u8; 5]) -> Option<(Self, u8)> {
        Some((row_of([a, b, c, d])?, tag))
    }
}

/// The position of a row, and of its key elsewhere: to have both at hand is to wait for one miss of the cache less.
impl Place for (usize, u32) {
    type Slot = [u8; 9];

    fn to_slot(self, tag: u8) -> [u8; 9] {
        let ([a, b, c, d], [e, f, g, h]) = (number_of(self.0), self.1.to_le_bytes());
        [a, b, c, d, e, f, g, h, tag]
    }

    #[inline]
    fn from_slot(&[a, b, c, d, e, f, g, h, tag]: &[u8; 9]) -> Option<(Self, u8)> {
        Some(((row_of([a, b, c, d])?, u32::from_le_bytes([e, f, g, h])), tag))
    }
}

impl<P: Place> Slots<P> {
    /// Of bytes; `None` unless they have slots for so many keys, and places that are sound.
    pub fn from_bytes(bytes: Bytes, keys: usize, is_sound: impl Fn(P) -> bool) -> Option<Self> {
        let slots = Column::<P::Slot>::from_bytes(bytes)?;
        let sound = |slot: &P::Slot| P::from_slot(slot).is_none_or(|(place, _)| is_sound(place));
        (slots.items().len() == keys * SLOTS_A_ROW && slots.items().iter().all(sound)).then_some(Self(slots))
    }

    /// The place with this hash of which `is` holds.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(P) -> bool) -> Option<P> {
        find(self.0.items(), hash, is).ok()
    }

    /// The same as bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        self.0.bytes()
    }

    /// How many slots the longest look-up of a key that is there can try; the half that is free keeps it short.
    pub fn longest_walk(&self) -> usize {
        let slots = self.0.items();
        slots.split(|slot| P::from_slot(slot).is_none()).map(<[_]>::len).max().unwrap_or(0)
    }
}

impl<P: Place> Default for Slots<P> {
    fn default() -> Self {
        Self(Column::default())
    }
}

/// An index while it is made.
pub struct SlotsBuilder<P: Place>(Vec<P::Slot>);

impl<P: Place> SlotsBuilder<P> {
    /// For so many keys.
    pub fn new(keys: usize) -> Self {
        Self(vec![P::Slot::default(); keys * SLOTS_A_ROW])
    }

    /// Enters a place, unless one is there with this hash of which `is` holds: that one is returned.
    pub fn enter(&mut self, hash: u64, place: P, is: impl Fn(P) -> bool) -> Option<P> {
        match find(&self.0, hash, is) {
            Ok(there) => return Some(there),
            Err(free) => self.0[free.expect("half of the slots are free")] = place.to_slot(tag(hash)),
        }
        None
    }

    /// The index.
    pub fn finish(self) -> Slots<P> {
        Slots(Column::new(self.0))
    }
}

/// The place with this hash of which `is` holds; else the free slot where it belongs, unless there are none at all.
#[inline]
fn find<P: Place>(slots: &[P::Slot], hash: u64, is: impl Fn(P) -> bool) -> Result<P, Option<usize>> {
    for at in walk(hash, slots.len()) {
        match P::from_slot(&slots[at]) {
            None => return Err(Some(at)),
            Some((place, its)) if its == tag(hash) && is(place) => return Ok(place),
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

/// The position of a row plus one: zero is free.
fn number_of(row: usize) -> [u8; 4] {
    u32::try_from(row + 1).expect("config limits tables far below 2^32 rows").to_le_bytes()
}

#[inline]
fn row_of(number: [u8; 4]) -> Option<usize> {
    (u32::from_le_bytes(number) as usize).checked_sub(1)
}

/// The lowest byte: [`walk`] begins where the highest ones say.
#[inline]
const fn tag(hash: u64) -> u8 {
    hash as u8
}

/// The hash of a number: the finalizer of splitmix64 (Steele, Lea and Flood, 2014). It stands in files, so another one
/// is another version of their format. It has no key: what is in a table its owner wrote, half of the slots are
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
