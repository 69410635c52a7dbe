//! Tables of patterns in the form of regexp_table(5) and pcre_table(5): `/pattern/flags result`,
//! `!/pattern/`, `if … endif`, `$1` in results. The engine that matches is the type's own.

use crate::live::{Content, Parse, Source};
use crate::text::{logical_lines, shown};
use crate::types::Options;
use crate::{Hit, Owner, Table, TableError, Types};
use std::sync::Arc;

/// Where groups of a pattern matched; the first is the whole match.
pub type Groups = Vec<Option<(usize, usize)>>;

/// A compiled pattern.
pub trait Matcher: Send + Sync {
    /// How many groups it has, without the whole match.
    fn groups(&self) -> usize;
    /// Where it matches in `text`. An error is one of this lookup (a limit was reached).
    fn find(&self, text: &str) -> Result<Option<Groups>, String>;
}

/// Compiles a pattern with its flags; the error is what is wrong with it.
pub type Compile = fn(&str, &str) -> Result<Box<dyn Matcher>, String>;

/// An engine: its table type, the flags it knows, how it compiles.
#[derive(Clone, Copy)]
pub struct Engine {
    /// `regexp` or `pcre`.
    pub kind: &'static str,
    /// Letters that may stand behind a pattern.
    pub flags: &'static str,
    /// Compiles a pattern with the flags that were written.
    pub compile: Compile,
}

enum Piece {
    Text(String),
    Group(usize),
}

enum Then {
    Answer(Vec<Piece>),
    /// Where a failed `if` goes on.
    If(usize),
}

struct Rule {
    line: usize,
    negated: bool,
    matcher: Box<dyn Matcher>,
    then: Then,
}

/// A table of patterns.
struct Patterns {
    name: Arc<str>,
    source: Source<Vec<Rule>>,
}

/// Opens a table of `engine`'s patterns, in a file or between braces.
pub fn open(
    types: &Types,
    name: &str,
    rest: &str,
    _: Options,
    engine: Engine,
) -> Result<Arc<dyn Table>, TableError> {
    let substitution = types.substitution();
    let parse: Parse<Vec<Rule>> = Box::new(move |path, bytes| {
        let label = format!("{} map {}", engine.kind, path.display());
        Ok(rules(engine, &label, bytes, substitution))
    });
    Ok(Arc::new(Patterns { name: name.into(), source: Source::open(types, name, rest, parse)? }))
}

impl Table for Patterns {
    fn name(&self) -> &str {
        &self.name
    }

    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let rules = self.source.get()?;
        let mut at = 0;
        while let Some(rule) = rules.get(at) {
            at += 1;
            let found = rule.matcher.find(key).map_err(|e| {
                let what = format!("line {}: {e}", rule.line);
                TableError::new(&self.name, what, "simplify the pattern")
            })?;
            match (&rule.then, found.is_some() != rule.negated) {
                (Then::If(_), true) | (Then::Answer(_), false) => {}
                (Then::If(end), false) => at = *end,
                (Then::Answer(pieces), true) => {
                    let value = fill(pieces, key, &found.unwrap_or_default());
                    return Ok(Some(Hit { value, place: (self.name.clone(), Some(rule.line)) }));
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

fn fill(pieces: &[Piece], key: &str, groups: &Groups) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Group(n) => {
                let range = groups.get(*n).copied().flatten();
                out.push_str(range.and_then(|(a, b)| key.get(a..b)).unwrap_or(""));
            }
        }
    }
    out
}

fn rules(engine: Engine, label: &str, bytes: &[u8], substitution: bool) -> Content<Vec<Rule>> {
    let (lines, faults) = logical_lines(bytes);
    let mut out = Content { value: Vec::new(), clean: faults.is_empty(), faults: Vec::new() };
    out.faults.extend(faults.iter().map(|f| format!("{label}{f}")));
    // Open `if`s: their rule, or none where the `if` itself was faulty and its rules are skipped.
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
        let text = text.trim();
        let word = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
        let rest = text.get(word.len()..).unwrap_or("").trim_start();
        let conditional = word.eq_ignore_ascii_case("if");
        if word.eq_ignore_ascii_case("endif") {
            match open.pop() {
                Some((index, _)) => {
                    if !rest.is_empty() {
                        fault(format!("ignoring extra text after ENDIF: \"{rest}\""), false);
                    }
                    let end = out.value.len();
                    if let Some(Rule { then: Then::If(to), .. }) = out.value.get_mut(index) {
                        *to = end;
                    }
                }
                None => fault("ignoring ENDIF without matching IF".into(), true),
            }
            continue;
        }
        if !conditional && !word.is_empty() {
            fault("ignoring unrecognized request".into(), true);
            continue;
        }
        match rule(engine, if conditional { rest } else { text }, conditional, line.first) {
            Ok((Rule { then: Then::Answer(pieces), .. }, _))
                if !substitution && pieces.iter().any(|p| matches!(p, Piece::Group(_))) =>
            {
                let what = "regular expression substitution is not allowed: skipping this rule";
                fault(what.into(), true);
            }
            Ok((rule, hints)) => {
                hints.into_iter().for_each(|h| fault(h, false));
                if conditional {
                    open.push((out.value.len(), line.last));
                }
                out.value.push(rule);
            }
            Err(whats) => whats.into_iter().for_each(|w| fault(w, true)),
        }
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

/// One rule, and what looks wrong though it was kept; or why it was not.
fn rule(
    engine: Engine,
    text: &str,
    conditional: bool,
    line: usize,
) -> Result<(Rule, Vec<String>), Vec<String>> {
    let (mut body, mut negated) = (text, false);
    while let Some(rest) = body.strip_prefix('!') {
        negated = !negated;
        body = rest.trim_start();
    }
    let Some(delimiter) = body.chars().next() else {
        return Err(vec!["no regexp: skipping this rule".into()]);
    };
    let body = body.get(delimiter.len_utf8()..).unwrap_or("");
    let (mut escaped, mut end) = (false, None);
    for (i, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == delimiter => {
                end = Some(i);
                break;
            }
            _ => {}
        }
    }
    let Some((pattern, after)) = end.and_then(|e| body.split_at_checked(e)) else {
        let end = if engine.kind == "pcre" { "ignoring" } else { "skipping" };
        return Err(vec![format!("no closing regexp delimiter \"{delimiter}\": {end} this rule")]);
    };
    let after = after.get(delimiter.len_utf8()..).unwrap_or("");
    let cut = after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len());
    let (flags, result) = after.split_at_checked(cut).unwrap_or((after, ""));
    let result = result.trim();
    if let Some(bad) = flags.chars().find(|f| !engine.flags.contains(*f)) {
        return Err(vec![format!("unknown regexp option \"{bad}\": skipping this rule")]);
    }
    let matcher = (engine.compile)(pattern, flags).map_err(|e| vec![e])?;
    let mut hints = Vec::new();
    let then = if conditional {
        if !result.is_empty() {
            hints.push(format!("ignoring extra text after IF statement: \"{result}\""));
            hints.push("do not prepend whitespace to statements between IF and ENDIF".into());
        }
        Then::If(usize::MAX)
    } else {
        if result.is_empty() {
            hints.push("no replacement text: using empty string".into());
        }
        let pieces = pieces(result).map_err(|e| match e {
            Some(why) => vec![why, "bad replacement syntax: skipping this rule".into()],
            None => vec!["bad replacement syntax: skipping this rule".into()],
        })?;
        for piece in &pieces {
            match piece {
                Piece::Group(_) if negated => {
                    return Err(vec![
                        "$number found in negative match replacement text: skipping this rule".into(),
                    ]);
                }
                Piece::Group(n) if *n > matcher.groups() || *n == 0 => {
                    return Err(vec![format!("out of range replacement index \"{n}\": skipping this rule")]);
                }
                _ => {}
            }
        }
        Then::Answer(pieces)
    };
    Ok((Rule { line, negated, matcher, then }, hints))
}

/// The result with its `$1 ${1} $(1) $$`.
fn pieces(text: &str) -> Result<Vec<Piece>, Option<String>> {
    let (mut out, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            plain.push('$');
            rest = tail;
            continue;
        }
        let (name, tail) = match after.chars().next() {
            Some('{') => after.get(1..).and_then(|a| a.split_once('}')).ok_or(None)?,
            Some('(') => after.get(1..).and_then(|a| a.split_once(')')).ok_or(None)?,
            _ => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                after.split_at_checked(end.unwrap_or(after.len())).unwrap_or((after, ""))
            }
        };
        if name.is_empty() {
            return Err(Some(format!("empty macro name: \"{text}\"")));
        }
        let number = name.parse::<usize>().ok().filter(|_| name.bytes().all(|b| b.is_ascii_digit()));
        let number = number.ok_or_else(|| Some(format!("non-numeric replacement index \"{name}\"")))?;
        if !plain.is_empty() {
            out.push(Piece::Text(std::mem::take(&mut plain)));
        }
        out.push(Piece::Group(number));
        rest = tail;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        out.push(Piece::Text(plain));
    }
    Ok(out)
}
