//! The mechanisms there are, and which of those offered is used.

use std::fmt;

/// A mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802.
    ScramSha1,
    /// RFC 2195.
    CramMd5,
    /// RFC 4616.
    Plain,
    /// What PLAIN replaced.
    Login,
    /// RFC 7628; the secret is a token.
    OauthBearer,
    /// What OAUTHBEARER replaced; the secret is a token.
    Xoauth2,
}

use Mechanism::*;

impl Mechanism {
    /// The best first. Those that want a token come last: a secret is one only where a filter, or a
    /// server that takes nothing else, says so.
    pub const ALL: [Mechanism; 7] = [ScramSha256, ScramSha1, CramMd5, Plain, Login, OauthBearer, Xoauth2];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            ScramSha256 => "SCRAM-SHA-256",
            ScramSha1 => "SCRAM-SHA-1",
            CramMd5 => "CRAM-MD5",
            Plain => "PLAIN",
            Login => "LOGIN",
            OauthBearer => "OAUTHBEARER",
            Xoauth2 => "XOAUTH2",
        }
    }

    /// The mechanism with this name.
    pub fn find(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|m| m.name().eq_ignore_ascii_case(name))
    }

    /// Whether it meets what `options` ask for.
    pub fn meets(self, options: Options) -> bool {
        let scram = matches!(self, ScramSha256 | ScramSha1);
        let token = matches!(self, OauthBearer | Xoauth2);
        let hidden = scram || self == CramMd5;
        (hidden || !options.noplaintext)
            && (scram || !options.noactive)
            && (token || !options.nodictionary)
            && !options.forward_secrecy
            && (scram || !options.mutual_auth)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a mechanism must not do: `smtp_sasl_security_options`. Nobody here is ever anonymous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Not send the secret itself.
    pub noplaintext: bool,
    /// Not be open to active attacks.
    pub noactive: bool,
    /// Not be open to guessing from what was overheard.
    pub nodictionary: bool,
    /// Keep later sessions safe when a secret becomes known.
    pub forward_secrecy: bool,
    /// The server proves who it is.
    pub mutual_auth: bool,
}

impl Options {
    /// Reads words; an error is the one that means nothing.
    pub fn read<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Options, String> {
        let mut options = Options::default();
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "noplaintext" => options.noplaintext = true,
                "noactive" => options.noactive = true,
                "nodictionary" => options.nodictionary = true,
                "forward_secrecy" => options.forward_secrecy = true,
                "mutual_auth" => options.mutual_auth = true,
                "noanonymous" => {}
                _ => return Err(word.to_string()),
            }
        }
        Ok(options)
    }
}

/// The best mechanism among the names a server offers that `allowed` lets pass and `options` permit.
pub fn choose<'a>(
    offered: impl IntoIterator<Item = &'a str>,
    allowed: impl Fn(&str) -> bool,
    options: Options,
) -> Option<Mechanism> {
    let known = offered.into_iter().filter(|name| allowed(name)).filter_map(Mechanism::find);
    known.filter(|m| m.meets(options)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_those_offered() {
        let choose = |offered: &str, without: &str, options: &str| {
            let options = Options::read(options.split(' ').filter(|w| !w.is_empty())).unwrap();
            super::choose(offered.split(' '), |name| !name.eq_ignore_ascii_case(without), options)
        };
        assert_eq!(choose("LOGIN PLAIN", "", ""), Some(Plain));
        assert_eq!(choose("login plain cram-md5", "", "noanonymous"), Some(CramMd5));
        assert_eq!(choose("PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "", ""), Some(ScramSha256));
        assert_eq!(choose("LOGIN PLAIN XOAUTH2 OAUTHBEARER", "", ""), Some(Plain));
        assert_eq!(choose("XOAUTH2", "", ""), Some(Xoauth2));
        assert_eq!(choose("LOGIN PLAIN", "", "noplaintext noanonymous"), None);
        assert_eq!(choose("LOGIN PLAIN", "PLAIN", ""), Some(Login));
        assert_eq!(choose("PLAIN CRAM-MD5 SCRAM-SHA-1", "", "mutual_auth"), Some(ScramSha1));
        assert_eq!(choose("GSSAPI EXTERNAL ANONYMOUS", "", ""), None);
        assert_eq!(choose("SCRAM-SHA-256", "", "forward_secrecy"), None);
        assert_eq!(Options::read(["noplain"]), Err("noplain".into()));
    }
}
