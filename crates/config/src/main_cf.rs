//! A snapshot of main.cf with overrides and defaults.
//!
//! What is wrong but harmless (a name defined twice, an indented first line) is kept as a warning;
//! what cannot be read is an error. Names that nothing knows are kept: they are macros.

use crate::lines::{self, is_space};
use crate::value::{self, Value};
use crate::{Problem, computed, expand, params};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// main.cf, with the line where the setting begins.
    Main(usize),
    /// `-o name=value` of a service or a command.
    Override,
    /// The declared default.
    Default,
}

/// A value before expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

/// An immutable snapshot: main.cf, then overrides, then defaults. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Config {
    directory: Arc<PathBuf>,
    settings: Arc<BTreeMap<String, Raw>>,
    overrides: Arc<BTreeMap<String, String>>,
    warnings: Arc<Vec<Problem>>,
}

impl Config {
    /// Reads `main.cf` in `directory`.
    pub fn load(directory: &Path) -> Result<Config, Vec<Problem>> {
        let file = directory.join("main.cf");
        let bytes = std::fs::read(&file).map_err(|e| {
            vec![Problem {
                place: None,
                name: None,
                what: format!("open {}: {}", file.display(), sys_text(&e)),
                remedy: "create it, for example with `postconf -e`, or name its directory with -c".into(),
            }]
        })?;
        Config::from_text(directory, &String::from_utf8_lossy(&bytes))
    }

    /// The same from text, as if it stood in `directory/main.cf`.
    pub fn from_text(directory: &Path, text: &str) -> Result<Config, Vec<Problem>> {
        let file = directory.join("main.cf").display().to_string();
        let place = |line| Some((file.clone(), line));
        let mut settings: BTreeMap<String, Raw> = BTreeMap::new();
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        for logical in lines::logical(text) {
            if logical.text.starts_with(is_space) {
                warnings.push(Problem {
                    place: place(logical.line),
                    name: None,
                    what: format!("logical line must not start with whitespace: {:?}", logical.text),
                    remedy: "remove the white space before the name; the line has no effect".into(),
                });
                continue;
            }
            match lines::name_value(&logical.text) {
                Ok((name, value)) => {
                    let raw = Raw { text: value.to_string(), origin: Origin::Main(logical.line) };
                    if let Some(old) = settings.insert(name.to_string(), raw) {
                        warnings.push(Problem {
                            place: place(logical.line),
                            name: None,
                            what: format!("overriding earlier entry: {name}={}", old.text),
                            remedy: "remove one of the two; the last one counts".into(),
                        });
                    }
                }
                Err(what) => problems.push(Problem {
                    place: place(logical.line),
                    name: None,
                    what: format!("{what}: {:?}", logical.text),
                    remedy: "write `name = value`; begin a continued line with a space".into(),
                }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Config {
            directory: Arc::new(directory.to_path_buf()),
            settings: Arc::new(settings),
            overrides: Arc::new(BTreeMap::new()),
            warnings: Arc::new(warnings),
        })
    }

    /// The same snapshot with `-o name=value` settings layered over it.
    pub fn with<'a>(&self, overrides: impl IntoIterator<Item = (&'a str, &'a str)>) -> Config {
        let mut all = (*self.overrides).clone();
        all.extend(overrides.into_iter().map(|(n, v)| (n.to_string(), v.to_string())));
        Config { overrides: Arc::new(all), ..self.clone() }
    }

    /// The same snapshot as if main.cf were empty and nothing overridden: defaults alone.
    pub fn defaults(&self) -> Config {
        Config {
            directory: self.directory.clone(),
            settings: Arc::default(),
            overrides: Arc::default(),
            warnings: Arc::default(),
        }
    }

    /// What is odd in main.cf without being an error; for the log, once.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The directory of main.cf.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names set in main.cf, sorted.
    pub fn set_names(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// The names given with `-o`, sorted.
    pub fn override_names(&self) -> impl Iterator<Item = &str> {
        self.overrides.keys().map(String::as_str)
    }

    /// What is set for `name`: override or main.cf, without defaults.
    pub fn explicit(&self, name: &str) -> Option<Raw> {
        if let Some(text) = self.overrides.get(name) {
            return Some(Raw { text: text.clone(), origin: Origin::Override });
        }
        self.settings.get(name).cloned()
    }

    /// The value of `name` before expansion: override, main.cf, or default.
    pub fn raw(&self, name: &str) -> Option<Raw> {
        self.explicit(name).or_else(|| {
            let default = computed::default(self, name)
                .or_else(|| params::default_of(name))
                .or_else(|| crate::catalogue::default_of(name).map(str::to_string))?;
            Some(Raw { text: default, origin: Origin::Default })
        })
    }

    /// The expanded value of `name`; empty when nothing knows it.
    pub fn get(&self, name: &str) -> Result<String, Problem> {
        self.raw(name).map_or(Ok(String::new()), |raw| self.expand(&raw.text))
    }

    /// Expands `$name`, `${name?…}` and so on in `text`.
    pub fn expand(&self, text: &str) -> Result<String, Problem> {
        // A value that many others mention is looked up and copied once.
        let mut known: HashMap<String, Option<String>> = HashMap::new();
        expand::expand(text, &mut |name| match known.get(name) {
            Some(value) => value.clone(),
            None => {
                let value = self.raw(name).map(|raw| raw.text);
                known.insert(name.to_string(), value.clone());
                value
            }
        })
    }

    /// The value of `<transport>_<suffix>`, for example `destination_concurrency_limit` of `smtp`, or
    /// what Postfix takes when it is not set, `default_<suffix>` most often. Expanded.
    pub fn of_transport(&self, transport: &str, suffix: &str) -> Result<String, Problem> {
        let name = format!("{transport}_{suffix}");
        match self.raw(&name) {
            Some(raw) => self.expand(&raw.text),
            None => crate::catalogue::transport_default(suffix).map_or(Ok(String::new()), |d| self.expand(d)),
        }
    }

    /// `compatibility_level`.
    pub fn compatibility_level(&self) -> Result<crate::Level, Problem> {
        let text = self.get("compatibility_level")?;
        crate::Level::read(&text).ok_or_else(|| {
            let what = format!("malformed compatibility level syntax: {text:?}");
            self.placed("compatibility_level", Problem::of("compatibility_level", what, "write 3.6, or 2"))
        })
    }

    /// The same problem with the place where `name` is set in main.cf.
    pub fn placed(&self, name: &str, mut problem: Problem) -> Problem {
        if let Some(Raw { origin: Origin::Main(line), .. }) = self.explicit(name) {
            problem.place = Some((self.directory.join("main.cf").display().to_string(), line));
        }
        problem.name.get_or_insert_with(|| name.to_string());
        problem
    }

    /// Used by `params!`: reads one parameter, checks its range, and collects what is wrong.
    pub fn typed<V: Value + 'static>(
        &self,
        name: &str,
        (min, max): (Option<i64>, Option<i64>),
        problems: &mut Vec<Problem>,
    ) -> Option<V> {
        let raw = self.raw(name)?;
        self.typed_text(name, &raw.text, (min, max)).map_err(|p| problems.push(self.placed(name, p))).ok()
    }

    fn typed_text<V: Value + 'static>(
        &self,
        name: &str,
        raw: &str,
        (min, max): (Option<i64>, Option<i64>),
    ) -> Result<V, Problem> {
        let mut text = if V::EXPANDED { self.expand(raw)? } else { raw.to_string() };
        if V::TYPE == "time" && text.ends_with(|c: char| c.is_ascii_digit()) {
            text.push(value::default_unit(&params::default_of(name).unwrap_or_default()));
        }
        if name == "myorigin" && text.starts_with('/') {
            text = computed::first_line(Path::new(&text))?;
        }
        let value = V::read(name, &text)?;
        let number = (&value as &dyn std::any::Any).downcast_ref::<i64>();
        if number.is_some_and(|n| min.is_some_and(|m| *n < m) || max.is_some_and(|m| *n > m)) {
            let show = |bound: Option<i64>| bound.map_or(String::new(), |m| m.to_string());
            let range = format!("{}..{}", show(min), show(max));
            return Err(Problem::of(
                name,
                format!("{raw} is out of range {range}"),
                "choose a value in range",
            ));
        }
        Ok(value)
    }
}

/// The system's words for an error, without Rust's number in brackets.
pub(crate) fn sys_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(text: &str) -> Config {
        Config::from_text(Path::new("/nowhere"), text).unwrap()
    }

    #[test]
    fn last_definition_wins_with_a_warning() {
        let c = config("myorigin = a\nmyorigin = b\n");
        assert_eq!(c.get("myorigin").unwrap(), "b");
        assert_eq!(c.warnings().len(), 1);
        assert!(c.warnings()[0].to_string().contains("line 2: overriding earlier entry: myorigin=a"));
    }

    #[test]
    fn an_indented_first_line_has_no_effect() {
        let c = config("  myorigin = a\nmydomain = b.example\n");
        assert_eq!(c.set_names().collect::<Vec<_>>(), ["mydomain"]);
        assert_eq!(c.warnings().len(), 1);
    }

    #[test]
    fn errors_name_file_line_and_remedy() {
        let errors = Config::from_text(Path::new("/etc/postfix"), "a = b\n\nwrong\n= x\n").unwrap_err();
        let text = errors[0].to_string();
        assert!(
            text.starts_with("/etc/postfix/main.cf, line 3: missing '=' after attribute name: \"wrong\"; ")
        );
        assert!(errors[1].to_string().contains("line 4: missing attribute name"));
    }

    #[test]
    fn unknown_names_are_macros_and_overrides_win() {
        let c = config("podop = lmtp:x\nrelayhost = $podop\n");
        assert_eq!(c.get("relayhost").unwrap(), "lmtp:x");
        assert_eq!(c.with([("podop", "z")]).get("relayhost").unwrap(), "z");
        assert_eq!(c.with([("podop", "z")]).raw("podop").unwrap().origin, Origin::Override);
    }

    #[test]
    fn levels_choose_defaults() {
        assert_eq!(config("").get("smtputf8_enable").unwrap(), "no");
        assert_eq!(config("compatibility_level = 3.6").get("smtputf8_enable").unwrap(), "yes");
        let error = config("\ncompatibility_level = abc").compatibility_level().unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/main.cf, line 2: "), "{error}");
    }

    #[test]
    fn the_default_gives_the_unit_of_time() {
        let c = config("maximal_queue_lifetime = 3\n");
        let mut problems = Vec::new();
        let none = (None, None);
        // The unit of a parameter declared with a default in days, whoever declares it.
        if params::default_of("maximal_queue_lifetime").is_some() {
            let time = c.typed::<std::time::Duration>("maximal_queue_lifetime", none, &mut problems);
            assert_eq!(time, Some(std::time::Duration::from_secs(3 * 86_400)));
        }
        assert_eq!(value::default_unit("5d"), 'd');
        assert_eq!(value::default_unit("${stress?{10}:{300}}s"), 's');
        assert_eq!(value::default_unit("$other"), 's');
    }

    #[test]
    fn what_a_transport_takes_when_nothing_is_set() {
        let c = config("default_destination_concurrency_limit = 7\nslow_destination_rate_delay = 2s\n");
        assert_eq!(c.of_transport("slow", "destination_concurrency_limit").unwrap(), "7");
        assert_eq!(c.of_transport("slow", "destination_rate_delay").unwrap(), "2s");
        assert_eq!(c.of_transport("local", "destination_concurrency_limit").unwrap(), "2");
        assert_eq!(c.of_transport("x", "nothing_known").unwrap(), "");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c=# \t\r\n${}?:é_]{0,120}") {
            if let Ok(c) = Config::from_text(Path::new("/nowhere"), &text) {
                for name in c.set_names() {
                    let _ = c.get(name);
                }
            }
        }
        #[test]
        fn every_well_formed_setting_is_found(pairs in prop::collection::vec(("[a-z_]{1,8}", "[a-z,. ]{0,12}"), 0..8)) {
            let text: String = pairs.iter().map(|(n, v)| format!("{n} = {v}\n# c\n\n")).collect();
            let c = config(&text);
            for (name, value) in pairs.iter().rev().take(1) {
                prop_assert_eq!(&c.explicit(name).unwrap().text, value.trim());
            }
        }
    }
}
