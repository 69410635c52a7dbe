//! Lines of master.cf as postconf sees them: in the order of the file, doubles and all, kept close
//! to how they are written, because they are printed and written back.

use super::fold::Lines;
use config::lines::name_value;
use config::master_cf::{self, Service};
use std::path::Path;

/// Names of the columns, in their order.
pub(super) const FIELDS: [&str; 8] =
    ["service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"];
/// Where each column begins on paper.
const STOPS: [usize; 8] = [0, 11, 17, 25, 33, 41, 49, 57];

/// A word behind the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// `-o name=value`.
    Setting(String, String),
    /// `-o` with something else.
    Odd(String),
    /// Another option of the program.
    Option(String),
    /// Any other word, without its braces.
    Word(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The seven columns before the command.
    pub(super) columns: [String; 7],
    pub(super) command: String,
    pub(super) arguments: Vec<Argument>,
}

/// Reads `master.cf`; the error is the text behind `fatal: `.
pub(super) fn load(directory: &Path) -> Result<Vec<Entry>, String> {
    let file = directory.join("master.cf");
    let bytes = std::fs::read(&file).map_err(|e| super::file::failed("open", &file, &e))?;
    let mut out = Vec::new();
    for logical in config::lines::logical(&String::from_utf8_lossy(&bytes)) {
        if logical.text.starts_with(char::is_whitespace) {
            let text = format!(
                "{}: logical line must not start with whitespace: {:?}",
                file.display(),
                logical.text
            );
            super::warning(&text);
            continue;
        }
        out.push(read(&logical.text).map_err(|what| match what.as_str() {
            "bad field count" => format!("file {}: line {}: {what}", file.display(), logical.line),
            _ => what,
        })?);
    }
    Ok(out)
}

/// Reads one line.
pub(super) fn read(text: &str) -> Result<Entry, String> {
    let words = master_cf::words(text);
    let [columns @ .., _] = &words[..words.len().min(8)] else { return Err("bad field count".into()) };
    let Ok(columns) = <[String; 7]>::try_from(columns.to_vec()) else { return Err("bad field count".into()) };
    // The same rules as everywhere; only the words differ.
    if let Err(problems) = master_cf::read("master.cf", text) {
        return Err(problems.into_iter().next().map(|p| p.what).unwrap_or_default());
    }
    let command = words.get(7).cloned().unwrap_or_default();
    Ok(Entry { columns, command, arguments: arguments(words.get(8..).unwrap_or_default()) })
}

/// Sorts the words behind a command.
pub(super) fn arguments(words: &[String]) -> Vec<Argument> {
    let mut out = Vec::new();
    let mut words = words.iter();
    let mut options = true;
    while let Some(word) = words.next() {
        if !options || !word.starts_with('-') || word == "-" || word == "--" {
            options = false;
            out.push(Argument::Word(unbraced(word)));
            continue;
        }
        let (before, joined) = match word.split_once('o') {
            Some((before, joined)) => (before, joined),
            None => {
                out.push(Argument::Option(word.clone()));
                continue;
            }
        };
        if before.len() > 1 {
            out.push(Argument::Option(before.to_string()));
        }
        let value = if joined.is_empty() { words.next().cloned() } else { Some(joined.to_string()) };
        out.push(match value {
            None => Argument::Option("-o".into()),
            Some(value) => {
                let text = unbraced(&value);
                match name_value(&text) {
                    Ok((name, value)) => Argument::Setting(name.to_string(), value.to_string()),
                    Err(what) => {
                        if value.starts_with('{') {
                            super::warning(&format!("master.cf: {what}: {text:?}"));
                        }
                        Argument::Odd(text)
                    }
                }
            }
        });
    }
    out
}

fn unbraced(word: &str) -> String {
    let Some(rest) = word.strip_prefix('{') else { return word.to_string() };
    match rest.strip_suffix('}') {
        Some(inside) => inside.trim().to_string(),
        None => {
            let what = if rest.contains('}') { "syntax error after '}' in" } else { "missing '}' in" };
            super::warning(&format!("master.cf: {what} {word:?}"));
            rest.rsplit_once('}').map_or(rest, |(inside, _)| inside).trim().to_string()
        }
    }
}

fn braced(word: &str) -> String {
    if word.contains(char::is_whitespace) || word.is_empty() {
        format!("{{{word}}}")
    } else {
        word.to_string()
    }
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        &self.columns[0]
    }

    pub(super) fn kind(&self) -> &str {
        &self.columns[1]
    }

    /// `-o` settings; of two for one name the last counts, at the place of the first.
    pub(super) fn settings(&self) -> Vec<(&str, &str)> {
        let mut out: Vec<(&str, &str)> = Vec::new();
        for argument in &self.arguments {
            if let Argument::Setting(name, value) = argument {
                match out.iter_mut().find(|(n, _)| n == name) {
                    Some(old) => old.1 = value,
                    None => out.push((name, value)),
                }
            }
        }
        out
    }

    /// Sets a setting at its place, or behind the last option.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let mut found = false;
        for argument in &mut self.arguments {
            if let Argument::Setting(n, v) = argument
                && n == name
            {
                *v = value.to_string();
                found = true;
            }
        }
        if !found {
            let first_word = self.arguments.iter().position(|a| matches!(a, Argument::Word(_)));
            let at = first_word.unwrap_or(self.arguments.len());
            self.arguments.insert(at, Argument::Setting(name.to_string(), value.to_string()));
        }
    }

    /// Removes a setting.
    pub(super) fn unset(&mut self, name: &str) {
        self.arguments.retain(|a| !matches!(a, Argument::Setting(n, _) if n == name));
    }

    /// The whole line.
    pub(super) fn print(&self, fold: bool) -> String {
        let mut lines = Lines::narrow(fold);
        let mut text = String::new();
        for (column, stop) in self.columns.iter().zip(STOPS) {
            if stop > 0 {
                text.push(' ');
            }
            while text.chars().count() < stop {
                text.push(' ');
            }
            text.push_str(column);
        }
        text.push(' ');
        while text.chars().count() < STOPS[7] {
            text.push(' ');
        }
        lines.literal(&text);
        lines.literal(&self.command);
        self.print_arguments(&mut lines);
        lines.end()
    }

    /// The command and its arguments as one value.
    pub(super) fn print_command(&self, lines: &mut Lines) {
        lines.word(&self.command);
        self.print_arguments(lines);
    }

    fn print_arguments(&self, lines: &mut Lines) {
        let mut after_setting = false;
        for argument in &self.arguments {
            let (word, alone) = match argument {
                Argument::Setting(name, value) => {
                    (format!("-o {}", braced(&format!("{name}={value}"))), true)
                }
                Argument::Odd(text) => (format!("-o {}", braced(text)), true),
                Argument::Option(text) => (text.clone(), false),
                Argument::Word(text) => (braced(text), false),
            };
            if alone || after_setting {
                lines.word_on_new_line(&word)
            } else {
                lines.word(&word)
            }
            after_setting = alone;
        }
    }

    /// The same as a service, for what concerns names.
    pub(super) fn service(&self) -> Service {
        let read = master_cf::read("master.cf", &self.print(false)).unwrap_or_default();
        let overrides = self.settings().iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        match read.all.into_iter().next() {
            Some(service) => Service { overrides, ..service },
            None => Service {
                name: self.name().to_string(),
                kind: master_cf::Kind::Unix,
                columns: std::array::from_fn(|_| "-".to_string()),
                argv: vec![self.command.clone()],
                overrides,
                line: 0,
            },
        }
    }

    /// The same with the values of its settings expanded.
    pub(super) fn expanded(&self, main: &config::Config) -> Result<Entry, String> {
        let config = self.service().config(main);
        let mut out = self.clone();
        for argument in &mut out.arguments {
            if let Argument::Setting(_, value) = argument {
                *value = config.expand(value).map_err(super::show_main::expansion)?;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, plain: &str, folded: &str) {
        let entry = read(text).unwrap();
        assert_eq!(entry.print(false), plain);
        assert_eq!(entry.print(true), folded);
    }

    /// Each was printed so by a real `postconf -M` and `-Mf`.
    #[test]
    fn printed_as_postconf_does() {
        check(
            "smtp inet n - y - - smtpd -o a=b -o { c = d  e } -vo x=y -v",
            "smtp       inet  n       -       y       -       -       smtpd -o a=b -o {c=d  e} -v -o x=y -v\n",
            "smtp       inet  n       -       y       -       -       smtpd\n    -o a=b\n    -o {c=d  e}\n    -v\n    -o x=y\n    -v\n",
        );
        check(
            "01234567890 unix-dgram n - y 1000000000 10000000 smtpd b -o x=y {a b}",
            "01234567890 unix-dgram n -       y       1000000000 10000000 smtpd b -o x=y {a b}\n",
            "01234567890 unix-dgram n -       y       1000000000 10000000 smtpd b -o x=y\n    {a b}\n",
        );
        check(
            "a unix - - - - - b 1 2 3 4 5 6 7 8 9 10 11 12",
            "a          unix  -       -       -       -       -       b 1 2 3 4 5 6 7 8 9 10 11 12\n",
            "a          unix  -       -       -       -       -       b 1 2 3 4 5 6 7 8 9 10\n    11 12\n",
        );
    }

    #[test]
    fn settings_keep_their_place() {
        let mut entry = read("a inet n - y - - smtpd -v -o a=b -o c=d x").unwrap();
        entry.set("a", "h");
        entry.set("q", "r");
        entry.unset("c");
        assert!(entry.print(false).ends_with("smtpd -v -o a=h -o q=r x\n"));
    }
}
