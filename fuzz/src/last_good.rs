//! Bytes as the last good configuration on disk.

use aws_lc_rs::digest::{SHA256, digest};
use cellgate::last_good::LastGood;
use cellgate::policy::hex::hex;

/// Nothing is read that would be written differently, no byte is in it that was not in the file, and none of the
/// file's is left over. By chance no digest fits, so bytes without one are tried with theirs too. Returns
/// whether there is a configuration.
pub fn last_good(data: &[u8]) -> bool {
    let sealed = format!("cellgate-last-good 1 {}\n", hex(digest(&SHA256, data).as_ref()));
    let with_digest = [sealed.as_bytes(), data].concat();
    let read = LastGood::from_bytes(&with_digest);
    if LastGood::from_bytes(data).is_ok() {
        assert!(read.is_err(), "a whole file is no list of files");
        return came_back(data);
    }
    read.is_ok() && came_back(&with_digest)
}

fn came_back(bytes: &[u8]) -> bool {
    let read = LastGood::from_bytes(bytes).expect("it was read a moment ago");
    let (first, second) = (find(bytes, 0), find(bytes, find(bytes, 0)));
    let all: usize = read.files.values().map(Vec::len).sum();
    assert_eq!(second + all, bytes.len(), "two lines and the files");
    let mut altered = bytes.to_vec();
    *altered.last_mut().expect("it has a line") ^= 1;
    assert!(LastGood::from_bytes(&altered).is_err(), "a changed byte");
    let written = read.to_bytes();
    assert_eq!(LastGood::from_bytes(&written).as_ref(), Ok(&read));
    assert_eq!(first, find(&written, 0), "digests have one length");
    true
}

/// Where the line ends that begins here.
fn find(bytes: &[u8], from: usize) -> usize {
    let end = bytes[from..].iter().position(|byte| *byte == b'\n');
    from + end.expect("two lines were read") + 1
}
