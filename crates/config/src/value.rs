//! The types of parameters. Each reads its value from expanded text.

use crate::Problem;
use std::time::Duration;

/// A type that a parameter may have.
pub trait Value: Sized {
    /// The type's name in `valija check` and the manual.
    const TYPE: &'static str;
    /// Whether `$name` is expanded before [`Value::read`] sees the text.
    const EXPANDED: bool = true;
    /// Reads the text of parameter `name`.
    fn read(name: &str, text: &str) -> Result<Self, Problem>;
}

/// `yes` or `no`.
pub type Bool = bool;
/// A number without unit.
pub type Count = i64;
/// A time with unit `s m h d w`; the default unit stands in the declared default.
pub type Time = Duration;
/// Text, expanded.
pub type Text = String;

/// Text whose `$name`s are expanded later, when the parameter is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verbatim(pub String);

/// A list separated by commas or white space; `{…}` groups. Elements keep `type:name` and `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(pub Vec<String>);

impl Value for bool {
    const TYPE: &'static str = "boolean";
    fn read(name: &str, text: &str) -> Result<bool, Problem> {
        match text {
            t if t.eq_ignore_ascii_case("yes") => Ok(true),
            t if t.eq_ignore_ascii_case("no") => Ok(false),
            _ => Err(Problem::of(name, format!("bad boolean value {text:?}"), "write yes or no")),
        }
    }
}

impl Value for i64 {
    const TYPE: &'static str = "number";
    fn read(name: &str, text: &str) -> Result<i64, Problem> {
        text.trim()
            .parse()
            .map_err(|_| Problem::of(name, format!("bad numerical value {text:?}"), "write a whole number"))
    }
}

impl Value for String {
    const TYPE: &'static str = "text";
    fn read(_: &str, text: &str) -> Result<String, Problem> {
        Ok(text.to_string())
    }
}

impl Value for Verbatim {
    const TYPE: &'static str = "text";
    const EXPANDED: bool = false;
    fn read(_: &str, text: &str) -> Result<Verbatim, Problem> {
        Ok(Verbatim(text.to_string()))
    }
}

impl Value for List {
    const TYPE: &'static str = "list";
    fn read(_: &str, text: &str) -> Result<List, Problem> {
        let separator = |c: char| c == ',' || c.is_ascii_whitespace();
        Ok(List(text.split(separator).filter(|e| !e.is_empty()).map(str::to_string).collect()))
    }
}

impl Value for Duration {
    const TYPE: &'static str = "time";
    fn read(name: &str, text: &str) -> Result<Duration, Problem> {
        let bad = || {
            let what = format!("bad time value {text:?}");
            Problem::of(name, what, "write a whole number and a unit: s, m, h, d or w")
        };
        let text_ = text.trim();
        let split = text_.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_.len());
        let number: u64 = text_[..split].parse().map_err(|_| bad())?;
        let unit = match text_[split..].trim() {
            "" | "s" | "S" => 1,
            "m" | "M" => 60,
            "h" | "H" => 3_600,
            "d" | "D" => 86_400,
            "w" | "W" => 604_800,
            _ => return Err(bad()),
        };
        Ok(Duration::from_secs(number.checked_mul(unit).ok_or_else(bad)?))
    }
}
