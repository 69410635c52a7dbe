//! The mail role and the commands, chosen by the name the program is called with.

fn main() {}
