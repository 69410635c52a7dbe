//! Mechanisms as they are offered, and which of them a configuration lets pass.

use std::fmt;

/// A mechanism that an authenticator serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its registered name, such as `PLAIN`.
    pub name: String,
    /// What can be said of it.
    pub properties: Properties,
}

/// What can be said of a mechanism, in the words of `smtpd_sasl_security_options`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The password itself is sent.
    pub plaintext: bool,
    /// Nobody needs to say who it is.
    pub anonymous: bool,
    /// What is overheard can be tried against a list of words.
    pub dictionary: bool,
    /// Open to active attacks.
    pub active: bool,
    /// One session that becomes known does not give away others.
    pub forward_secrecy: bool,
    /// The server proves who it is, too.
    pub mutual_auth: bool,
}

/// What a configuration asks of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Those with any of these are left out.
    without: Properties,
    /// Those lacking one of these are left out.
    with: Properties,
}

impl Options {
    /// Reads the words of `smtpd_sasl_security_options`; an error is the word that means nothing.
    pub fn read<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Options, String> {
        let mut options = Options::default();
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "noplaintext" => options.without.plaintext = true,
                "noactive" => options.without.active = true,
                "nodictionary" => options.without.dictionary = true,
                "noanonymous" => options.without.anonymous = true,
                "forward_secrecy" => options.with.forward_secrecy = true,
                "mutual_auth" => options.with.mutual_auth = true,
                _ => return Err(word.to_string()),
            }
        }
        Ok(options)
    }

    /// Whether a mechanism may be offered.
    pub fn permit(&self, p: Properties) -> bool {
        let has = [
            (self.without.plaintext, p.plaintext),
            (self.without.anonymous, p.anonymous),
            (self.without.dictionary, p.dictionary),
            (self.without.active, p.active),
            (self.with.forward_secrecy, !p.forward_secrecy),
            (self.with.mutual_auth, !p.mutual_auth),
        ];
        !has.into_iter().any(|(asked, fault)| asked && fault)
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_properties() {
        let plain = Properties { plaintext: true, ..Properties::default() };
        let scram = Properties { mutual_auth: true, ..Properties::default() };
        let cram = Properties { dictionary: true, active: true, ..Properties::default() };
        let anonymous = Properties { anonymous: true, ..Properties::default() };
        let permits = |words: &str, p| Options::read(words.split_whitespace()).unwrap().permit(p);
        assert!(permits("", anonymous) && !permits("noanonymous", anonymous));
        assert!(permits("noanonymous", plain) && !permits("NoPlainText", plain));
        assert!(permits("noplaintext", cram) && !permits("nodictionary", cram) && !permits("noactive", cram));
        assert!(permits("mutual_auth", scram) && !permits("mutual_auth", plain));
        assert!(!permits("forward_secrecy", scram));
        assert_eq!(Options::read(["noplain"]), Err("noplain".into()));
    }
}
