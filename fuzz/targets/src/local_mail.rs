//! What ends in mailboxes, and what users write.

use crate::first;

/// What a mailbox gets of a message.
pub fn mbox(bytes: &[u8]) {
    let (step, content) = first(bytes);
    local::fuzz::mbox(content, usize::from(step));
}

/// Texts of `.forward`, `:include:` and aliases.
pub fn forward(bytes: &[u8]) {
    local::fuzz::tokens(bytes);
}
