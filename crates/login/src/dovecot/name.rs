//! Whose login a client attempts, read from what it says to Dovecot: so that guesses at one name from
//! everywhere can be counted before Dovecot is asked. Pure. Dovecot alone decides who it is; what is not
//! understood here has no name, and is counted by its address alone.

/// What a mechanism tells of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// RFC 4616: `for\0name\0password`.
    Plain,
    /// The response is the name.
    Bare,
    /// RFC 2195: the name, a blank, and a digest.
    Digest,
    /// RFC 5802 5.1 and RFC 7628 3.1: a header, attributes between commas.
    Attribute(&'static str),
    /// `user=name` up to \001.
    Xoauth2,
}

fn shape(mechanism: &str) -> Option<Shape> {
    let is = |name: &str| mechanism.eq_ignore_ascii_case(name);
    let scram = mechanism.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("SCRAM-"));
    Some(match () {
        () if is("PLAIN") => Shape::Plain,
        () if is("LOGIN") => Shape::Bare,
        () if is("CRAM-MD5") => Shape::Digest,
        () if is("OAUTHBEARER") => Shape::Attribute("a="),
        () if is("XOAUTH2") => Shape::Xoauth2,
        () if scram => Shape::Attribute("n="),
        () => return None,
    })
}

/// Whether the client's first response by this mechanism holds the name.
pub fn is_told(mechanism: &str) -> bool {
    shape(mechanism).is_some()
}

/// The name in the first response.
pub fn of(mechanism: &str, response: &[u8]) -> Option<String> {
    let name = match shape(mechanism)? {
        Shape::Plain => response.split(|b| *b == 0).nth(1)?,
        Shape::Bare => response,
        Shape::Digest => response.get(..response.iter().rposition(|b| *b == b' ')?)?,
        Shape::Xoauth2 => response.strip_prefix(b"user=")?.split(|b| *b == 1).next()?,
        Shape::Attribute(start) => {
            let mut parts = response.split(|b| *b == b',');
            // In OAUTHBEARER's header the name stands where SCRAM has on whose behalf; after it comes \001.
            let part = parts.find_map(|part| part.strip_prefix(start.as_bytes()))?;
            return named(&unescaped(part)?);
        }
    };
    named(std::str::from_utf8(name).ok()?)
}

fn named(name: &str) -> Option<String> {
    let name = name.trim();
    (!name.is_empty() && !name.contains(char::is_control)).then(|| name.to_string())
}

/// RFC 5802 5.1: `=2C` and `=3D` stand for what separates.
fn unescaped(part: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(part).ok()?;
    Some(text.replace("=2C", ",").replace("=2c", ",").replace("=3D", "=").replace("=3d", "="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_mechanism() {
        for (mechanism, response, name) in [
            ("PLAIN", "\0ana\0geheim", Some("ana")),
            ("plain", "otra\0ana@x.org\0geheim", Some("ana@x.org")),
            ("PLAIN", "ana", None),
            ("PLAIN", "\0\0geheim", None),
            ("LOGIN", "ana", Some("ana")),
            ("LOGIN", "", None),
            ("Cram-MD5", "ana maria 0123456789abcdef", Some("ana maria")),
            ("CRAM-MD5", "ana", None),
            ("SCRAM-SHA-256", "n,,n=ana,r=abc", Some("ana")),
            ("SCRAM-SHA-1", "n,a=otra,n=an=2Ca=3D,r=n=x", Some("an,a=")),
            ("scram-sha-1-plus", "p=tls-exporter,,n=ana,r=x", Some("ana")),
            ("OAUTHBEARER", "n,a=ana@x.org,\x01host=x\x01auth=Bearer y\x01\x01", Some("ana@x.org")),
            ("XOAUTH2", "user=ana@x.org\x01auth=Bearer y\x01\x01", Some("ana@x.org")),
            ("XOAUTH2", "auth=Bearer y", None),
            ("EXTERNAL", "ana", None),
            ("SCRAMä", "n,,n=ana", None),
            ("LOGIN", "ana\nberta", None),
        ] {
            assert_eq!(of(mechanism, response.as_bytes()).as_deref(), name, "{mechanism} {response:?}");
        }
        assert_eq!(of("LOGIN", b"\xff"), None);
        assert!(is_told("login") && !is_told("GSSAPI") && !is_told(""));
    }

    proptest::proptest! {
        #[test]
        fn anything_may_be_said(mechanism: String, response: Vec<u8>) {
            of(&mechanism, &response);
            for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"] {
                if let Some(name) = of(mechanism, &response) {
                    assert!(!name.is_empty() && !name.contains(char::is_control));
                }
            }
        }
    }
}
