//! Bytes as a chunked body.

use cellgate::policy::gate::ChunkReader;

/// It is read alike in one piece and in many; what ends, ends where two independent readers of chunks end it; and
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
    for another in [end_by_another, end_by_lines] {
        assert_eq!(another(data), Some(end), "{:?}", String::from_utf8_lossy(data));
    }
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

/// Where a body ends for those to whom the LF alone ends a line, and a size is what is a number of its line.
fn end_by_lines(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let size @ 1.. = size_of(line(data, &mut at)?)? {
        at = at.checked_add(size)?;
        line(data, &mut at).filter(|rest| rest.is_empty())?;
    }
    while !line(data, &mut at)?.is_empty() {}
    Some(at)
}

/// The line that begins there, without its end, behind which `at` is then.
fn line<'a>(data: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = data.get(*at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *at += end + 1;
    Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]))
}

fn size_of(line: &[u8]) -> Option<usize> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()
}
