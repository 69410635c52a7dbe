//! The supervisor and the deliver role.

fn main() {}
