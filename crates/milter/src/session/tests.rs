//! A scripted filter at the other end.
