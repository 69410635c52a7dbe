//! Tests of `src`.


