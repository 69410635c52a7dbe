//! The size of content as Postfix counts it. Pure.
//!
//! Postfix stores each line as a record: a type byte, a length (seven bits a byte), the line
//! without its end. A line beyond `line_length_limit` takes several records. Log analysers,
//! `mailq` and `SIZE=` show the sum, so we count as if we stored records.
//!
//! `message_size_limit` is compared with this sum. Postfix compares the whole queue file, so that
//! its envelope counts too (client, sender, HELO name several times each, about 0.7 KiB; a limit
//! of 2000 leaves about 1000 for the content): with us a message may be bigger by that.

use memchr::memchr;

/// Counts content (CRLF lines) given in pieces cut anywhere.
#[derive(Clone, Debug)]
pub struct Counter {
    limit: u64,
    total: u64,
    line: u64,
    in_line: bool,
    /// The last byte was a carriage return, not yet counted.
    held: bool,
}

impl Counter {
    /// `limit` is `line_length_limit`.
    pub fn new(limit: u64) -> Counter {
        Counter { limit: limit.max(1), total: 0, line: 0, in_line: false, held: false }
    }

    /// The sum so far; a line not yet ended counts as if it were.
    pub fn total(&self) -> u64 {
        let line = self.line + u64::from(self.held);
        self.total + if self.in_line { records(line, self.limit) } else { 0 }
    }

    /// Counts the next piece.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
            bytes = rest;
            let text = if end.is_some() { &piece[..piece.len() - 1] } else { piece };
            self.in_line = true;
            if let Some((last, most)) = text.split_last() {
                self.line += u64::from(self.held);
                self.held = *last == b'\r';
                self.line += most.len() as u64 + u64::from(!self.held);
            }
            if end.is_some() {
                self.held = false;
                self.total += records(self.line, self.limit);
                self.line = 0;
                self.in_line = false;
            }
        }
    }
}

/// What a line of `length` bytes takes.
fn records(length: u64, limit: u64) -> u64 {
    if length < limit {
        return record(length);
    }
    // A line is read in pieces of the limit; one that is a multiple of it ends with an empty piece.
    let pieces = length / limit;
    pieces * record(limit) + record(length - pieces * limit)
}

fn record(length: u64) -> u64 {
    let mut size = 2 + length;
    let mut rest = length >> 7;
    while rest > 0 {
        size += 1;
        rest >>= 7;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(pieces: &[&[u8]]) -> u64 {
        let mut counter = Counter::new(2048);
        pieces.iter().for_each(|p| counter.feed(p));
        counter.total()
    }

    #[test]
    fn lines_count_as_records() {
        for (length, expected) in
            [(0, 2), (1, 3), (127, 129), (128, 131), (2047, 2050), (2048, 2053), (2049, 2054), (4096, 4104)]
        {
            let line = [vec![b'x'; length], b"\r\n".to_vec()].concat();
            assert_eq!(count(&[&line]), expected, "{length}");
        }
        assert_eq!(count(&[b"a\r\n\r\nb"]), 3 + 2 + 3);
        assert_eq!(count(&[b""]), 0);
        assert_eq!(count(&[b"\r\r\n"]), 3);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(text in "[ab\r\n]{0,40}", cut in 0usize..40) {
            let cut = cut.min(text.len());
            let bytes = text.as_bytes();
            prop_assert_eq!(count(&[&bytes[..cut], &bytes[cut..]]), count(&[bytes]));
        }
    }
}
