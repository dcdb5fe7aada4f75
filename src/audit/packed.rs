//! Numbers and texts as few bytes: LEB128, with signs folded in, and texts with their length before them. What is read may
//! be damaged, so that reading says `None` where nothing can stand.

/// Bits of a byte that carry something; the eighth says that more follow.
const BITS: u32 = 7;
const MORE: u8 = 1 << BITS;

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= u64::from(MORE) {
        out.push(number.to_le_bytes()[0] | MORE);
        number >>= BITS;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Appends a number that is near 0 on either side.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Appends bytes, and how many they are.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The number at the beginning, which is taken away.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    let mut number = u64::from(first & !MORE);
    let (mut last, mut shift) = (*first, BITS);
    while last & MORE != 0 {
        let (next, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(next & !MORE).checked_shl(shift)?;
        (last, shift) = (*next, shift + BITS);
    }
    Some(number)
}

/// Likewise, of [`put_signed`].
pub(super) fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    let number = take(bytes)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Likewise, of so many bytes as they are.
pub(super) fn take_array<const MANY: usize>(bytes: &mut &[u8]) -> Option<[u8; MANY]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Likewise, of [`put_bytes`].
pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let many = usize::try_from(take(bytes)?).ok()?;
    let (first, rest) = bytes.split_at_checked(many)?;
    *bytes = rest;
    Some(first)
}

/// Likewise, where they are a text.
pub(super) fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(bytes)?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_in_the_same_order_and_half_of_it_is_nothing() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let signed = [0, 1, -1, 63, -64, -65, i64::MAX, i64::MIN];
        let mut out = Vec::new();
        numbers.iter().for_each(|number| put(&mut out, *number));
        signed.iter().for_each(|number| put_signed(&mut out, *number));
        put_bytes(&mut out, "straße".as_bytes());
        out.extend_from_slice(&[1, 2, 3]);
        let read = |mut bytes: &[u8]| {
            let numbers: Option<Vec<_>> = numbers.iter().map(|_| take(&mut bytes)).collect();
            let signed: Option<Vec<_>> = signed.iter().map(|_| take_signed(&mut bytes)).collect();
            Some((numbers?, signed?, take_text(&mut bytes)?.to_owned(), take_array::<3>(&mut bytes)?))
        };
        let expect = (numbers.to_vec(), signed.to_vec(), "straße".to_owned(), [1, 2, 3]);
        assert_eq!(read(&out), Some(expect));
        assert!((0..out.len()).all(|half| read(&out[..half]).is_none()));
    }

    #[test]
    fn a_number_that_never_ends_is_none_and_a_text_is_one() {
        assert_eq!(take(&mut &[0xff; 64][..]), None);
        assert_eq!(take_text(&mut &[2, 0xc3, 0x28][..]), None);
        assert_eq!(take_bytes(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f, 1][..]), None);
    }
}
