//! What an address means here: rewriting, aliases, classes, transport resolution.
