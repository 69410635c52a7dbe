//! Which authenticator without Dovecot a configuration means, and the files it needs that may be root's.

use crate::cyrus::{self, Setting};
use crate::machine::Common;
use crate::{Authenticator, users};
use config::params::users::Users;
use config::{Config, Problem};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tables::{Types, split_list};

/// The values of `smtpd_sasl_type` that [`open`] serves.
pub const KINDS: [&str; 2] = ["cyrus", "valija"];

/// The users of valija's own are in the file that `valija_users_file` names when `smtpd_sasl_path` is this,
/// Postfix's default.
const DEFAULT_PATH: &str = "smtpd";

/// The authenticator that `smtpd_sasl_type` and `smtpd_sasl_path` of a service mean; `None` for types that
/// are not served here. `chroot` says whether master.cf locks the service into the queue directory.
pub fn open(
    config: &Config,
    types: &Types,
    chroot: bool,
    common: Common,
) -> Result<Option<Arc<dyn Authenticator>>, Vec<Problem>> {
    let get = |name: &str| config.get(name).map_err(|p| vec![p]);
    let (kind, path) = (get("smtpd_sasl_type")?, get("smtpd_sasl_path")?);
    let files = Users::load(config)?;
    Ok(match kind.as_str() {
        "cyrus" => {
            let queue = get("queue_directory")?;
            let setting = Setting {
                search: &get("cyrus_sasl_config_path")?,
                service: &path,
                directory: config.directory(),
                chroot: chroot.then_some(Path::new(&queue)),
                sasldb: Path::new(files.valija_sasldb_file()),
            };
            Some(cyrus::open(types, setting, common))
        }
        "valija" if path == DEFAULT_PATH || path.is_empty() => {
            Some(users::in_file(types, Path::new(files.valija_users_file()), common))
        }
        "valija" => {
            let names = split_list(&path);
            if let Some(odd) = names.iter().find(|n| !n.contains(':')) {
                let remedy = "name tables, such as hash:/etc/postfix/passwords; for users of valija's own \
                              leave it out, valija_users_file names their file";
                let problem = Problem::of("smtpd_sasl_path", format!("{odd:?} is no table"), remedy);
                return Err(vec![config.placed("smtpd_sasl_path", problem)]);
            }
            let names = names.iter().map(String::as_str);
            Some(users::in_tables(types, "smtpd_sasl_path", names, common))
        }
        _ => None,
    })
}

/// Files that a configuration needs for logins, though no setting in main.cf need name them: the parameter,
/// and the path. Tables in `smtpd_sasl_path` are found as those of every parameter are.
pub fn needs(config: &Config) -> Option<(&'static str, PathBuf)> {
    let get = |name: &str| config.get(name).unwrap_or_default();
    if !get("smtpd_sasl_auth_enable").eq_ignore_ascii_case("yes") {
        return None;
    }
    let name = match (get("smtpd_sasl_type").as_str(), get("smtpd_sasl_path").as_str()) {
        ("cyrus", _) => "valija_sasldb_file",
        ("valija", DEFAULT_PATH | "") => "valija_users_file",
        _ => return None,
    };
    Some((name, PathBuf::from(get(name))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempts::{Attempts, Rates};
    use crate::workers::Workers;
    use std::time::Duration;

    fn of(text: &str) -> (Result<bool, String>, Option<(&'static str, PathBuf)>) {
        let config = Config::from_text(Path::new("/nowhere"), text).unwrap();
        let rates = Rates { of_address: 0, of_user: 0, unit: Duration::from_secs(60) };
        let common = Common {
            attempts: Arc::new(Attempts::default()),
            rates,
            workers: Arc::new(Workers::new(1)),
            voice: ::events::Source::new("t", "t", 1),
        };
        let opened = open(&config, &Types::builder().build(), false, common);
        let opened = opened.map(|a| a.is_some()).map_err(|p| p[0].to_string());
        (opened, needs(&config))
    }

    #[test]
    fn types_and_paths() {
        let on = "smtpd_sasl_auth_enable = yes\n";
        let with = |rest: &str| of(&format!("{on}{rest}"));
        assert_eq!(with(""), (Ok(true), Some(("valija_sasldb_file", "/etc/sasldb2".into()))));
        let users = Some(("valija_users_file", PathBuf::from("/nowhere/valija_users")));
        assert_eq!(with("smtpd_sasl_type = valija\n"), (Ok(true), users));
        let table = "smtpd_sasl_type = valija\nsmtpd_sasl_path = inline:{a=b}, static:x\n";
        assert_eq!(with(table), (Ok(true), None));
        assert_eq!(with("smtpd_sasl_type = dovecot\n"), (Ok(false), None));
        assert_eq!(of("").1, None);
        let (opened, _) = with("smtpd_sasl_type = valija\nsmtpd_sasl_path = /etc/postfix/users\n");
        assert!(opened.unwrap_err().contains("\"/etc/postfix/users\" is no table"));
    }
}
