//! Doors for the fuzz targets alone; no other build has them.

use crate::content::Copier;

/// What a mailbox gets of a message: no line that begins a message, nothing lost, and the pieces
/// in which the content arrives make no difference.
pub fn mbox(content: &[u8], step: usize) {
    let copied = |step: usize| {
        let (mut copier, mut out) = (Copier::new(b"\n").quoting_from(true), Vec::new());
        content.chunks(step.max(1)).for_each(|piece| copier.push(piece, &mut out));
        copier.finish(&mut out);
        out
    };
    let out = copied(step);
    assert_eq!(out, copied(content.len()));
    assert!(out.is_empty() || out.ends_with(b"\n"));
    let ends = |text: &[u8]| text.iter().filter(|b| **b == b'\n').count();
    assert!(ends(&out) - ends(content) <= 1);
    for line in out.split(|b| *b == b'\n') {
        assert!(!line.starts_with(b"From "));
    }
    let text = |bytes: &[u8]| bytes.iter().copied().filter(|b| !b"\r\n>".contains(b)).collect::<Vec<_>>();
    assert_eq!(text(&out), text(content));
}

/// `.forward` and alias texts, and addresses of `:include:` files.
pub fn tokens(bytes: &[u8]) {
    let _ = crate::tokens::parse(&String::from_utf8_lossy(bytes));
    let _ = crate::tokens::parse_lines(bytes, 100);
}
