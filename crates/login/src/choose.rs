//! Which authenticator without Dovecot a configuration means, and the files it needs that may be root's.

use crate::cyrus::{self, Setting};
use crate::machine::Common;
use crate::{Authenticator, users};
use config::params::users::Users;
use config::{Config, Problem};
use std::path::PathBuf;
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
) -> Result<Option<Arc<dyn Authenticator>>, String> {
    let words = Words::of(config).map_err(joined)?;
    let path = words.path.clone();
    Ok(match words.kind.as_str() {
        "cyrus" => Some(cyrus::open(types, words.cyrus(config, chroot), common)?),
        "valija" if path == DEFAULT_PATH || path.is_empty() => {
            Some(users::in_file(types, &words.users, common))
        }
        "valija" => {
            let names = split_list(&path);
            if let Some(odd) = names.iter().find(|n| !n.contains(':')) {
                let remedy = "name tables, such as hash:/etc/postfix/passwords; for users of valija's own \
                              leave it out, valija_users_file names their file";
                let problem = Problem::of("smtpd_sasl_path", format!("{odd:?} is no table"), remedy);
                return Err(config.placed("smtpd_sasl_path", problem).to_string());
            }
            let names = names.iter().map(String::as_str);
            Some(users::in_tables(types, "smtpd_sasl_path", names, common))
        }
        _ => None,
    })
}

/// The settings that say who knows users.
struct Words {
    kind: String,
    path: String,
    search: String,
    queue: PathBuf,
    users: PathBuf,
    sasldb: PathBuf,
}

fn joined(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Words {
    fn of(config: &Config) -> Result<Words, Vec<Problem>> {
        let get = |name: &str| config.get(name).map_err(|p| vec![p]);
        let files = Users::load(config)?;
        Ok(Words {
            kind: get("smtpd_sasl_type")?,
            path: get("smtpd_sasl_path")?,
            search: get("cyrus_sasl_config_path")?,
            queue: get("queue_directory")?.into(),
            users: files.valija_users_file().into(),
            sasldb: files.valija_sasldb_file().into(),
        })
    }

    fn cyrus<'a>(&'a self, config: &'a Config, chroot: bool) -> Setting<'a> {
        Setting {
            search: &self.search,
            service: &self.path,
            directory: config.directory(),
            chroot: chroot.then_some(&self.queue),
            sasldb: &self.sasldb,
        }
    }
}

/// Why nobody could log in with this configuration, as far as files tell: for `valija check`.
pub fn fault(config: &Config) -> Option<String> {
    let words = Words::of(config).ok()?;
    let types = Types::builder().build();
    match words.kind.as_str() {
        "dovecot" => None,
        "cyrus" => cyrus::fault(&types, &words.cyrus(config, false)),
        "valija" if matches!(words.path.as_str(), DEFAULT_PATH | "") => {
            let users = words.users.display();
            (!words.users.exists()).then(|| format!("{users} does not exist; valija user add NAME makes it"))
        }
        "valija" => None,
        other => Some(format!("smtpd_sasl_type = {other} is not known; there are cyrus, dovecot and valija")),
    }
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
    use std::path::Path;
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
        let opened = opened.map(|a| a.is_some());
        (opened, needs(&config))
    }

    #[test]
    fn what_keeps_everybody_out_is_known_before() {
        let of = |text: &str| fault(&Config::from_text(Path::new("/nowhere"), text).unwrap());
        let users = of("smtpd_sasl_type = valija\n").unwrap();
        assert!(users.contains("/nowhere/valija_users does not exist"), "{users}");
        assert!(of("smtpd_sasl_type = pam\n").unwrap().contains("is not known"));
        assert!(of("smtpd_sasl_path = private/auth\n").unwrap().contains("did you mean"));
        let gone = "cyrus_sasl_config_path = /nowhere\nvalija_sasldb_file = /nowhere/db\n";
        assert!(of(gone).unwrap().contains("/nowhere/db does not exist"));
        assert_eq!(of("smtpd_sasl_type = dovecot\n"), None);
        assert_eq!(of("smtpd_sasl_type = valija\nsmtpd_sasl_path = inline:{a=b}\n"), None);
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
