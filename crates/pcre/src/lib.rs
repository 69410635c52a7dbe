//! The `pcre:` table type: patterns in Perl's syntax, as in pcre_table(5). A crate of its own, so
//! that programs which run as root do not link the PCRE library; [`register`] adds the type.

use pcre2::bytes::{Regex, RegexBuilder};
use std::sync::Arc;
use tables::pattern::{self, Engine, Groups, Matcher};
use tables::{Builder, Table, TableError, Types};

const ENGINE: Engine = Engine { kind: "pcre", flags: "imsxAEUXR", compile };

/// Adds `pcre:` to the types of a program.
pub fn register(builder: Builder) -> Builder {
    builder.kind("pcre", open)
}

fn open(
    types: &Types,
    name: &str,
    rest: &str,
    options: tables::Options,
) -> Result<Arc<dyn Table>, TableError> {
    pattern::open(types, name, rest, options, ENGINE)
}

struct Perl(Regex);

impl Matcher for Perl {
    fn groups(&self) -> usize {
        self.0.captures_len().saturating_sub(1)
    }

    fn find(&self, text: &str) -> Result<Option<Groups>, String> {
        // PCRE gives up by itself on a match that takes too long; that is an error, not a "no".
        let found = self.0.captures(text.as_bytes()).map_err(|e| e.to_string())?;
        let span = |c: &pcre2::bytes::Captures, i| c.get(i).map(|g| (g.start(), g.end()));
        Ok(found.map(|c| (0..c.len()).map(|i| span(&c, i)).collect()))
    }
}

/// Flags toggle; `i` and `s` are on from the start.
fn compile(pattern: &str, flags: &str) -> Result<Box<dyn Matcher>, String> {
    let toggled = |flag: char| flags.chars().filter(|f| *f == flag).count() % 2 == 1;
    // Flags the library binding has no switch for are set from within the pattern; `R` and `X`
    // changed nothing any more with PCRE2.
    let mut text = String::new();
    if toggled('U') {
        text.push_str("(?U)");
    }
    let (before, after) = match (toggled('A'), toggled('E')) {
        (true, true) => ("\\G(?:", ")\\z"),
        (true, false) => ("\\G(?:", ")"),
        (false, true) => ("(?:", ")\\z"),
        (false, false) => ("", ""),
    };
    // In extended syntax a comment may swallow the rest of the line.
    let end = if toggled('x') && !after.is_empty() { "\n" } else { "" };
    text.push_str(&format!("{before}{pattern}{end}{after}"));
    let built = RegexBuilder::new()
        .caseless(!toggled('i'))
        .dotall(!toggled('s'))
        .multi_line(toggled('m'))
        .extended(toggled('x'))
        .utf(true)
        .jit_if_available(true)
        .build(&text);
    match built {
        Ok(regex) => Ok(Box::new(Perl(regex))),
        Err(e) => {
            let offset = e.offset().unwrap_or(0).saturating_sub(text.find(pattern).unwrap_or(0));
            let all = e.to_string();
            let words = all.rsplit(": ").next().unwrap_or(&all).to_string();
            Err(format!("error in regex at offset {offset}: {words}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(rule: &str, key: &str) -> Option<String> {
        let types = register(Types::builder()).build();
        let table = types.open(&format!("pcre:{{{{{rule}}}}}")).unwrap();
        table.lookup(key).unwrap().map(|h| h.value)
    }

    #[test]
    fn perl_patterns_and_flags() {
        for (rule, key, answer) in [
            ("/^(.*)-out@(.*)$/ Use ${1}@$2 instead", "L-OUT@d", Some("Use L@d instead")),
            ("/(a)\\1/ twice", "aa", Some("twice")),
            ("/^(?!owner-).*-request/ x", "owner-a-request", None),
            ("/a b/x v", "ab", Some("v")),
            ("/a.b/ v", "a\nb", Some("v")),
            ("/a.b/s v", "a\nb", None),
            ("/foo/i v", "FOO", None),
            ("/a/A v", "ba", None),
            ("/a|ab/E v", "ab", Some("v")),
            ("/(a+)/U $1", "aaa", Some("a")),
            ("!/x/ no", "y", Some("no")),
        ] {
            assert_eq!(value(rule, key).as_deref(), answer, "{rule} {key:?}");
        }
    }

    #[test]
    fn a_pattern_that_never_ends_is_an_error_of_the_lookup() {
        let types = register(Types::builder()).build();
        let table = types.open("pcre:{{/^(a+)+$/ x}}").unwrap();
        assert!(table.lookup(&format!("{}b", "a".repeat(60))).is_err());
    }

    #[test]
    fn without_registration_the_type_is_refused() {
        assert!(Types::builder().build().open("pcre:/x").is_err_and(|e| e.remedy.contains("pcre")));
    }

    #[test]
    fn faults_are_named() {
        let said = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = said.clone();
        let types =
            register(Types::builder()).notices(move |n| heard.lock().unwrap().push(n.to_string())).build();
        types.open("pcre:{{/un(closed/ v}}").unwrap();
        assert!(said.lock().unwrap()[0].ends_with("error in regex at offset 9: missing closing parenthesis"));
    }
}
