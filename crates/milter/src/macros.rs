//! The macros that filters are told, as Sendmail calls them: facts about session and message, by name.

use proto::milter::Stage;
use std::collections::BTreeMap;

/// Values by name. A macro without a value is not told.
#[derive(Clone, Debug, Default)]
pub struct Macros {
    values: BTreeMap<&'static str, String>,
    /// The session is played for mail that came without one: addresses are told with content, too.
    pub played: bool,
}

/// What is known of a sender or a recipient: told with commands.
const OF_ADDRESSES: [&str; 6] =
    ["{mail_addr}", "{mail_host}", "{mail_mailer}", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"];

/// What else is not told once content is there, as in Postfix.
const OF_COMMANDS: [&str; 7] = [
    "{client_connections}",
    "{client_resolve}",
    "{tls_version}",
    "{cipher}",
    "{cipher_bits}",
    "{cert_subject}",
    "{cert_issuer}",
];

impl Macros {
    /// Gives a macro a value, or takes it away.
    pub fn set(&mut self, name: &'static str, value: Option<String>) {
        match value {
            Some(value) => {
                self.values.insert(name, value);
            }
            None => {
                self.values.remove(name);
            }
        }
    }

    /// What is known of a message goes with it.
    pub fn forget_message(&mut self) {
        for name in OF_ADDRESSES {
            self.values.remove(name);
        }
        self.values.remove("i");
    }

    /// The name itself, if it has a value anywhere.
    pub(crate) fn known<'a>(&'a self, name: &str, defaults: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let own = self.values.get_key_value(name).map(|(name, _)| *name);
        own.or_else(|| defaults.get_key_value(name).map(|(name, _)| name.as_str()))
    }

    /// Its value at this stage.
    pub(crate) fn get(&self, name: &str, stage: Stage) -> Option<&str> {
        let content = matches!(stage, Stage::EndOfHeader | Stage::EndOfMessage);
        if content && (OF_COMMANDS.contains(&name) || !self.played && OF_ADDRESSES.contains(&name)) {
            return None;
        }
        self.values.get(name).map(String::as_str)
    }
}

/// A name as it is told: longer ones in braces.
pub(crate) fn braced(name: &str) -> String {
    match name.len() > 1 && !name.starts_with('{') {
        true => format!("{{{name}}}"),
        false => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_and_go() {
        let mut macros = Macros::default();
        macros.set("i", Some("A1".into()));
        macros.set("j", Some("mx".into()));
        macros.set("{mail_addr}", Some("a@b".into()));
        assert_eq!(macros.get("{mail_addr}", Stage::Rcpt), Some("a@b"));
        assert_eq!(macros.get("{mail_addr}", Stage::EndOfMessage), None);
        assert_eq!(macros.get("i", Stage::EndOfMessage), Some("A1"));
        macros.forget_message();
        assert_eq!((macros.get("i", Stage::Mail), macros.get("j", Stage::Mail)), (None, Some("mx")));
        macros.set("j", None);
        assert_eq!(macros.get("j", Stage::Mail), None);
        assert_eq!((braced("x"), braced("xy"), braced("{xy}")), ("x".into(), "{xy}".into(), "{xy}".into()));
    }
}
