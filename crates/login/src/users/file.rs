//! valija's own users: a text file of mode 600, a line for each.
//!
//! ```text
//! # name:hash of the password:keys for SCRAM
//! alumno:{ARGON2ID}$argon2id$v=19$…:{SCRAM-SHA-256}4096,…:{SCRAM-SHA-1}4096,…
//! (unknown):…
//! ```
//!
//! Names are folded to lower case. Every hash that [`Hash::read`] knows may stand there, in any order; so a
//! passwd-file of Dovecot can be read, and Dovecot can read this one (it looks at the first hash). The row
//! `(unknown)` has a password that nobody knows: it is what a name that does not exist is compared with,
//! so that it takes as long and looks the same as one that does.

use crate::hash::Hash;
use sasl::Secret;
use sasl::scram::{self, Stored};
use std::collections::HashMap;
use std::num::NonZeroU32;

/// The name under which the row for names that do not exist is filed.
pub const UNKNOWN: &str = "(unknown)";

/// The iterations of new SCRAM keys. RFC 7677 4
const ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).unwrap();

/// The longest name.
const LONGEST: usize = 255;

/// What is kept of one user.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    hashes: Vec<Hash>,
}

impl Entry {
    /// The hash that a password is compared with: the first that is none of SCRAM's, which are weaker.
    pub fn password(&self) -> Option<&Hash> {
        let scram = |h: &&Hash| h.scheme().starts_with("SCRAM");
        self.hashes.iter().find(|h| !scram(h)).or_else(|| self.hashes.first())
    }

    /// The keys for SCRAM.
    pub fn keys(&self, hash: scram::Hash) -> Option<&Stored> {
        self.hashes.iter().find_map(|h| h.scram_keys(hash))
    }

    /// Of a new password.
    pub fn make(password: &Secret) -> Option<Entry> {
        let mut hashes = vec![Hash::make(password)?];
        for which in [scram::Hash::Sha256, scram::Hash::Sha1] {
            let mut salt = [0; 16];
            aws_lc_rs::rand::fill(&mut salt).ok()?;
            hashes.push(Hash::scram(which, Stored::new(which, password, &salt, ITERATIONS)));
        }
        Some(Entry { hashes })
    }

    /// One with a password that nobody knows.
    pub fn of_nobody() -> Option<Entry> {
        let mut bytes = vec![0; 32];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Entry::make(&Secret::from(sasl::encode(&bytes).as_str()))
    }

    /// The schemes that are kept, for the eye.
    pub fn schemes(&self) -> Vec<&'static str> {
        self.hashes.iter().map(Hash::scheme).collect()
    }

    /// Reads the hashes that `separator` keeps apart.
    pub fn read(text: &str, separator: char) -> Result<Entry, String> {
        let parts = text.split(separator).map(str::trim).filter(|p| !p.is_empty());
        let hashes: Result<Vec<Hash>, _> = parts.map(Hash::read).collect();
        match hashes {
            Ok(hashes) if hashes.is_empty() => Err("there is no hash".into()),
            Ok(hashes) => Ok(Entry { hashes }),
            Err(bad) => Err(bad.0),
        }
    }

    fn text(&self) -> Option<String> {
        self.hashes.iter().map(Hash::text).collect::<Option<Vec<_>>>().map(|all| all.join(":"))
    }
}

/// A file that was read.
#[derive(Clone, Debug, Default)]
pub struct Users {
    rows: HashMap<String, Entry>,
    /// Whether every row has keys for SCRAM-SHA-1, and for SCRAM-SHA-256.
    scram: (bool, bool),
    /// The row that stands for names that do not exist.
    stand_in: String,
    /// Rows that cannot be used, with their lines.
    pub faults: Vec<(usize, String)>,
}

impl Users {
    /// Reads a file.
    pub fn read(text: &str) -> Users {
        let mut users = Users::default();
        for (number, line) in (1..).zip(text.lines()) {
            let Some((name, rest)) = row(line) else { continue };
            let read = match name {
                UNKNOWN => Ok(UNKNOWN.to_string()),
                name => self::name(name),
            };
            match read.and_then(|name| Ok((name, Entry::read(rest, ':')?))) {
                Ok((name, _)) if users.rows.contains_key(&name) => {
                    users
                        .faults
                        .push((number, format!("the user {name} was there before; the first row counts")));
                }
                Ok((name, entry)) => drop(users.rows.insert(name, entry)),
                Err(what) => users.faults.push((number, what)),
            }
        }
        let all = |hash| users.rows.values().all(|entry| entry.keys(hash).is_some());
        users.scram = (all(scram::Hash::Sha1), all(scram::Hash::Sha256));
        let scheme = |entry: &Entry| entry.password().map(Hash::scheme);
        let own = users.rows.get(UNKNOWN).map(scheme);
        let others = || users.rows.iter().filter(|(name, _)| *name != UNKNOWN);
        users.stand_in = match others().map(|(name, _)| name).min() {
            Some(first) if !others().any(|(_, entry)| Some(scheme(entry)) == own) => first.clone(),
            _ => UNKNOWN.to_string(),
        };
        users
    }

    /// A user.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.rows.get(name.to_lowercase().as_str()).filter(|_| name != UNKNOWN)
    }

    /// The row for names that do not exist.
    pub fn unknown(&self) -> Option<&Entry> {
        self.rows.get(UNKNOWN)
    }

    /// What names are compared with that do not exist: that row, if it costs what one of the users' hashes
    /// costs; else one of theirs, as where another program wrote the file.
    pub fn stand_in(&self) -> Option<&Entry> {
        self.rows.get(&self.stand_in)
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rows.keys().map(String::as_str).filter(|n| *n != UNKNOWN).collect();
        names.sort_unstable();
        names
    }

    /// Whether every user has keys for SCRAM with this hash function. One who has none could not log in
    /// from a program that prefers it.
    pub fn all_have(&self, hash: scram::Hash) -> bool {
        match hash {
            scram::Hash::Sha1 => self.scram.0,
            scram::Hash::Sha256 => self.scram.1,
        }
    }
}

/// Name and hashes of a line that is no comment.
fn row(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    Some(line.split_once(':').unwrap_or((line, "")))
}

/// A name as it is filed, or what is wrong with it.
pub fn name(text: &str) -> Result<String, String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || ":,(){}\"<>\\".contains(c);
    match text {
        "" => Err("the name is empty".into()),
        text if text.len() > LONGEST => Err(format!("the name is longer than {LONGEST} bytes")),
        text if text.starts_with('#') => Err("a name that begins with # would be a comment".into()),
        text => match text.chars().find(|c| odd(*c)) {
            Some(c) => Err(format!("the name {text:?} contains {c:?}, which cannot stand there")),
            None => Ok(text.to_lowercase()),
        },
    }
}

/// The file with `entry` for `name`, or without them. Other lines stay as they are; a file that is new gets
/// a heading and the row for names that do not exist. `None` if there are no random numbers.
pub fn with(text: &str, name: &str, entry: Option<&Entry>) -> Option<String> {
    let is = |line: &str, name: &str| row(line).is_some_and(|(n, _)| n.to_lowercase() == name);
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    if lines.is_empty() {
        lines.push("# Users of valija: `valija user` writes this file. Nobody but root may read it.".into());
    }
    let put = |lines: &mut Vec<String>, name: &str, entry: &Entry| {
        let new = format!("{name}:{}", entry.text()?);
        let at = lines.iter().position(|l| is(l, name));
        // A second row of the same name would come to life when the first goes.
        lines.retain({
            let mut first = true;
            move |l| !is(l, name) || std::mem::take(&mut first)
        });
        match at.and_then(|at| lines.get_mut(at)) {
            Some(line) => *line = new,
            None => lines.push(new),
        }
        Some(())
    };
    match entry {
        Some(entry) => put(&mut lines, name, entry)?,
        None => lines.retain(|l| !is(l, name)),
    }
    if !lines.iter().any(|l| is(l, UNKNOWN)) {
        put(&mut lines, UNKNOWN, &Entry::of_nobody()?)?;
    }
    lines.push(String::new());
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn users_come_and_go() {
        let (first, second) = (Entry::make(&"eins".into()).unwrap(), Entry::make(&"zwei".into()).unwrap());
        let text = with("", "alumno", Some(&first)).unwrap();
        assert!(text.starts_with("# Users") && text.contains("\nalumno:{ARGON2ID}$argon2id$"), "{text}");
        let text = with(&text, "jose@mail1.org", Some(&second)).unwrap();
        assert_eq!(text.matches(UNKNOWN).count(), 1);
        let users = Users::read(&text);
        assert_eq!((users.names(), &users.faults), (vec!["alumno", "jose@mail1.org"], &vec![]));
        assert!(users.all_have(scram::Hash::Sha1) && users.all_have(scram::Hash::Sha256));
        assert!(users.get("ALUMNO").unwrap().password().unwrap().fits(&"eins".into()));
        assert_eq!(users.get("alumno").unwrap().schemes(), ["ARGON2ID", "SCRAM-SHA-256", "SCRAM-SHA-1"]);
        assert!(users.get(UNKNOWN).is_none() && users.unknown().is_some());
        let text = with(&text, "alumno", Some(&second)).unwrap();
        assert!(Users::read(&text).get("alumno").unwrap().password().unwrap().fits(&"zwei".into()));
        let text = with(&text, "alumno", None).unwrap();
        assert_eq!(Users::read(&text).names(), ["jose@mail1.org"]);
    }

    #[test]
    fn what_stands_around_stays_and_faults_have_lines() {
        let good = "$5$rounds=1000$ab$bw4PhTdETPYycBP1S/MfHGVqzf4cldTXkxqJJ2X8w.3";
        let text = format!("# mine\n\nana:{good}::::::\n bad :x\nnada\nAna:{good}\nb(:{good}\n");
        let users = Users::read(&text);
        assert_eq!(users.names(), ["ana"]);
        let lines: Vec<usize> = users.faults.iter().map(|(n, _)| *n).collect();
        assert_eq!(lines, [4, 5, 6, 7], "{:?}", users.faults);
        assert!(!users.all_have(scram::Hash::Sha256));
        let entry = Entry::make(&"neu".into()).unwrap();
        let new = with(&text, "ana", Some(&entry)).unwrap();
        assert!(new.starts_with("# mine\n\nana:{ARGON2ID}") && new.contains("\n bad :x\nnada\nb(:"), "{new}");
        assert!(!new.contains("\nAna:"), "a second row comes to life: {new}");
        // A passwd-file of Dovecot with other fields behind is not understood by halves.
        assert!(!Users::read(&format!("x:{good}:1000:1000::/home/x::\n")).faults.is_empty());
    }

    #[test]
    fn names() {
        assert_eq!(name("José@Mail1.org"), Ok("josé@mail1.org".into()));
        for bad in ["", "a b", "a:b", "#a", "(unknown)", "a\nb", &"x".repeat(256)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_survived(text in "([a-z(){}$:#, \n]|\\PC){0,200}") {
            let users = Users::read(&text);
            for name in users.names() {
                prop_assert!(users.get(name).is_some());
            }
        }

        #[test]
        fn what_is_taken_away_is_gone(text in "([ab]:[$x]{0,3}\n|#[ab]\n|\n){0,8}") {
            let new = with(&text, "a", None).unwrap();
            let gone = new.lines().all(|l| !l.starts_with("a:"));
            prop_assert!(gone);
            prop_assert_eq!(text.matches("#a").count(), new.matches("#a").count());
            prop_assert_eq!(text.matches("b:").count(), new.matches("b:").count());
        }
    }
}
