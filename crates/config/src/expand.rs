//! `$`-expansion of values, as postconf(5) describes it.
//!
//! `$name ${name} $(name)`, `${name?text}` `${name:text}` `${name?{a}:{b}}`, comparisons
//! `${{a} == {b} ? {c} : {d}}` (also `!= < <= >= >` and the same with `level` behind them, which
//! compare compatibility levels), and `$$`. What a name stands for is asked of the caller, so that
//! the same code serves main.cf, the overrides of a service, and commands with their own names.
//! A condition looks at the text of the name before expansion: `${a?x}` is `x` when `a = $b` even if
//! `b` is empty. That is what Postfix does.

use crate::lines::is_space;
use crate::{Problem, level};

/// How deep names may lead to names. As Postfix.
const DEPTH: usize = 100;
/// How long a value may become. A dozen lines of `a = $b$b` would otherwise fill the memory.
const LONGEST: usize = 4 << 20;
/// How many names one value may lead to, for the same reason.
const MOST_NAMES: usize = 100_000;

/// What a name stands for, before expansion; `None` when nobody knows it.
pub type Lookup<'a> = dyn FnMut(&str) -> Option<String> + 'a;

/// Expands `text`, and the values it refers to.
pub fn expand(text: &str, lookup: &mut Lookup<'_>) -> Result<String, Problem> {
    Expander { lookup, recursive: true, names: 0 }.value(text, 0)
}

/// Expands `text`, but not what `lookup` answers: for names whose values come from strangers, such
/// as `$recipient` in a command.
pub fn expand_once(text: &str, lookup: &mut Lookup<'_>) -> Result<String, Problem> {
    Expander { lookup, recursive: false, names: 0 }.value(text, 0)
}

struct Expander<'a, 'b> {
    lookup: &'a mut Lookup<'b>,
    recursive: bool,
    names: usize,
}

impl Expander<'_, '_> {
    fn value(&mut self, text: &str, depth: usize) -> Result<String, Problem> {
        if depth > DEPTH {
            return Err(nesting(text));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((plain, tail)) = rest.split_once('$') {
            out.push_str(plain);
            rest = tail;
            if let Some(tail) = rest.strip_prefix('$') {
                out.push('$');
                rest = tail;
                continue;
            }
            let (body, tail) = reference(rest, text)?;
            rest = tail;
            out.push_str(&self.reference(body, depth)?);
            if out.len() > LONGEST {
                return Err(bad("a value grows without bound", "remove references that repeat each other"));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn reference(&mut self, body: &str, depth: usize) -> Result<String, Problem> {
        let inner = body.trim_start_matches(is_space);
        let (name, value, rest, ready) = if inner.starts_with('{') {
            let (truth, rest) = self.comparison(inner, depth)?;
            ("", Some(if truth { "true" } else { "" }.to_string()), rest, true)
        } else {
            let end = inner.find(|c: char| !is_name(c)).unwrap_or(inner.len());
            let (name, rest) = inner.split_at(end);
            let after = rest.trim_start_matches(is_space);
            if !after.is_empty() && !after.starts_with(['?', ':']) {
                let what = format!("attribute name syntax error at: \"...{name}>>>{rest}\"");
                return Err(bad(what, "names consist of letters, digits and _"));
            }
            self.names += 1;
            if self.names > MOST_NAMES {
                return Err(bad(
                    "a value refers to too many names",
                    "remove references that repeat each other",
                ));
            }
            (name, (self.lookup)(name), rest, !self.recursive)
        };
        let rest = rest.trim_start_matches(is_space);
        let set = value.as_ref().is_some_and(|v| !v.is_empty());
        let mut rest_chars = rest.chars();
        match rest_chars.next() {
            None => match value {
                Some(text) if ready => Ok(text),
                Some(_) if depth >= DEPTH => Err(nesting(name)),
                Some(text) => self.value(&text, depth + 1),
                None => Ok(String::new()),
            },
            Some('?') => {
                let (yes, no) = choices(rest_chars.as_str())?;
                if set { self.value(yes, depth + 1) } else { self.value(no, depth + 1) }
            }
            Some(':') => {
                let no = alternative(rest_chars.as_str())?;
                if set { Ok(String::new()) } else { self.value(no, depth + 1) }
            }
            Some(_) => Err(bad(
                format!("\"?\" or \":\" expected at: \"...}}>>>{rest}\""),
                "write ${{a} == {b} ? {c} : {d}}",
            )),
        }
    }

    /// `{a} op {b}`; gives the truth and what follows.
    fn comparison<'t>(&mut self, text: &'t str, depth: usize) -> Result<(bool, &'t str), Problem> {
        let (left, rest) = payload(text)?.ok_or_else(|| expression(text))?;
        let rest = rest.trim_start_matches(is_space);
        let mark = rest.find(|c| !matches!(c, '=' | '!' | '<' | '>')).unwrap_or(rest.len());
        let (operator, rest) = rest.split_at(mark);
        let (levels, rest) = rest.strip_prefix("level").map_or((false, rest), |r| (true, r));
        let known = matches!(operator, "==" | "!=" | "<" | "<=" | ">=" | ">");
        if !known {
            let what = format!(
                "\"==\" or \"!=\"\" or \"<\"\" or \"<=\"\" or \">=\"\" or \">\" expected at: \"...{left}}}>>>{operator}{rest}\""
            );
            return Err(bad(what, "write a comparison such as ${{$a} == {b} ? {c} : {d}}"));
        }
        let rest = rest.trim_start_matches(is_space);
        let before = text.get(..text.len() - rest.len()).unwrap_or_default().trim_end_matches(is_space);
        let (right, after) = payload(rest)?.ok_or_else(|| {
            let what = format!("\"{{expression}}\" expected at: \"...{before}>>> {rest}\"");
            bad(what, "put both sides of a comparison in { }")
        })?;
        let rest = after;
        let left = self.value(left, depth + 1)?;
        let right = self.value(right, depth + 1)?;
        let order = if levels {
            level::compare(&left, &right).map_err(|text| {
                bad(
                    format!("malformed compatibility level syntax: {text:?}"),
                    "write a level such as 3.6 or 2, for example in compatibility_level",
                )
            })?
        } else {
            numbers(&left, &right).unwrap_or_else(|| left.cmp(&right))
        };
        let truth = match operator {
            "==" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">=" => order.is_ge(),
            _ => order.is_gt(),
        };
        Ok((truth, rest))
    }
}

/// Two numbers of any length; `None` when one is not all digits.
fn numbers(left: &str, right: &str) -> Option<std::cmp::Ordering> {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(left) || !digits(right) {
        return None;
    }
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    Some(left.len().cmp(&right.len()).then_with(|| left.cmp(right)))
}

/// What follows a `$`: the body of the reference and the text behind it.
fn reference<'t>(rest: &'t str, whole: &str) -> Result<(&'t str, &'t str), Problem> {
    let (body, tail) = match rest.chars().next() {
        Some(open @ ('{' | '(')) => {
            let close = if open == '{' { '}' } else { ')' };
            let (body, tail) = balanced(rest, open, close).ok_or_else(|| {
                bad(format!("truncated macro reference: {whole:?}"), format!("close it with a {close}"))
            })?;
            (body, tail)
        }
        _ => rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len())),
    };
    if body.is_empty() {
        return Err(bad(format!("empty macro name: {whole:?}"), "write $$ for a single $"));
    }
    Ok((body, tail))
}

/// `{yes}:{no}`, `{yes}:no`, `{yes}` or `yes`, the text behind a `?`.
fn choices(text: &str) -> Result<(&str, &str), Problem> {
    let Some((yes, rest)) = payload(text)? else { return Ok((text, "")) };
    let rest = rest.trim_start_matches(is_space);
    if rest.is_empty() {
        return Ok((yes, ""));
    }
    match rest.strip_prefix(':') {
        Some(no) => Ok((yes, alternative(no)?)),
        None => Err(bad(format!("\":\" expected at: \"...{yes}}}>>>{rest}\""), "write ${name?{a}:{b}}")),
    }
}

/// `{no}` or `no`, the text behind a `:`.
fn alternative(text: &str) -> Result<&str, Problem> {
    let Some((no, rest)) = payload(text)? else { return Ok(text) };
    let rest = rest.trim_start_matches(is_space);
    if rest.is_empty() {
        return Ok(no);
    }
    Err(bad(format!("unexpected input at: \"...{no}}}>>>{rest}\""), "end the expression after {…}"))
}

/// The inside of `{…}` behind white space, and what follows; `None` when there is no brace.
fn payload(text: &str) -> Result<Option<(&str, &str)>, Problem> {
    let text = text.trim_start_matches(is_space);
    if !text.starts_with('{') {
        return Ok(None);
    }
    match balanced(text, '{', '}') {
        Some(found) => Ok(Some(found)),
        None => Err(bad(format!("unbalanced {{}} in attribute expression: {text:?}"), "close it with a }")),
    }
}

fn balanced(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some((text.get(open.len_utf8()..at)?, text.get(at + close.len_utf8()..)?));
            }
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn nesting(name: &str) -> Problem {
    let what = format!("unreasonable macro call nesting: {name:?}");
    bad(what, "remove the reference that leads back to itself")
}

fn expression(text: &str) -> Problem {
    bad(format!("\"{{expression}}\" expected at: \">>>{text}\""), "put both sides of a comparison in { }")
}

fn bad(what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { place: None, name: None, what: what.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(name: &str) -> Option<String> {
        let text = match name {
            "host" => "mx.example.org",
            "ref" => "$host",
            "hollow" => "$empty",
            "empty" => "",
            "loop" => "$pool",
            "pool" => "$loop",
            "bomb" => "$bomb1$bomb1$bomb1$bomb1$bomb1$bomb1$bomb1$bomb1",
            "bomb1" => "$bomb2$bomb2$bomb2$bomb2$bomb2$bomb2$bomb2$bomb2",
            "bomb2" => "$bomb3$bomb3$bomb3$bomb3$bomb3$bomb3$bomb3$bomb3",
            "bomb3" => "$bomb4$bomb4$bomb4$bomb4$bomb4$bomb4$bomb4$bomb4",
            "bomb4" => "$bomb5$bomb5$bomb5$bomb5$bomb5$bomb5$bomb5$bomb5",
            "bomb5" => "$bomb6$bomb6$bomb6$bomb6$bomb6$bomb6$bomb6$bomb6",
            "bomb6" => "$empty$empty$empty$empty$empty$empty$empty$empty",
            _ => return None,
        };
        Some(text.to_string())
    }

    fn check(text: &str, expected: Option<&str>) {
        let got = expand(text, &mut names);
        assert_eq!(got.as_deref().ok(), expected, "{text} gave {got:?}");
    }

    /// Every row was asked of a real `postconf -x`.
    #[test]
    fn as_postfix_expands() {
        for (text, expected) in [
            ("a${b}c", "ac"),
            ("a$(host)b", "amx.example.orgb"),
            ("$ref $host-b $host.b", "mx.example.org mx.example.org-b mx.example.org.b"),
            ("${host?yes}|${b?yes}|${b:no}|${host:no}", "yes||no|"),
            ("${host?{a}:{b}} ${b?{a}:{b}} ${b?{a}:b} ${host?a:b}", "a b b a:b"),
            ("${ host ? { a } : { b }  }", " a "),
            ("${b? { a b } : c d }", " c d "),
            ("${b: c}|${b : {b}  }", " c|b"),
            ("${{1} == {1}?{a}:{b}} ${{1}=={1}?a} ${{1}=={2}:a}", "a a a"),
            ("${{1}<{2}?{y}:{n}} ${{10}<{9}?{y}:{n}} ${{10a}<{9}?{y}:{n}}", "y n y"),
            ("${{1} == {1}}|${{1} == {2}}|", "true||"),
            ("${{1} <level {2}?{y}:{n}}${{3.10} <level {3.9}?{y}:{n}}", "yn"),
            ("${{3.6} >=level {3}?{y}:{n}}${{3.6} ==level {3.6.0}?{y}:{n}}", "yy"),
            ("${{3.6} !=level {3.6.0}?{y}:{n}}${{3.6} >level {3}?{y}:{n}}", "ny"),
            ("${{$host} == {}?{empty}:{set}} ${{} == {}?{empty}:{set}}", "set empty"),
            ("${{ a } == {a}?{y}:{n}} ${{-1} < {1}?{y}:{n}} ${{01} == {1}?{y}:{n}}", "n y y"),
            ("${hollow?yes}|${empty?yes}|${host?}|${host?{}}", "yes|||"),
            ("${host?${b?a}b} ${host?{${b:{q}}}} ${?x}${ host}", "b q mx.example.org"),
            ("$$ $$$$", "$ $$"),
        ] {
            check(text, Some(expected));
        }
        for broken in [
            "a$",
            "a${",
            "a${}",
            "a$-b",
            "a$(host}b",
            "${b:{c}:{d}}",
            "${host?{a}:{b}junk}",
            "${host?{a}junk}",
            "${{1} === {1}?a}",
            "${{1} = {1}?a}",
            "${{abc} <level {2}?a}",
            "${a-b}",
            "${a.b}",
            "$loop",
            "${{1} == {1} junk ? {y}}",
            "${a${b}?x}",
            "${host x}",
            "${{a}}",
            "${{a} == b?x}",
            "${é}",
            "$bomb",
        ] {
            check(broken, None);
        }
    }

    #[test]
    fn answers_of_strangers_are_not_expanded() {
        let mut lookup = |name: &str| (name == "user").then(|| "$host ${".to_string());
        assert_eq!(expand_once("-d ${user?{$user}}", &mut lookup).unwrap(), "-d $host ${");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[${}()?:=<>! a-dhost_.é0-9]{0,60}") {
            let _ = expand(&text, &mut names);
        }
        #[test]
        fn text_without_dollar_stays(text in "[^$]{0,60}") {
            prop_assert_eq!(expand(&text, &mut names).unwrap(), text);
        }
    }
}
