//! What is wrong with a configuration, where, and what to do.

use std::fmt;

/// A fault in a configuration file, with its place and remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File and line (`/etc/postfix/main.cf`, 12), when known.
    pub place: Option<(String, usize)>,
    /// The parameter or service, when known.
    pub name: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// A problem of a parameter.
    pub fn of(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem { place: None, name: Some(name.into()), what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.place {
            write!(f, "{file}, line {line}: ")?;
        }
        if let Some(name) = &self.name {
            write!(f, "parameter {name}: ")?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Problem {}
