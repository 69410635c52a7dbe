//! Reading the addresses of MAIL, RCPT and VRFY, as laxly as Postfix does: RFC 822 forms with
//! comments, phrases, groups and source routes are taken unless `strict_rfc821_envelopes`.
//! Whether a domain exists, or is ours, is not asked here.

use crate::Address;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `strict_rfc821_envelopes`: only `<address>`, nothing around or within it.
    pub strict: bool,
    /// SMTPUTF8 was asked for: a domain may have letters beyond ASCII. RFC 6531 3.3.
    pub utf8: bool,
}

/// The text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// An atom, or a quoted string without its quotes.
    Word(String),
    /// `[…]`, brackets included.
    Literal(String),
    /// One of `< > @ , ; : .`
    Special(char),
}

/// Reads one envelope address; no address at all is the null address, which the caller may
/// refuse. RFC 5321 4.1.2, RFC 822 6.
pub fn envelope(text: &str, rules: Rules) -> Result<Address, BadAddress> {
    let (mut tokens, comments) = tokenize(text)?;
    if rules.strict {
        let inner = text.trim().strip_prefix('<').and_then(|t| t.strip_suffix('>'));
        let nested = tokens.iter().filter(|t| matches!(t, Token::Special('<' | '>'))).count() > 2;
        if inner.is_none() || comments || nested {
            return Err(BadAddress);
        }
    }
    // `<…>`: what stands before the innermost opening bracket is a name; nothing follows.
    if let Some(open) = tokens.iter().rposition(|t| *t == Token::Special('<')) {
        let name = &tokens[..open];
        if name.iter().any(|t| matches!(t, Token::Special(c) if *c != '<' && *c != '.')) {
            return Err(BadAddress);
        }
        tokens.drain(..=open);
        let close = tokens.iter().position(|t| *t == Token::Special('>')).ok_or(BadAddress)?;
        if tokens[close..].iter().any(|t| *t != Token::Special('>')) {
            return Err(BadAddress);
        }
        tokens.truncate(close);
    } else {
        while tokens.last() == Some(&Token::Special('>')) {
            tokens.pop();
        }
    }
    // `group: address;`
    if tokens.last() == Some(&Token::Special(';')) {
        let colon = tokens.iter().position(|t| *t == Token::Special(':')).ok_or(BadAddress)?;
        tokens.pop();
        tokens.drain(..=colon);
    }
    // `@relay,@relay:address`: the route is dropped, as RFC 5321 C asks.
    if tokens.first() == Some(&Token::Special('@'))
        && let Some(colon) = tokens.iter().rposition(|t| *t == Token::Special(':'))
    {
        tokens.drain(..=colon);
    }
    build(&tokens, rules)
}

fn build(tokens: &[Token], rules: Rules) -> Result<Address, BadAddress> {
    let at = tokens.iter().rposition(|t| *t == Token::Special('@'));
    let (local, domain) = match at {
        Some(at) => (&tokens[..at], Some(&tokens[at + 1..])),
        None => (tokens, None),
    };
    let local = join(local, true)?;
    if local.ends_with('@')
        && at.is_some_and(|at| tokens.get(at.wrapping_sub(1)) == Some(&Token::Special('@')))
    {
        return Err(BadAddress);
    }
    let Some(domain) = domain else { return Ok(Address::new(local, None::<String>)) };
    let domain = match domain {
        [Token::Literal(literal)] if is_address_literal(literal) => literal.clone(),
        [Token::Literal(_)] => return Err(BadAddress),
        words => {
            let name = join(words, false)?;
            if !is_host_name(name.strip_suffix('.').unwrap_or(&name), rules.utf8) {
                return Err(BadAddress);
            }
            name
        }
    };
    if rules.strict && local.is_empty() {
        return Err(BadAddress);
    }
    Ok(Address::new(local, Some(domain)))
}

/// Words separated by dots (or by `@`, in a local part) as one text.
fn join(tokens: &[Token], local: bool) -> Result<String, BadAddress> {
    let (mut out, mut after_word) = (String::new(), false);
    for token in tokens {
        let word = match token {
            Token::Word(_) | Token::Literal(_) if after_word => return Err(BadAddress),
            Token::Word(w) => {
                out.push_str(w);
                true
            }
            Token::Literal(w) if local => {
                out.push_str(w);
                true
            }
            Token::Special('.') => {
                out.push('.');
                false
            }
            Token::Special('@') if local && !out.ends_with('@') => {
                out.push('@');
                false
            }
            Token::Special(':') if local => {
                out.push(':');
                false
            }
            _ => return Err(BadAddress),
        };
        after_word = word;
    }
    Ok(out)
}

/// The tokens, and whether there were comments between them.
fn tokenize(text: &str) -> Result<(Vec<Token>, bool), BadAddress> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut comments = false;
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                chars.next();
            }
            '(' => {
                comments = true;
                let mut depth = 0usize;
                loop {
                    match chars.next().ok_or(BadAddress)? {
                        '\\' => drop(chars.next()),
                        '(' => depth += 1,
                        ')' if depth == 1 => break,
                        ')' => depth -= 1,
                        _ => {}
                    }
                }
            }
            '"' => {
                chars.next();
                let mut word = String::new();
                loop {
                    match chars.next().ok_or(BadAddress)? {
                        '"' => break,
                        '\\' => word.push(chars.next().ok_or(BadAddress)?),
                        c => word.push(c),
                    }
                }
                tokens.push(Token::Word(word));
            }
            '[' => {
                let mut literal = String::new();
                loop {
                    let c = chars.next().ok_or(BadAddress)?;
                    literal.push(c);
                    if c == ']' {
                        break;
                    }
                }
                tokens.push(Token::Literal(literal));
            }
            '<' | '>' | '@' | ',' | ';' | ':' | '.' => {
                chars.next();
                tokens.push(Token::Special(c));
            }
            ')' | ']' => return Err(BadAddress),
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    match c {
                        '\\' => {
                            chars.next();
                            word.push(chars.next().ok_or(BadAddress)?);
                        }
                        ' ' | '\t' | '\r' | '\n' | '(' | ')' | '<' | '>' | '@' | ',' | ';' | ':' | '"'
                        | '.' | '[' | ']' => break,
                        c => {
                            word.push(c);
                            chars.next();
                        }
                    }
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok((tokens, comments))
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]`. RFC 5321 4.1.3.
pub fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) else { return false };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

/// A host or domain name as Postfix takes it: labels of letters, digits, `-` inside and `_`,
/// not all numeric; with `utf8` also names that IDNA can write in ASCII.
pub fn is_host_name(name: &str, utf8: bool) -> bool {
    let ascii;
    let name = if utf8 && !name.is_ascii() {
        match idna::domain_to_ascii(name) {
            Ok(text) => {
                ascii = text;
                &ascii
            }
            Err(_) => return false,
        }
    } else {
        name
    };
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 255 && name.split('.').all(label) && !name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, rules: Rules, expected: Option<&str>) {
        let got = envelope(text, rules).ok().map(|a| a.to_string());
        assert_eq!(got.as_deref(), expected, "{text:?} {rules:?}");
    }

    /// Each was asked of Postfix 3.7.
    #[test]
    fn lax() {
        for (text, expected) in [
            ("<a@b.org>", Some("a@b.org")),
            ("a@b.org", Some("a@b.org")),
            ("a@b.org>", Some("a@b.org")),
            ("<>", Some("")),
            ("< >", Some("")),
            ("<<>>", Some("")),
            ("(comment)", Some("")),
            ("<(comment)a@b.org>", Some("a@b.org")),
            ("<usuario(c)@example.org>", Some("usuario@example.org")),
            ("<<a@b.org>>", Some("a@b.org")),
            ("<Full Name <a@b.org>>", Some("a@b.org")),
            ("<a b@b.org>", None),
            ("<a@b c.org>", None),
            ("<a@b.org", None),
            ("<a@b.org>SIZE=10", None),
            ("<\"a b\"@c.org>", Some("\"a b\"@c.org")),
            ("<a\\ b@c.org>", Some("\"a b\"@c.org")),
            ("<\"a b@c.org>", None),
            ("<\"usuario\"@example.org>", Some("usuario@example.org")),
            ("<@x.org:a@c.org>", Some("a@c.org")),
            ("<@x.org,@y.org:a@c.org>", Some("a@c.org")),
            ("<@b.org>", Some("\"\"@b.org")),
            ("<a@b@c.org>", Some("\"a@b\"@c.org")),
            ("<a,b@c.org>", None),
            ("<a;b@c.org>", None),
            ("<grp:a@c.org;>", Some("a@c.org")),
            ("foo:<a@b.org>", None),
            ("<a..b@c.org>", Some("\"a..b\"@c.org")),
            ("<.a@c.org>", Some("\".a\"@c.org")),
            ("<a%b@c.org>", Some("a%b@c.org")),
            ("<a!b>", Some("a!b")),
            ("<a>", Some("a")),
            ("<a@[1.2.3.4]>", Some("a@[1.2.3.4]")),
            ("<a@[IPv6:::1]>", Some("a@[IPv6:::1]")),
            ("<a@[1.2.3.4.5]>", None),
            ("<a@[IPv6:x]>", None),
            ("<a@[]>", None),
            ("<a@1.2.3.4>", None),
            ("<a@123>", None),
            ("<a@b_c.org>", Some("a@b_c.org")),
            ("<a@b-.org>", None),
            ("<a@-b.org>", None),
            ("<a@b!c>", None),
            ("<a@.b.org>", None),
            ("<a@b..org>", None),
            ("<a@b.org.>", Some("a@b.org.")),
            ("<a@>", None),
            ("<a@@b.org>", None),
            ("a:b@c.org", Some("\"a:b\"@c.org")),
            ("<é@b.org>", Some("é@b.org")),
            ("<é@é.org>", None),
            ("<a@b.org,c@d.org>", None),
        ] {
            check(text, Rules::default(), expected);
        }
        check("<é@é.org>", Rules { utf8: true, strict: false }, Some("é@é.org"));
    }

    #[test]
    fn strict() {
        let strict = Rules { strict: true, utf8: false };
        for (text, expected) in [
            ("<a@b.org>", Some("a@b.org")),
            ("<>", Some("")),
            ("<@x.org:a@c.org>", Some("a@c.org")),
            ("a@b.org", None),
            ("<<a@b.org>>", None),
            ("<(c)a@b.org>", None),
            ("Name <a@b.org>", None),
        ] {
            check(text, strict, expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_back(text in "[<>@.,:;\"\\\\ a-c()\\[\\]é]{0,16}", strict: bool, utf8: bool) {
            if let Ok(address) = envelope(&text, Rules { strict, utf8 }) {
                let again = envelope(&format!("<{address}>"), Rules { strict: false, utf8 });
                prop_assert_eq!(again, Ok(address));
            }
        }
    }
}
