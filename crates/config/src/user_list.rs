//! Who may do something: `authorized_submit_users` and its kin.
//!
//! Set-gid programs read these lists, so of tables only `static:` is understood, which grants or
//! denies to all; the others are refused with a remedy. A file name stands for its lines.

use crate::Problem;
use crate::value::List;

/// Whether `user` is in the list named `parameter`. The first element that matches decides; `!`
/// before it turns permission into refusal.
pub fn permits(parameter: &str, list: &List, user: &str) -> Result<bool, Problem> {
    for element in &list.0 {
        let (grants, element) = match element.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, element.as_str()),
        };
        if matches(parameter, element, user)? {
            return Ok(grants);
        }
    }
    Ok(false)
}

fn matches(parameter: &str, element: &str, user: &str) -> Result<bool, Problem> {
    if element.starts_with('/') {
        let text = std::fs::read_to_string(element).map_err(|e| {
            Problem::of(parameter, format!("open {element}: {e}"), "create the file, one user name a line")
        })?;
        let mut names = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        return Ok(names.any(|name| name == user));
    }
    match element.split_once(':') {
        Some(("static", _)) => Ok(true),
        Some((kind, _)) => Err(Problem::of(
            parameter,
            format!("table type {kind} is not asked by programs with borrowed rights"),
            "write user names, static:anyone, or the name of a file with one user name a line",
        )),
        None => Ok(element == user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn first_match_decides() {
        let check = |list: &str, user: &str| {
            permits("authorized_submit_users", &List::read("x", list).unwrap(), user).ok()
        };
        assert_eq!(check("static:anyone", "jose"), Some(true));
        assert_eq!(check("root, jose", "jose"), Some(true));
        assert_eq!(check("root", "jose"), Some(false));
        assert_eq!(check("!jose, static:all", "jose"), Some(false));
        assert_eq!(check("!jose, static:all", "ana"), Some(true));
        assert_eq!(check("", "root"), Some(false));
        assert_eq!(check("hash:/etc/x", "jose"), None);
        assert_eq!(check("/no/such/file", "jose"), None);
    }
}
