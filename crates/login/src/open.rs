//! Which authenticator a listener has: `smtpd_sasl_type` and `smtpd_sasl_path`.

use crate::Authenticator;
use crate::attempts::{Attempts, Rates};
use crate::dovecot::Dovecot;
use crate::machine::Common;
use crate::workers::Workers;
use config::Config;
use config::params::auth::SmtpdSasl;
use config::params::main::Main;
use config::params::smtpd::Smtpd;
use net::Endpoint;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tables::Types;

/// The values of `smtpd_sasl_type`.
pub const TYPES: [&str; 3] = ["cyrus", "dovecot", "valija"];

/// What the authenticators of all listeners share, also across reloads.
#[derive(Default)]
pub struct Shared {
    /// Failed logins of late.
    pub attempts: Arc<Attempts>,
    /// Where secrets are hashed.
    pub workers: Arc<Workers>,
    /// One connection to each Dovecot is enough.
    dovecots: Mutex<Vec<(Endpoint, Rates, Weak<Dovecot>)>>,
}

/// Opens what `config` says. An error is words for the administrator: nobody can log in. `chroot`: master.cf
/// has the service locked into the queue directory. `voice`: the service's, for what goes wrong later.
pub fn open(
    config: &Config,
    types: &Types,
    chroot: bool,
    shared: &Shared,
    voice: &::events::Source,
) -> Result<Arc<dyn Authenticator>, String> {
    let words = |problems: Vec<config::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let (sasl, main) = (SmtpdSasl::load(config).map_err(words)?, Main::load(config).map_err(words)?);
    let smtpd = Smtpd::load(config).map_err(words)?;
    let rate = |limit: &i64| u32::try_from(*limit).unwrap_or(0);
    let rates = Rates {
        of_address: rate(sasl.valija_login_failures_by_address()),
        of_user: rate(sasl.valija_login_failures_by_user()),
        unit: (*smtpd.anvil_rate_time_unit()).max(Duration::from_secs(1)),
    };
    let (attempts, workers) = (shared.attempts.clone(), shared.workers.clone());
    let common = Common { attempts, rates, workers, voice: voice.clone() };
    match sasl.smtpd_sasl_type().as_str() {
        "dovecot" => {
            let endpoint = Endpoint::parse(sasl.smtpd_sasl_path(), Path::new(main.queue_directory()), true)?;
            Ok(Arc::new(shared.dovecot(endpoint, rates)))
        }
        other => match crate::choose::open(config, types, chroot, common)? {
            Some(authenticator) => Ok(authenticator),
            None => Err(format!("unsupported SASL server implementation: {other}")),
        },
    }
}

impl Shared {
    fn dovecot(&self, endpoint: Endpoint, rates: Rates) -> Arc<Dovecot> {
        let mut all = self.dovecots.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, _, dovecot)| dovecot.strong_count() > 0);
        let same = all.iter().find(|(e, r, _)| *e == endpoint && *r == rates);
        if let Some(dovecot) = same.and_then(|(_, _, d)| d.upgrade()) {
            return dovecot;
        }
        let dovecot = Dovecot::new(endpoint.clone(), self.attempts.clone(), self.workers.clone(), rates);
        all.push((endpoint, rates, Arc::downgrade(&dovecot)));
        dovecot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, shared: &Shared) -> Result<Arc<dyn Authenticator>, String> {
        let config = Config::from_text(Path::new("/nowhere"), text).unwrap();
        let voice = ::events::Source::new("postfix", "smtpd", 1);
        open(&config, &Types::builder().build(), false, shared, &voice)
    }

    #[test]
    fn every_type_there_is_and_no_other() {
        let shared = Shared::default();
        for name in TYPES {
            assert!(of(&format!("smtpd_sasl_type = {name}\n"), &shared).is_ok(), "{name}");
        }
        let error = of("smtpd_sasl_type = gsasl\n", &shared).err();
        assert_eq!(error.as_deref(), Some("unsupported SASL server implementation: gsasl"));
        let error = of("smtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:here\n", &shared).err();
        assert!(error.is_some_and(|e| e.contains("no valid port")));
    }

    #[test]
    fn listeners_share_a_dovecot() {
        let shared = Shared::default();
        let text = "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n";
        let count = || shared.dovecots.lock().unwrap().len();
        let (one, two) = (of(text, &shared), of(text, &shared));
        assert_eq!(count(), 1);
        let other = of(&text.replace("private", "other"), &shared);
        assert_eq!(count(), 2);
        drop((one, two, other));
        let _again = of(text, &shared);
        assert_eq!(count(), 1, "what nobody uses is forgotten");
    }
}
