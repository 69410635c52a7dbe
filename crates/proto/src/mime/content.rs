//! What Content-Type and Content-Transfer-Encoding say. RFC 2045 5, 6

/// The type of an entity, as far as its structure depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything without structure.
    Text,
    /// multipart/…
    Multipart,
    /// message/rfc822, message/global: a message with a header of its own.
    Message,
    /// Another message/…: without structure, but not to be encoded. RFC 2046 5.2
    Enclosed,
}

/// Which bytes an entity holds. RFC 2045 2.7
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// No byte above 127. Encodings make it so.
    SevenBit,
    /// Any byte, in lines.
    EightBit,
    /// Anything.
    Binary,
}

/// A Content-Type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// What it is.
    pub kind: Kind,
    /// multipart/digest: parts are messages unless they say otherwise. RFC 2046 5.1.5
    pub digest: bool,
    /// The `boundary` of a multipart.
    pub boundary: Option<Vec<u8>>,
}

/// The domain a Content-Transfer-Encoding gives, and whether it is an encoding proper.
pub fn encoding(value: &[u8]) -> (Domain, bool) {
    let word = match tokens(value).next() {
        Some(Token::Word(word)) => word,
        _ => Vec::new(),
    };
    match word.to_ascii_lowercase().as_slice() {
        b"8bit" => (Domain::EightBit, false),
        b"binary" => (Domain::Binary, false),
        b"base64" | b"quoted-printable" | b"uuencode" => (Domain::SevenBit, true),
        _ => (Domain::SevenBit, false),
    }
}

impl Type {
    /// Reads the value of a Content-Type field; what cannot be understood is text.
    pub fn parse(value: &[u8]) -> Type {
        let mut out = Type { kind: Kind::Text, digest: false, boundary: None };
        let mut tokens = tokens(value);
        let mut word = || match tokens.next() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        };
        let Some(major) = word() else { return out };
        let slash = tokens.next() == Some(Token::Special(b'/'));
        let minor = match tokens.next() {
            Some(Token::Word(word)) if slash => word,
            _ => Vec::new(),
        };
        match major.to_ascii_lowercase().as_slice() {
            b"multipart" => out.kind = Kind::Multipart,
            b"message" => {
                out.kind = match minor.to_ascii_lowercase().as_slice() {
                    b"rfc822" | b"global" => Kind::Message,
                    _ => Kind::Enclosed,
                };
                return out;
            }
            _ => return out,
        }
        out.digest = minor.eq_ignore_ascii_case(b"digest");
        while let Some(token) = tokens.next() {
            if token != Token::Special(b';') {
                continue;
            }
            match tokens.next() {
                Some(Token::Word(name)) if name.eq_ignore_ascii_case(b"boundary") => {}
                _ => continue,
            }
            if tokens.next() == Some(Token::Special(b'='))
                && let Some(Token::Word(boundary) | Token::Quoted(boundary)) = tokens.next()
            {
                out.boundary = Some(boundary).filter(|b| !b.is_empty());
                break;
            }
        }
        out
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Vec<u8>),
    Quoted(Vec<u8>),
    Special(u8),
}

/// The tokens of a structured field, without comments. RFC 2045 5.1
fn tokens(value: &[u8]) -> impl Iterator<Item = Token> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let first = *value.get(at)?;
            let start = at;
            at += 1;
            match first {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'(' => {
                    let mut depth = 1;
                    while let Some(b) = value.get(at).filter(|_| depth > 0) {
                        match b {
                            b'(' => depth += 1,
                            b')' => depth -= 1,
                            b'\\' => at += 1,
                            _ => {}
                        }
                        at += 1;
                    }
                }
                b'"' => {
                    let mut text = Vec::new();
                    while let Some(&b) = value.get(at) {
                        at += 1;
                        match b {
                            b'"' => break,
                            b'\\' => {
                                text.extend(value.get(at));
                                at += 1;
                            }
                            b'\r' | b'\n' => {}
                            b => text.push(b),
                        }
                    }
                    return Some(Token::Quoted(text));
                }
                b if special(b) => return Some(Token::Special(b)),
                _ => {
                    let more = value.get(at..).unwrap_or_default();
                    at += more.iter().take_while(|b| !special(**b) && !b" \t\r\n\"(".contains(b)).count();
                    return Some(Token::Word(value.get(start..at).unwrap_or_default().to_vec()));
                }
            }
        }
    })
}

fn special(b: u8) -> bool {
    b"()<>@,;:\\/[]?=".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        for (text, kind, boundary) in [
            (" text/plain; charset=utf-8", Kind::Text, None),
            (" multipart/mixed; boundary=\"a b\"", Kind::Multipart, Some("a b")),
            (" MULTIPART/Mixed ; charset=x;\r\n\tBoundary=abc(comment)", Kind::Multipart, Some("abc")),
            (" multipart/mixed (c;boundary=no); x=\"boundary=no\"; boundary = y", Kind::Multipart, Some("y")),
            (" multipart/mixed; boundary=\"a\\\"b\"", Kind::Multipart, Some("a\"b")),
            (" multipart/mixed; boundary=", Kind::Multipart, None),
            (" multipart/mixed", Kind::Multipart, None),
            (" message/rfc822", Kind::Message, None),
            (" message/delivery-status", Kind::Enclosed, None),
            (" multipart", Kind::Multipart, None),
            ("", Kind::Text, None),
            ("\"unclosed", Kind::Text, None),
            (" (unclosed", Kind::Text, None),
        ] {
            let found = Type::parse(text.as_bytes());
            assert_eq!(
                (found.kind, found.boundary.as_deref()),
                (kind, boundary.map(str::as_bytes)),
                "{text}"
            );
        }
        assert!(Type::parse(b"multipart/digest; boundary=x").digest);
    }

    #[test]
    fn encodings() {
        for (text, expected) in [
            (" 8bit", (Domain::EightBit, false)),
            (" 8BIT (really)", (Domain::EightBit, false)),
            ("binary", (Domain::Binary, false)),
            (" Base64", (Domain::SevenBit, true)),
            (" quoted-printable", (Domain::SevenBit, true)),
            (" x-other", (Domain::SevenBit, false)),
            ("", (Domain::SevenBit, false)),
        ] {
            assert_eq!(encoding(text.as_bytes()), expected, "{text}");
        }
    }
}
