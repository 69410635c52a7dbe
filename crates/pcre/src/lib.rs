//! The pcre table type, apart because root programs must not link the PCRE library.
