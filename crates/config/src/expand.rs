//! `$name`, `${name}`, `$(name)`, `${name?text}`, `${name:text}` in values. postconf(5).

use crate::{Config, Problem};

const DEPTH: usize = 100;

pub(crate) fn expand(config: &Config, text: &str) -> Result<String, Problem> {
    inner(config, text, 0)
}

fn inner(config: &Config, text: &str, depth: usize) -> Result<String, Problem> {
    if depth > DEPTH {
        let remedy = "remove the reference that leads back to itself";
        return Err(Problem {
            place: None,
            name: None,
            what: format!("unreasonable nesting in {text:?}"),
            remedy: remedy.into(),
        });
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(open) = rest.chars().next().filter(|c| matches!(c, '{' | '(')) {
            let end = matching(rest, open).ok_or_else(|| Problem {
                place: None,
                name: None,
                what: format!("unbalanced {open} in {text:?}"),
                remedy: "close it".into(),
            })?;
            let body = &rest[1..end];
            rest = &rest[end + 1..];
            let cut = body.find(['?', ':']).unwrap_or(body.len());
            let (name, choice) = body.split_at(cut);
            let value = lookup(config, name.trim(), depth)?;
            match choice.chars().next() {
                Some('?') if !value.is_empty() => {
                    out.push_str(&inner(config, strip(&choice[1..]), depth + 1)?)
                }
                Some(':') if value.is_empty() => {
                    out.push_str(&inner(config, strip(&choice[1..]), depth + 1)?)
                }
                None => out.push_str(&value),
                _ => {}
            }
        } else {
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            out.push_str(&lookup(config, &rest[..len], depth)?);
            rest = &rest[len..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn lookup(config: &Config, name: &str, depth: usize) -> Result<String, Problem> {
    config.raw(name).map_or(Ok(String::new()), |raw| inner(config, &raw.text, depth + 1))
}

fn strip(text: &str) -> &str {
    text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text)
}

fn matching(text: &str, open: char) -> Option<usize> {
    let close = if open == '{' { '}' } else { ')' };
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(i);
            }
        }
    }
    None
}
