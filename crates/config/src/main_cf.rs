//! A snapshot of main.cf with overrides and defaults.

use crate::value::Value;
use crate::{Problem, expand, params};
use std::collections::BTreeMap;
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
}

impl Config {
    /// Reads `main.cf` in `directory`.
    pub fn load(directory: &Path) -> Result<Config, Vec<Problem>> {
        let file = directory.join("main.cf");
        let text = std::fs::read_to_string(&file).map_err(|e| {
            vec![Problem {
                place: None,
                name: None,
                what: format!("open {}: {e}", file.display()),
                remedy: "create it, for example with `postconf -e`, or name its directory with -c".into(),
            }]
        })?;
        Config::from_text(directory, &text)
    }

    /// The same from text, as if it stood in `directory/main.cf`.
    pub fn from_text(directory: &Path, text: &str) -> Result<Config, Vec<Problem>> {
        let file = directory.join("main.cf").display().to_string();
        let mut settings = BTreeMap::new();
        let mut problems = Vec::new();
        for (line, logical) in logical_lines(text) {
            match logical.split_once('=') {
                Some((name, value)) if is_name(name.trim()) => {
                    let raw = Raw { text: value.trim().to_string(), origin: Origin::Main(line) };
                    settings.insert(name.trim().to_string(), raw);
                }
                _ => problems.push(Problem {
                    place: Some((file.clone(), line)),
                    name: None,
                    what: format!("missing '=' after a parameter name in {logical:?}"),
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
        })
    }

    /// The same snapshot with `-o name=value` settings layered over it.
    pub fn with<'a>(&self, overrides: impl IntoIterator<Item = (&'a str, &'a str)>) -> Config {
        let mut all = (*self.overrides).clone();
        all.extend(overrides.into_iter().map(|(n, v)| (n.to_string(), v.to_string())));
        Config { overrides: Arc::new(all), ..self.clone() }
    }

    /// The directory of main.cf.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names set in main.cf, sorted.
    pub fn set_names(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// The value of `name` before expansion: override, main.cf, or default.
    pub fn raw(&self, name: &str) -> Option<Raw> {
        if let Some(text) = self.overrides.get(name) {
            return Some(Raw { text: text.clone(), origin: Origin::Override });
        }
        if let Some(raw) = self.settings.get(name) {
            return Some(raw.clone());
        }
        params::default_of(name).map(|text| Raw { text, origin: Origin::Default })
    }

    /// The expanded value of `name`; empty when nothing knows it.
    pub fn get(&self, name: &str) -> Result<String, Problem> {
        self.raw(name).map_or(Ok(String::new()), |raw| self.expand(&raw.text))
    }

    /// Expands `$name`, `${name?…}` and so on in `text`.
    pub fn expand(&self, text: &str) -> Result<String, Problem> {
        expand::expand(self, text)
    }

    /// Used by `params!`: reads one parameter, checks its range, and collects what is wrong.
    pub fn typed<V: Value + 'static>(
        &self,
        name: &str,
        (min, max): (Option<i64>, Option<i64>),
        problems: &mut Vec<Problem>,
    ) -> Option<V> {
        let raw = self.raw(name)?;
        let text = if V::EXPANDED { self.expand(&raw.text) } else { Ok(raw.text.clone()) };
        let value = text.and_then(|t| V::read(name, &t));
        let number = value.as_ref().ok().and_then(|v| (v as &dyn std::any::Any).downcast_ref::<i64>());
        let out_of = number.is_some_and(|n| min.is_some_and(|m| *n < m) || max.is_some_and(|m| *n > m));
        let value = if out_of {
            let range = format!(
                "{}..{}",
                min.map_or(String::new(), |m| m.to_string()),
                max.map_or(String::new(), |m| m.to_string())
            );
            Err(Problem::of(name, format!("{} is out of range {range}", raw.text), "choose a value in range"))
        } else {
            value
        };
        value
            .map_err(|mut p| {
                if let Origin::Main(line) = raw.origin {
                    p.place = Some((self.directory.join("main.cf").display().to_string(), line));
                }
                problems.push(p);
            })
            .ok()
    }
}

/// Joins continued lines and drops comments; gives the number of each first line.
pub(crate) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match out.last_mut() {
            Some((_, last)) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(trimmed);
            }
            _ => out.push((i + 1, trimmed.to_string())),
        }
    }
    out
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_whitespace)
}
