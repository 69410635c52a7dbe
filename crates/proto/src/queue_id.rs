//! The name of a message in the queue.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// How this process shows ids: a matter of the words alone, so that it is decided in one place
/// instead of travelling with every id. Both styles are read everywhere.
static LONG: AtomicBool = AtomicBool::new(false);

/// A time-ordered number: tens of microseconds since 2024-01-01 UTC, made unique by the queue.
/// Shown as 11 or 12 capital hexadecimal digits until the year 2113, as Postfix's short ids look;
/// in the long style (`enable_long_queue_ids = yes`, see [`QueueId::show_long`]) as
/// [`QueueId::long`] writes it. It says nothing about where the message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u64);

/// Consonants and digits: no words by accident.
const BASE52: &[u8; 52] = b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

impl QueueId {
    /// Seconds from 1970 to the start of queue ids.
    pub const EPOCH: u64 = 1_704_067_200;

    /// The first id of a moment, given in microseconds since 1970.
    pub fn at(micros: u64) -> QueueId {
        QueueId(micros.saturating_sub(Self::EPOCH * 1_000_000) / 10)
    }

    /// From now on this process shows ids in the long style, or in the short one.
    pub fn show_long(long: bool) {
        LONG.store(long, Ordering::Relaxed);
    }

    /// Whether this process shows the long style.
    pub fn shows_long() -> bool {
        LONG.load(Ordering::Relaxed)
    }

    /// The short style, whatever is shown: for names of files.
    pub fn short(self) -> String {
        format!("{:010X}", self.0)
    }

    /// The long style: ten base-52 digits of the moment, `z`, and one more digit, so that log
    /// analysers made for Postfix's long ids recognise it.
    pub fn long(self) -> String {
        let mut digits = [b'0'; 10];
        let mut rest = self.0;
        for d in digits.iter_mut().rev() {
            *d = BASE52[(rest % 51) as usize];
            rest /= 51;
        }
        // 51^10 exceeds 2^56; the remainder is zero for every id made this century.
        format!("{}z{}", String::from_utf8_lossy(&digits), BASE52[(rest % 51) as usize] as char)
    }

    /// Reads either style; `None` for anything else.
    pub fn parse(text: &str) -> Option<QueueId> {
        if let Some((digits, tail)) = text.split_once('z').filter(|(d, _)| d.len() == 10) {
            let digit = |b: u8| BASE52[..51].iter().position(|&c| c == b).map(|p| p as u64);
            let mut high = match tail.as_bytes() {
                [b] => digit(*b)?,
                _ => return None,
            };
            for b in digits.bytes() {
                high = high.checked_mul(51)?.checked_add(digit(b)?)?;
            }
            return (QueueId(high).long() == text).then_some(QueueId(high));
        }
        let plain =
            (6..=16).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        plain.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(QueueId)
    }
}

/// The style that this process shows; the short one has at least ten digits.
impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if QueueId::shows_long() { f.write_str(&self.long()) } else { write!(f, "{:010X}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_read_back() {
        for n in [0, 1, 0x89_1234_5678, (1 << 48) - 1, (1 << 56) - 1] {
            let id = QueueId(n);
            assert_eq!(QueueId::parse(&id.to_string()), Some(id));
            assert_eq!(QueueId::parse(&id.long()), Some(id), "{}", id.long());
        }
        let now = QueueId::at(1_795_187_936_000_000);
        assert!((10..=12).contains(&now.to_string().len()));
        for bad in ["", "xyz", "12345", "12345g", "ALL", "-", "1234567890ABCDEF0", "abcdef"] {
            assert_eq!(QueueId::parse(bad), None, "{bad}");
        }
    }
}
