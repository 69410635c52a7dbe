//! The lines of a configuration file as an editor sees them: comments and empty lines too.

pub(super) use crate::commands::replace::{Edit, failed};

/// A file's lines with their ends, joined to logical lines: comments and empty lines are pieces of
/// their own, which continue whatever stands before them.
pub(super) struct Piece<'a> {
    /// The physical line with its end.
    pub(super) line: &'a [u8],
    pub(super) kind: PieceKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// A comment or an empty line.
    Aside,
    /// A line that continues the last [`PieceKind::First`].
    More,
    /// The first line of an entry.
    First,
}

/// The lines of a file.
pub(super) fn pieces(bytes: &[u8]) -> Vec<Piece<'_>> {
    let lines = bytes.split_inclusive(|b| *b == b'\n');
    lines
        .map(|line| {
            let first = line.iter().find(|b| !b.is_ascii_whitespace() && **b != 0x0b);
            let kind = match first {
                None | Some(b'#') => PieceKind::Aside,
                _ if line.first().is_some_and(|b| b.is_ascii_whitespace() || *b == 0x0b) => PieceKind::More,
                _ => PieceKind::First,
            };
            Piece { line, kind }
        })
        .collect()
}

/// Appends a line, and first ends an unended one.
pub(super) fn push_line(out: &mut Vec<u8>, line: &str) {
    if out.last().is_some_and(|b| *b != b'\n') {
        out.push(b'\n');
    }
    out.extend_from_slice(line.as_bytes());
}

/// Refuses words that would become several lines or a comment.
pub(super) fn one_line(words: &[String]) -> Result<(), String> {
    for word in words {
        if word.contains('\n') {
            return Err("-e, -X, or -# accepts no multi-line input".into());
        }
        if word.trim_start().starts_with('#') {
            return Err("-e, -X, or -# accepts no comment input".into());
        }
    }
    Ok(())
}
