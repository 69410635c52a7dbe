//! postdrop and postqueue, chosen by name.

fn main() {}
