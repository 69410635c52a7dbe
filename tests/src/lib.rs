//! The runner of the scenarios.
