//! Compatibility levels: `major`, `major.minor` or `major.minor.patch`. Old style levels (0, 1, 2)
//! are majors.

use std::cmp::Ordering;

/// A level; missing parts are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u32, u32, u32);

impl Level {
    /// Reads a level; `None` when it is malformed.
    pub fn read(text: &str) -> Option<Level> {
        let mut parts = [0u32; 3];
        let mut given = text.split('.');
        for (at, part) in given.by_ref().take(3).enumerate() {
            if part.is_empty() || part.len() > 6 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            *parts.get_mut(at)? = part.parse().ok()?;
        }
        let [major, minor, patch] = parts;
        given.next().is_none().then_some(Level(major, minor, patch))
    }
}

/// Compares two texts as levels.
pub(crate) fn compare(left: &str, right: &str) -> Result<Ordering, String> {
    let read = |text: &str| Level::read(text).ok_or_else(|| text.to_string());
    Ok(read(left)?.cmp(&read(right)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles() {
        assert!(Level::read("2") < Level::read("3.6"));
        assert!(Level::read("3.9") < Level::read("3.10"));
        assert_eq!(Level::read("3.6"), Level::read("3.6.0"));
        for bad in ["", "abc", "3.6.", "1.2.3.4", "-1", "3 .6", "99999999999999999999"] {
            assert_eq!(Level::read(bad), None, "{bad}");
        }
    }
}
