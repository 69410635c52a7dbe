//! Which directory holds main.cf: `-c DIR`, `MAIL_CONFIG`, or the built-in one.
//!
//! A set-gid program must not let its caller choose the configuration, or it would do the caller's
//! bidding with the group's rights: only directories that the built-in directory's main.cf lists in
//! `alternate_config_directories` (or `multi_instance_directories`) are taken from a stranger.

use crate::value::split_list;
use crate::{Config, Problem};
use std::path::{Path, PathBuf};

/// Where main.cf is when nobody says otherwise.
pub const DEFAULT: &str = "/etc/postfix";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The program has no more rights than who runs it.
    Same,
    /// The program is set-gid (or set-uid) and its caller is not root.
    Stranger,
}

/// The directory to read, from `-c`'s argument and the environment.
pub fn decide(option: Option<&str>, caller: Caller) -> Result<PathBuf, Problem> {
    let environment = std::env::var("MAIL_CONFIG").ok();
    decide_from(option, environment.as_deref(), Path::new(DEFAULT), caller)
}

/// The same with everything given: for tests, and for a tree installed elsewhere.
pub fn decide_from(
    option: Option<&str>,
    environment: Option<&str>,
    default: &Path,
    caller: Caller,
) -> Result<PathBuf, Problem> {
    let Some(asked) = option.or(environment.filter(|e| !e.is_empty())) else {
        return Ok(default.to_path_buf());
    };
    let asked = Path::new(asked);
    if caller == Caller::Same || asked == default {
        return Ok(asked.to_path_buf());
    }
    let refuse = |why: &str| Problem {
        place: None,
        name: None,
        what: format!("unauthorized configuration directory name {}: {why}", asked.display()),
        remedy: format!(
            "list it in alternate_config_directories of {}, or run the command as root",
            default.join("main.cf").display()
        ),
    };
    let config = Config::load(default).map_err(|_| refuse("the default main.cf cannot be read"))?;
    for name in ["alternate_config_directories", "multi_instance_directories"] {
        let listed = config.get(name)?;
        if asked.is_absolute() && split_list(&listed).iter().any(|d| Path::new(d) == asked) {
            return Ok(asked.to_path_buf());
        }
    }
    Err(refuse("it is not in the list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_choose_only_what_is_listed() {
        let dir = std::env::temp_dir().join(format!("valija-directory-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("main.cf"), "alternate_config_directories = /etc/a, /etc/b\n").unwrap();
        let ask = |option, env, caller| decide_from(option, env, &dir, caller).ok();
        assert_eq!(ask(None, None, Caller::Stranger), Some(dir.clone()));
        assert_eq!(ask(Some("/x"), Some("/y"), Caller::Same), Some("/x".into()));
        assert_eq!(ask(None, Some("/y"), Caller::Same), Some("/y".into()));
        assert_eq!(ask(None, Some(""), Caller::Same), Some(dir.clone()));
        assert_eq!(ask(Some("/etc/b"), None, Caller::Stranger), Some("/etc/b".into()));
        assert_eq!(ask(None, Some("/etc/a"), Caller::Stranger), Some("/etc/a".into()));
        for bad in ["/x", "etc/a", "/etc/a/../x", ""] {
            assert_eq!(ask(Some(bad), None, Caller::Stranger), None, "{bad}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
