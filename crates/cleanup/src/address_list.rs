//! Address lists in header fields: who is in them, and how a rewritten list is printed. Pure.
//!
//! RFC 5322 3.4 as far as mail in the wild keeps to it: comments, groups, quoted strings, domain
//! literals, source routes, missing commas. A list that cannot be understood (an unclosed quote,
//! bytes that are no UTF-8 within an address) is not touched: better an incomplete address than a
//! broken line. A list in which no address changes keeps every byte, too.

use proto::Address;
use std::borrow::Cow;

/// A line is folded before it would have so many bytes.
const WIDTH: usize = 70;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// An atom, quoted string or domain literal: as printed, and without quotes.
    Word(Cow<'a, [u8]>, Cow<'a, [u8]>),
    /// `.` or `@`.
    Joint(u8),
    /// With its parentheses.
    Comment(Cow<'a, [u8]>),
    Comma,
    Semicolon,
    Colon,
    Open,
    Close,
}

/// The list after `rewrite` has seen each address: the value as it follows `name: `, lines
/// separated by CRLF and a tab. `None` when nothing changed or the list is not understood. Of a
/// list with more than `limit` tokens the rest is dropped.
pub fn rewrite(
    name: &str,
    value: &[u8],
    limit: usize,
    rewrite: &mut dyn FnMut(&Address) -> Address,
) -> Option<Vec<u8>> {
    let mut tokens = tokens(value)?;
    tokens.truncate(limit);
    let mut printer = Printer { out: Vec::new(), changed: false, rewrite, after_address: false };
    printer.list(&tokens)?;
    printer.changed.then(|| fold(name.len() + 2, &printer.out))
}

/// The addresses of a list, without the null address. What is not understood is skipped.
pub fn addresses(value: &[u8]) -> Vec<Address> {
    let mut found = Vec::new();
    let Some(tokens) = tokens(value) else { return found };
    let mut keep = |address: &Address| {
        found.push(address.clone());
        address.clone()
    };
    let mut printer = Printer { out: Vec::new(), changed: false, rewrite: &mut keep, after_address: false };
    let _ = printer.list(&tokens);
    found
}

fn tokens(value: &[u8]) -> Option<Vec<Token<'_>>> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&b) = value.get(at) {
        let start = at;
        at += 1;
        let token = match b {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b',' => Token::Comma,
            b';' => Token::Semicolon,
            b':' => Token::Colon,
            b'<' => Token::Open,
            b'>' => Token::Close,
            b'.' | b'@' => Token::Joint(b),
            b'"' => {
                let mut plain = Vec::new();
                loop {
                    match *value.get(at)? {
                        b'"' => break,
                        b'\\' => {
                            at += 1;
                            plain.push(*value.get(at)?);
                        }
                        other => plain.push(other),
                    }
                    at += 1;
                }
                at += 1;
                let plain = unfolded(&plain);
                Token::Word(quoted(&plain).into(), plain.into())
            }
            b'(' => {
                let mut depth = 1;
                while depth > 0 {
                    match *value.get(at)? {
                        b'(' => depth += 1,
                        b')' => depth -= 1,
                        b'\\' => at += 1,
                        _ => {}
                    }
                    at += 1;
                }
                Token::Comment(unfolded(value.get(start..at)?).into())
            }
            b'[' => {
                while *value.get(at)? != b']' {
                    at += 1;
                }
                at += 1;
                let text = unfolded(value.get(start..at)?);
                Token::Word(text.clone().into(), text.into())
            }
            b')' | b']' | b'\\' => return None,
            _ => {
                let is_atom = |b: &u8| !b" \t\r\n,;:<>.@\"()[]\\".contains(b);
                at += value[at..].iter().take_while(|b| is_atom(b)).count();
                let text = &value[start..at];
                Token::Word(text.into(), text.into())
            }
        };
        out.push(token);
    }
    Some(out)
}

/// Without line ends. RFC 5322 2.2.3
fn unfolded(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect()
}

fn quoted(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for b in plain {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*b);
    }
    out.push(b'"');
    out
}

struct Printer<'a> {
    out: Vec<u8>,
    changed: bool,
    rewrite: &'a mut dyn FnMut(&Address) -> Address,
    /// An address came, and no comma since.
    after_address: bool,
}

impl Printer<'_> {
    fn list(&mut self, tokens: &[Token<'_>]) -> Option<()> {
        let (mut start, mut at) = (0, 0);
        // Looked for once: a list of many colons would be read again for each.
        let end_of_groups = tokens.iter().rposition(|t| *t == Token::Semicolon).unwrap_or(0);
        while let Some(token) = tokens.get(at) {
            let phrase = &tokens[start..at];
            at += 1;
            match token {
                Token::Word(..) | Token::Joint(_) | Token::Comment(_) => continue,
                Token::Close => return None,
                Token::Open => {
                    let inside = tokens[at..].iter().position(|t| *t == Token::Close)?;
                    self.display(phrase);
                    self.space();
                    self.angle(&tokens[at..at + inside])?;
                    at += inside + 1;
                    while let Some(Token::Comment(text)) = tokens.get(at) {
                        self.out.extend_from_slice(text);
                        at += 1;
                    }
                }
                Token::Colon => {
                    // The name of a group, if the group is closed. RFC 5322 3.4.
                    let named = phrase.iter().any(|t| matches!(t, Token::Word(..)));
                    if !named || end_of_groups < at {
                        return None;
                    }
                    self.display(phrase);
                    self.out.extend_from_slice(b": ");
                    self.after_address = false;
                }
                Token::Comma => {
                    self.bare(phrase)?;
                    self.comma();
                }
                Token::Semicolon => {
                    self.bare(phrase)?;
                    self.out.push(b';');
                    self.after_address = true;
                }
            }
            start = at;
        }
        self.bare(&tokens[start..])
    }

    /// Addresses that stand without brackets; one after another they need commas.
    fn bare(&mut self, phrase: &[Token<'_>]) -> Option<()> {
        let mut comments: Vec<&[u8]> = Vec::new();
        let mut word: Option<(Vec<u8>, bool)> = None; // its text, and whether a joint ended it
        for token in phrase {
            match token {
                Token::Comment(text) => comments.push(text),
                Token::Joint(b) => {
                    let (text, joined) = word.get_or_insert_with(Default::default);
                    text.push(*b);
                    *joined = true;
                }
                Token::Word(_, plain) => match word.as_mut() {
                    Some((text, joined @ true)) => {
                        text.extend_from_slice(plain);
                        *joined = false;
                    }
                    _ => {
                        if let Some((text, _)) = word.replace((plain.to_vec(), false)) {
                            self.plain_address(&text)?;
                        }
                    }
                },
                _ => return None,
            }
        }
        if let Some((text, _)) = word {
            self.plain_address(&text)?;
        }
        for comment in comments {
            self.space();
            self.out.extend_from_slice(comment);
        }
        Some(())
    }

    fn plain_address(&mut self, text: &[u8]) -> Option<()> {
        if self.after_address {
            self.comma();
        }
        let text = self.rewritten(text)?;
        self.space();
        self.out.extend_from_slice(text.as_bytes());
        self.after_address = true;
        Some(())
    }

    /// What stands between `<` and `>`.
    fn angle(&mut self, inside: &[Token<'_>]) -> Option<()> {
        let mut inside = inside;
        if inside.first() == Some(&Token::Joint(b'@')) {
            // A source route, which is dropped. RFC 5321 appendix C.
            let colon = inside.iter().position(|t| *t == Token::Colon)?;
            inside = inside.get(colon + 1..).filter(|rest| !rest.is_empty())?;
            self.changed = true;
        }
        let mut text = Vec::new();
        for token in inside {
            match token {
                Token::Word(_, plain) => text.extend_from_slice(plain),
                Token::Joint(b) => text.push(*b),
                _ => return None,
            }
        }
        let address = if text.is_empty() { String::new() } else { self.rewritten(&text)? };
        self.out.push(b'<');
        self.out.extend_from_slice(address.as_bytes());
        self.out.push(b'>');
        self.after_address = true;
        Some(())
    }

    fn rewritten(&mut self, text: &[u8]) -> Option<String> {
        let address = Address::from_internal(std::str::from_utf8(text).ok()?);
        if address.domain() == Some("") || address.local().is_empty() {
            return None; // not an address: `user@`, `@domain`
        }
        if address.domain().is_some_and(|domain| !is_printable(domain)) {
            return None; // it stood in quotes, and without them would begin a comment or another address
        }
        let new = (self.rewrite)(&address);
        self.changed |= new != address;
        Some(new.to_string())
    }

    /// A display or group name: words apart, joints close.
    fn display(&mut self, phrase: &[Token<'_>]) {
        let mut close = false;
        for token in phrase {
            let joint = matches!(token, Token::Joint(_));
            if !close && !joint {
                self.space();
            }
            match token {
                Token::Word(shown, _) => self.out.extend_from_slice(shown),
                Token::Joint(b) => self.out.push(*b),
                Token::Comment(text) => self.out.extend_from_slice(text),
                _ => {}
            }
            close = joint;
        }
    }

    /// A space, but at the beginning of a line or after another.
    fn space(&mut self) {
        if self.out.last().is_some_and(|b| !matches!(b, b' ' | b'\n')) {
            self.out.push(b' ');
        }
    }

    /// A comma, and a place where the line may be folded.
    fn comma(&mut self) {
        self.out.extend_from_slice(b",\n");
        self.after_address = false;
    }
}

/// Whether a domain means the same where it stands without quotes.
fn is_printable(domain: &str) -> bool {
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let special: &[char] = match literal {
        Some(_) => &['[', ']', '\\'],
        None => &['(', ')', '<', '>', ',', ';', ':', '"', '\\', '[', ']', ' ', '@'],
    };
    !literal.unwrap_or(domain).contains(|c: char| c.is_control() || special.contains(&c))
}

fn fold(before: usize, text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len() + 8);
    let mut column = before;
    for (i, piece) in text.split(|b| *b == b'\n').enumerate() {
        if i > 0 {
            if column + 1 + piece.len() < WIDTH {
                out.push(b' ');
                column += 1;
            } else {
                out.extend_from_slice(b"\r\n\t");
                column = 1;
            }
        }
        out.extend_from_slice(piece);
        column += piece.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(address: &Address) -> Address {
        match address.domain() {
            Some(_) => address.clone(),
            None => Address::new(address.local(), Some("josedomingo.org")),
        }
    }

    fn check(value: &str, expected: &str) {
        let new = rewrite("To", value.as_bytes(), 10_000, &mut complete);
        let new = new.map_or_else(|| value.to_string(), |v| String::from_utf8(v).unwrap());
        assert_eq!(new, expected, "{value:?}");
    }

    /// Left what a client sent, right what Postfix 3.7 made of it.
    #[test]
    fn as_postfix_prints_them() {
        for (value, expected) in [
            ("jose", "jose@josedomingo.org"),
            ("usuario, alumno@corto", "usuario@josedomingo.org, alumno@corto"),
            ("Jose   D <jose@x.y>", "Jose   D <jose@x.y>"),
            ("a@b.c,\r\n   d@e.f", "a@b.c,\r\n   d@e.f"),
            ("a@b.c,\r\n  d@e.f,\r\n\tg", "a@b.c, d@e.f, g@josedomingo.org"),
            ("undisclosed-recipients:;", "undisclosed-recipients:;"),
            ("(only comment)", "(only comment)"),
            ("Jose D (comment) <jose>", "Jose D (comment) <jose@josedomingo.org>"),
            ("x, \"Q. U\" <a b@c>", "x@josedomingo.org, \"Q. U\" <ab@c>"),
            ("x, y@y.z (Full Name)", "x@josedomingo.org, y@y.z (Full Name)"),
            (
                "grupo: uno, dos@x ,tres (c) ;, \"quoted local\"@x.y",
                "grupo: uno@josedomingo.org, dos@x, tres@josedomingo.org (c);,\r\n\t\"quoted local\"@x.y",
            ),
            ("<@a,@b:route@c.d>", "<route@c.d>"),
            ("x, me@[1.2.3.4], weird <>", "x@josedomingo.org, me@[1.2.3.4], weird <>"),
            ("jose,", "jose@josedomingo.org, "),
            ("\"a\\\"b\" <x>", "\"a\\\"b\" <x@josedomingo.org>"),
            ("\"a\\zb\" <x>", "\"azb\" <x@josedomingo.org>"),
            ("(nested (com\\)ment)) x", "x@josedomingo.org (nested (com\\)ment))"),
            ("a@b@c, d", "\"a@b\"@c, d@josedomingo.org"),
            ("a..b", "\"a..b\"@josedomingo.org"),
            ("a b c", "a@josedomingo.org, b@josedomingo.org, c@josedomingo.org"),
            ("a@b c@d", "a@b c@d"),
            (",,a,,b", ", , a@josedomingo.org, , b@josedomingo.org"),
            (";;a", ";;, a@josedomingo.org"),
            ("foo: ;bar", "foo: ;, bar@josedomingo.org"),
            ("x <a> <b>", "x <a@josedomingo.org> <b@josedomingo.org>"),
            ("(c1) a (c2), <b> (c3)", "a@josedomingo.org (c1) (c2), <b@josedomingo.org>(c3)"),
            ("a @ b . c", "a @ b . c"),
            ("Joe.User <x>", "Joe.User <x@josedomingo.org>"),
            ("\"Joe\" User <x>", "\"Joe\" User <x@josedomingo.org>"),
            ("<@h:x>", "<x@josedomingo.org>"),
            ("\"a b\"", "\"a b\"@josedomingo.org"),
            ("\"ab\"", "ab@josedomingo.org"),
            ("\"a\".\"b\"", "a.b@josedomingo.org"),
            ("foo bar@baz", "foo@josedomingo.org, bar@baz"),
            ("g: a, b; , c", "g: a@josedomingo.org, b@josedomingo.org;, c@josedomingo.org"),
            ("x<y>z", "x <y@josedomingo.org>, z@josedomingo.org"),
            ("x (c)<y>", "x (c) <y@josedomingo.org>"),
            ("User<a@b>, c", "User <a@b>, c@josedomingo.org"),
            ("x,\r\n (c)\r\n y", "x@josedomingo.org, y@josedomingo.org (c)"),
            ("=?utf-8?Q?a=20b?= <x>", "=?utf-8?Q?a=20b?= <x@josedomingo.org>"),
            ("a@, @, <>, root@", "a@, @, <>, root@"),
            ("x < a @ b >", "x < a @ b >"),
        ] {
            check(value, expected);
        }
    }

    #[test]
    fn lines_are_folded_before_column_seventy() {
        let a = "a".repeat(42);
        check(&format!("{a}, b@c.d"), &format!("{a}@josedomingo.org, b@c.d"));
        let a = "a".repeat(43);
        check(&format!("{a}, b@c.d"), &format!("{a}@josedomingo.org,\r\n\tb@c.d"));
    }

    #[test]
    fn what_is_not_understood_stays() {
        for value in
            ["\"open <x>", "(open <x>", "Foo <open", "x <@route:>", "a\\ b", ":a", "a:", "x>", "x <a (c)>"]
        {
            check(value, value);
        }
        assert_eq!(rewrite("To", b"\xff\xfe", 100, &mut complete), None);
        assert_eq!(rewrite("To", b"J\xff <x>", 100, &mut complete).unwrap(), b"J\xff <x@josedomingo.org>");
        assert_eq!(
            rewrite("To", b"a, b, c", 3, &mut complete).unwrap(),
            b"a@josedomingo.org, b@josedomingo.org"
        );
    }

    #[test]
    fn addresses_of_a_list() {
        let found: Vec<String> =
            addresses(b" a@b, c (x) d, G: \"Q\" <q@r>, <>;, h ").iter().map(Address::internal).collect();
        assert_eq!(found, ["a@b", "c", "d", "q@r", "h"]);
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_one_line(value in prop::collection::vec(prop::sample::select(&b"ab@.,;:<>()\"\\[] \r\n\xc3\xb1"[..]), 0..40)) {
            let mut same = |a: &Address| a.clone();
            if let Some(new) = rewrite("To", &value, 1000, &mut same) {
                // Only a dropped route changes a list without rewriting.
                prop_assert!(value.contains(&b':'));
                prop_assert!(!new.windows(2).any(|w| w[0] == b'\n' && w[1] != b'\t'));
            }
            let new = rewrite("To", &value, 1000, &mut complete).unwrap_or_default();
            let text = String::from_utf8_lossy(&new).replace("\r\n\t", "");
            prop_assert!(!text.contains(['\r', '\n']));
        }

        #[test]
        fn a_rewritten_list_is_stable(words in prop::collection::vec("[a-z]{1,8}(@[a-z]{1,5}\\.[a-z]{2})?", 1..12)) {
            let value = words.join(", ");
            let once = rewrite("To", value.as_bytes(), 1000, &mut complete).unwrap_or(value.into_bytes());
            prop_assert_eq!(rewrite("To", &once, 1000, &mut complete), None);
            prop_assert_eq!(addresses(&once).len(), words.len());
        }
    }

    #[test]
    fn a_domain_that_needs_its_quotes_leaves_the_list_as_it_is() {
        let mut other = |_: &Address| Address::from_internal("other@example.org");
        for list in ["a@\"x (y\", b@example.org", "a@\"x,y\", b", "a@\"[x)\", b", "<a@\"b>c\">, d"] {
            assert_eq!(rewrite("To", list.as_bytes(), 100, &mut other), None, "{list}");
        }
        assert!(rewrite("To", b"a@[192.0.2.1], b@\"example.org\"", 100, &mut other).is_some());
    }
}
