//! Routes through zones.
