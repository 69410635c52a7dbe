//! `cidr:`: address blocks, in the form of cidr_table(5).

use crate::live::{Content, Parse, Source};
use crate::net::{Net, address_of};
use crate::text::{logical_lines, shown};
use crate::types::Options;
use crate::{Hit, Owner, Table, TableError, Types};
use std::sync::Arc;

enum Then {
    Answer(String),
    If(usize),
}

struct Rule {
    line: usize,
    negated: bool,
    net: Net,
    then: Then,
}

struct Cidr {
    name: Arc<str>,
    source: Source<Vec<Rule>>,
}

/// Opens a table of address blocks.
pub fn open(types: &Types, name: &str, rest: &str, _: Options) -> Result<Arc<dyn Table>, TableError> {
    let parse: Parse<Vec<Rule>> =
        Box::new(|path, bytes| Ok(rules(&format!("cidr map {}", path.display()), bytes)));
    Ok(Arc::new(Cidr { name: name.into(), source: Source::open(types, name, rest, parse)? }))
}

impl Table for Cidr {
    fn name(&self) -> &str {
        &self.name
    }

    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let rules = self.source.get()?;
        // Names are asked for too, and are simply not in here.
        let Some(address) = address_of(key) else { return Ok(None) };
        let mut at = 0;
        while let Some(rule) = rules.get(at) {
            at += 1;
            // A negated pattern speaks of its own family of addresses only.
            let family = rule.net.address().is_ipv4() == address.to_canonical().is_ipv4();
            let applies = family && rule.net.contains(address) != rule.negated;
            match (&rule.then, applies) {
                (Then::If(_), true) | (Then::Answer(_), false) => {}
                (Then::If(end), false) => at = *end,
                (Then::Answer(value), true) => {
                    let place = (self.name.clone(), Some(rule.line));
                    return Ok(Some(Hit { value: value.clone(), place }));
                }
            }
        }
        Ok(None)
    }

    fn whole_key_only(&self) -> bool {
        true
    }
    fn owner(&self) -> Owner {
        self.source.owner()
    }
    fn refresh(&self) {
        self.source.refresh()
    }
    fn broken(&self) -> Option<TableError> {
        self.source.get().err()
    }
}

fn rules(label: &str, bytes: &[u8]) -> Content<Vec<Rule>> {
    let (lines, faults) = logical_lines(bytes);
    let mut out = Content { value: Vec::new(), clean: faults.is_empty(), faults: Vec::new() };
    out.faults.extend(faults.iter().map(|f| format!("{label}{f}")));
    let mut open: Vec<(usize, usize)> = Vec::new();
    for line in lines {
        let mut fault = |what: String, skipped: bool| {
            out.faults.push(format!("{label}, line {}: {what}", line.last));
            out.clean &= !skipped;
        };
        let Ok(text) = std::str::from_utf8(&line.text) else {
            fault(format!("non-UTF-8 input \"{}\" -- ignoring this line", shown(&line.text)), true);
            continue;
        };
        let (first, rest) = word(text.trim());
        if first.eq_ignore_ascii_case("endif") {
            match open.pop() {
                Some((index, _)) => {
                    let end = out.value.len();
                    if let Some(Rule { then: Then::If(to), .. }) = out.value.get_mut(index) {
                        *to = end;
                    }
                }
                None => fault("ENDIF without IF: skipping this rule".into(), true),
            }
            continue;
        }
        let conditional = first.eq_ignore_ascii_case("if");
        let (mut pattern, mut negated) = (if conditional { rest } else { text.trim() }, false);
        while let Some(tail) = pattern.strip_prefix('!') {
            negated = !negated;
            pattern = tail.trim_start();
        }
        let (pattern, value) = word(pattern);
        let net = match Net::parse(pattern) {
            Ok(net) => net,
            Err(what) => {
                fault(format!("{what}: skipping this rule"), true);
                continue;
            }
        };
        let then = match (conditional, value.is_empty()) {
            (true, _) => {
                if !value.is_empty() {
                    fault(format!("ignoring extra text after IF {pattern}: \"{value}\""), false);
                }
                open.push((out.value.len(), line.last));
                Then::If(usize::MAX)
            }
            (false, true) => {
                fault(format!("no value for pattern \"{pattern}\": skipping this rule"), true);
                continue;
            }
            (false, false) => Then::Answer(value.to_string()),
        };
        out.value.push(Rule { line: line.first, negated, net, then });
    }
    let end = out.value.len();
    for (index, line) in open {
        out.faults.push(format!("{label}, line {line}: IF has no matching ENDIF"));
        out.clean = false;
        if let Some(Rule { then: Then::If(to), .. }) = out.value.get_mut(index) {
            *to = end;
        }
    }
    out
}

fn word(text: &str) -> (&str, &str) {
    let cut = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(cut).unwrap_or((text, ""));
    (word, rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "10.0.0.0/8 ten\n10.1.0.0/8 badbits\n!192.168.0.0/16 notprivate\n\
        if 192.168.1.0/24\n192.168.1.7 seven\nendif\n2001:db8::/32 six\n[::1] lo\n300.1.1.1 bad\n\
        1.2.3.4/33 bad\nfoo bar\n10.2\n0.0.0.0/0 any\nendif\nif 1.2.3.4\n";

    #[test]
    fn the_words_are_those_of_postfix() {
        let content = rules("cidr map ci", TEXT.as_bytes());
        assert_eq!(
            content.faults,
            [
                "cidr map ci, line 2: non-null host address bits in \"10.1.0.0/8\", perhaps you should use \"10.0.0.0/8\" instead: skipping this rule",
                "cidr map ci, line 9: bad address pattern: \"300.1.1.1\": skipping this rule",
                "cidr map ci, line 10: bad mask length in \"1.2.3.4/33\": skipping this rule",
                "cidr map ci, line 11: bad address pattern: \"foo\": skipping this rule",
                "cidr map ci, line 12: bad address pattern: \"10.2\": skipping this rule",
                "cidr map ci, line 14: ENDIF without IF: skipping this rule",
                "cidr map ci, line 15: IF has no matching ENDIF",
            ]
        );
    }

    #[test]
    fn lookups() {
        let types = Types::builder().build();
        let table = types.open("cidr:{{10.0.0.0/8 ten}, {if 192.168.1.0/24}, {192.168.1.7 seven}, {endif}, {!192.168.0.0/16 notprivate}, {::/0 six}, {0.0.0.0/0 any}}").unwrap();
        for (key, value) in [
            ("10.3.4.5", Some("ten")),
            ("192.168.1.7", Some("seven")),
            ("192.168.1.8", Some("any")),
            ("1.1.1.1", Some("notprivate")),
            ("2001:db8::1", Some("six")),
            ("foo", None),
        ] {
            assert_eq!(table.lookup(key).unwrap().map(|h| h.value).as_deref(), value, "{key}");
        }
    }
}
