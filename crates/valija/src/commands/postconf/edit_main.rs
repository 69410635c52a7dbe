//! Editing main.cf: setting, removing and commenting out parameters. Everything else in the file
//! stays as it is, comments between continued lines too.

use super::file::{self, Edit as FileEdit, PieceKind};
use super::options::Edit;
use super::{Done, warning};
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn edit(edit: Edit, directory: &Path, words: &[String]) -> Done {
    let path = directory.join("main.cf");
    let requests = requests(edit, words)?;
    let (file, bytes) = FileEdit::begin(&path)?;
    let (new, doubles) = apply(edit, &bytes, &requests);
    for name in doubles {
        warning(&format!("{}: multiple entries for {name:?}", path.display()));
    }
    file.commit(&new)
}

/// Names with their new values, in the order asked for.
type Requests = Vec<(String, String)>;

fn requests(edit: Edit, words: &[String]) -> Result<Requests, String> {
    file::one_line(words)?;
    let mut out: Requests = Vec::new();
    for word in words {
        let (name, value) = match edit {
            Edit::Set => config::lines::name_value(word).map_err(|what| format!("{what}: {word:?}"))?,
            _ if word.contains(char::is_whitespace) || word.is_empty() => {
                return Err(format!("-X or -# requires a parameter name: {word:?}"));
            }
            _ => (word.as_str(), ""),
        };
        if let Some(at) = out.iter().position(|(n, _)| n == name) {
            let (name, value) = out.remove(at);
            if edit == Edit::Set {
                warning(&format!("ignoring earlier request: '{name} = {value}'"));
            }
        }
        out.push((name.to_string(), value.to_string()));
    }
    Ok(out)
}

/// The new file, and the names that it has twice.
pub(super) fn apply(edit: Edit, bytes: &[u8], requests: &[(String, String)]) -> (Vec<u8>, Vec<String>) {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut inside = false;
    for piece in file::pieces(bytes) {
        if piece.kind == PieceKind::First {
            let request = name_of(piece.line).and_then(|n| requests.iter().find(|(name, _)| *name == n));
            inside = request.is_some();
            if let Some((name, value)) = request {
                *seen.entry(name).or_insert(0) += 1;
                if edit == Edit::Set {
                    out.extend_from_slice(line(name, value).as_bytes());
                }
            }
        }
        let ours = inside && piece.kind != PieceKind::Aside;
        match edit {
            _ if !ours => out.extend_from_slice(piece.line),
            Edit::Comment => {
                out.push(b'#');
                out.extend_from_slice(piece.line);
            }
            _ => {}
        }
    }
    if edit == Edit::Set {
        for (name, value) in requests.iter().filter(|(name, _)| !seen.contains_key(name.as_str())) {
            file::push_line(&mut out, &line(name, value));
        }
    }
    let doubles = seen.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name.to_string()).collect();
    (out, doubles)
}

fn line(name: &str, value: &str) -> String {
    format!("{name} = {value}\n")
}

/// The name at the beginning of a line, if a `=` follows it or nothing does.
fn name_of(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let end = text.find(|c: char| c == '=' || c.is_ascii_whitespace())?;
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('=')).then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "# top\na = 1\n  2\n# mid\n\n # in\n  3\n\nb=2\n# end\n";

    fn check(edit: Edit, text: &str, words: &[&str], expected: &str) {
        let words: Vec<String> = words.iter().map(|w| w.to_string()).collect();
        let (new, _) = apply(edit, text.as_bytes(), &requests(edit, &words).unwrap());
        assert_eq!(String::from_utf8(new).unwrap(), expected, "{words:?}");
    }

    /// Each was done so by a real postconf.
    #[test]
    fn edits_as_postconf_does() {
        let rest = "# mid\n\n # in\n\nb=2\n# end\n";
        check(Edit::Set, FILE, &["a=x  y "], &format!("# top\na = x  y\n{rest}"));
        check(Edit::Remove, FILE, &["a"], &format!("# top\n{rest}"));
        check(
            Edit::Comment,
            FILE,
            &["a", "nosuch"],
            "# top\n#a = 1\n#  2\n# mid\n\n # in\n#  3\n\nb=2\n# end\n",
        );
        check(Edit::Set, "a=1\na=2\nb = 3", &["a=5"], "a = 5\na = 5\nb = 3");
        check(Edit::Set, "b = 3", &["a=5"], "b = 3\na = 5\n");
        check(Edit::Set, "a=1\nfoo\nb = 3\n", &["b=4"], "a=1\nfoo\nb = 4\n");
        check(Edit::Set, "  a=1\nc = 1\n", &["a="], "  a=1\nc = 1\na = \n");
    }

    #[test]
    fn refused() {
        let ask = |edit, word: &str| requests(edit, &[word.to_string()]).unwrap_err();
        assert_eq!(ask(Edit::Set, "a b=1"), "missing '=' after attribute name: \"a b=1\"");
        assert_eq!(ask(Edit::Set, "a=1\nb"), "-e, -X, or -# accepts no multi-line input");
        assert_eq!(ask(Edit::Comment, "#a"), "-e, -X, or -# accepts no comment input");
    }

    proptest! {
        /// Whatever stands in the file, the edited value is what is read afterwards, and every other
        /// value stays.
        #[test]
        fn an_edit_changes_one_value(text in "[ab= #\n]{0,60}", value in "[a-z ]{0,8}") {
            let requests = vec![("a".to_string(), value.trim().to_string())];
            let (new, _) = apply(Edit::Set, text.as_bytes(), &requests);
            let new = String::from_utf8(new).unwrap();
            let read = |t: &str| config::Config::from_text(std::path::Path::new("/nowhere"), t);
            if let (Ok(old), Ok(new)) = (read(&text), read(&new)) {
                prop_assert_eq!(new.explicit("a").unwrap().text, value.trim());
                prop_assert_eq!(old.explicit("b").map(|r| r.text), new.explicit("b").map(|r| r.text));
            }
        }
    }
}
