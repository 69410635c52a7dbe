//! `import_environment` and `export_environment`: which variables pass, and which are set.

/// The elements of a list: a name whose value passes, or a name with the value it gets. `{name =
/// value}` is for values with spaces.
pub fn variables(list: &[String]) -> impl Iterator<Item = (&str, Option<&str>)> {
    list.iter().map(|element| {
        let braces = element.strip_prefix('{').and_then(|e| e.strip_suffix('}'));
        match (braces, element.split_once('=')) {
            (Some(inner), Some(_)) => {
                let (name, value) = inner.split_once('=').unwrap_or((inner, ""));
                (name.trim(), Some(value.trim()))
            }
            (_, Some((name, value))) => (name, Some(value)),
            (_, None) => (element.as_str(), None),
        }
    })
}

/// The environment that a list makes of what `own` gives.
pub fn passed(list: &[String], own: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let value = |(name, set): (&str, Option<&str>)| {
        let value = set.map(str::to_string).or_else(|| own(name))?;
        (!name.is_empty()).then(|| (name.to_string(), value))
    };
    variables(list).filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_pass_and_pairs_are_set() {
        let list: Vec<String> =
            ["TZ", "LANG=C", "{ A = b c }", "MISSING", "=x", "E="].map(String::from).into();
        let own = |name: &str| (name != "MISSING").then(|| format!("own {name}"));
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(
            passed(&list, own),
            [pair("TZ", "own TZ"), pair("LANG", "C"), pair("A", "b c"), pair("E", "")]
        );
    }
}
