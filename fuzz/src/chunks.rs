//! Bytes as a chunked body.

use cellgate::policy::gate::ChunkReader;

/// It is read alike in one piece and in many; what ends, ends where an independent reader of chunks ends it; and
/// nothing behind the end changes that. Returns whether it ends.
pub fn chunks(data: &[u8]) -> bool {
    let ends = read(data, data.len().max(1));
    for step in [1, 7] {
        assert_eq!(read(data, step), ends, "in pieces of {step}");
    }
    let Ok(true) = ends else { return false };
    let mut reader = ChunkReader::default();
    let end = data.iter().position(|byte| reader.read(&[*byte]).is_ok() && reader.is_done());
    let end = end.expect("it ends somewhere") + 1;
    assert_eq!(read(&data[..end], end), Ok(true));
    assert_eq!(end_by_another(data), Some(end), "{:?}", String::from_utf8_lossy(data));
    true
}

fn read(data: &[u8], step: usize) -> Result<bool, ()> {
    let mut reader = ChunkReader::default();
    for piece in data.chunks(step) {
        reader.read(piece).map_err(|_| ())?;
    }
    Ok(reader.is_done())
}

/// Where a body ends by httparse, which servers of Rust read chunks with.
fn end_by_another(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let httparse::Status::Complete((head, size)) = httparse::parse_chunk_size(&data[at..]).ok()? else {
            return None;
        };
        at += head;
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; 128];
            return match httparse::parse_headers(&data[at..], &mut fields) {
                Ok(httparse::Status::Complete((length, _))) => Some(at + length),
                // Trailers are dropped, whatever they say; where they end is all that counts.
                _ => at.checked_add(data[at..].windows(4).position(|four| four == b"\r\n\r\n")? + 4),
            };
        }
        at += usize::try_from(size).ok()?;
        (data.get(at..at + 2)? == b"\r\n").then_some(())?;
        at += 2;
    }
}
