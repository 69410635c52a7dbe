//! The delimiters of variable envelope return paths, as submitters name them. The queue manager makes
//! the addresses. VERP_README

use config::params::cleanup::Cleanup;
use config::{Config, Problem};

/// Which delimiters may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiters {
    standard: String,
    allowed: String,
}

impl Delimiters {
    /// What main.cf says.
    pub fn load(config: &Config) -> Result<Delimiters, Vec<Problem>> {
        Ok(Delimiters::of(&Cleanup::load(config)?))
    }

    /// The same, from parameters that were read.
    pub fn of(cleanup: &Cleanup) -> Delimiters {
        Delimiters {
            standard: cleanup.default_verp_delimiters().clone(),
            allowed: cleanup.verp_delimiter_filter().clone(),
        }
    }

    /// Those asked for, or the usual ones when nothing is named. An error names what is allowed.
    pub fn choose(&self, asked: &str) -> Result<String, String> {
        let these = if asked.is_empty() { self.standard.as_str() } else { asked };
        if these.len() == 2 && these.chars().all(|c| self.allowed.contains(c)) {
            Ok(these.to_string())
        } else {
            Err(format!("two characters from {}", self.allowed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_are_allowed() {
        let config = |text: &str| Config::from_text(std::path::Path::new("/nowhere"), text).unwrap();
        let usual = Delimiters::load(&config("")).unwrap();
        assert_eq!(usual.choose(""), Ok("+=".into()));
        assert_eq!(usual.choose("-="), Ok("-=".into()));
        for bad in ["+", "+=-", "%%", "é"] {
            assert_eq!(usual.choose(bad), Err("two characters from -=+".into()), "{bad}");
        }
        let own =
            Delimiters::load(&config("default_verp_delimiters = ::\nverp_delimiter_filter = :\n")).unwrap();
        assert_eq!(own.choose(""), Ok("::".into()));
    }
}
