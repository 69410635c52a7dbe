//! `postmap` and `postalias`: check, ask and change lookup tables, with Postfix's options, words
//! and exit codes.
//!
//! Tables of the `hash:` family are their text here, so building one means checking its text and
//! marking it as finished (see `tables::live`). The `.db` or `.cdb` beside it is written, too: for
//! other software, for Postfix should it come back, and for those who remove a text with passwords
//! once it is compiled, as many instructions say. No `.lmdb` is written. `-i` and `-d` change the
//! text, because that is where the rows are, and then a compiled file that is there; see `edit`.

mod build;
mod edit;
mod keys;

use std::io::{BufRead, Write};
use std::process::ExitCode;
use tables::{Grammar, Options, Types};

events::events! {
    /// A row or table that an administrator should look at.
    Warned { what: String } Warning "{what}"
    /// The command cannot do what it was asked.
    Failed { what: String } Fatal "{what}"
}

/// Why a command stops: its words, and its exit status.
pub struct Failure {
    name: String,
    what: String,
}

impl Failure {
    /// Tells the terminal and the log.
    pub fn report(self) -> ExitCode {
        eprintln!("{}: fatal: {}", self.name, self.what);
        log(&self.name, |source| source.say(&Failed { what: self.what.clone() }));
        ExitCode::FAILURE
    }
}

fn log(name: &str, say: impl FnOnce(&events::Source)) {
    say(&events::Source::new("postfix", name, std::process::id()));
}

/// What the options ask for.
#[derive(Default)]
struct Wishes {
    directory: Option<String>,
    query: Option<String>,
    delete: Option<String>,
    list: bool,
    incremental: bool,
    no_fold: bool,
    files: bool,
    replace: bool,
    ignore: bool,
    nul: Option<bool>,
    keep_root: bool,
    plain_mode: bool,
    mail: keys::Parts,
    tables: Vec<String>,
}

/// A command at work: its name, configuration and table types.
pub struct Session {
    name: String,
    config: config::Config,
    types: Types,
    wishes: Wishes,
    /// The options as they were written.
    options: Vec<String>,
}

/// `postmap [-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...`
pub fn run(name: &str, args: &[String]) -> ExitCode {
    let result = wishes(name, args).and_then(|wishes| {
        let mut session = Session::open(name, wishes.directory.as_deref())?;
        // What stands before the tables, with the end of options taken away.
        let count = args.len() - wishes.tables.len();
        session.options = args.iter().take(count).filter(|a| *a != "--").cloned().collect();
        session.wishes = wishes;
        session.run()
    });
    result.unwrap_or_else(Failure::report)
}

fn usage(name: &str) -> Failure {
    let what = match name {
        "postalias" => "usage: postalias [-Nfinoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
        _ => "usage: postmap [-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
    };
    Failure { name: name.into(), what: what.into() }
}

fn wishes(name: &str, args: &[String]) -> Result<Wishes, Failure> {
    let allowed = if name == "postalias" { "Nfinoprsuvwcdq" } else { "NbfFhimnoprsuUvwcdq" };
    let fail = |what: &str| Failure { name: name.into(), what: what.into() };
    let mut w = Wishes::default();
    let mut words = args.iter();
    'words: while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            w.tables.push(word.clone());
            break;
        };
        if letters == "-" {
            break;
        }
        for (at, letter) in letters.char_indices() {
            if !allowed.contains(letter) {
                eprintln!("{name}: invalid option -- '{letter}'");
                return Err(usage(name));
            }
            if matches!(letter, 'c' | 'd' | 'q') {
                let inline = letters.get(at + 1..).filter(|v| !v.is_empty()).map(str::to_string);
                let Some(value) = inline.or_else(|| words.next().cloned()) else {
                    eprintln!("{name}: option requires an argument -- '{letter}'");
                    return Err(usage(name));
                };
                let only = || fail("specify only one of -s -q or -d");
                match letter {
                    'c' => w.directory = Some(value),
                    'd' if w.list || w.query.is_some() || w.delete.is_some() => return Err(only()),
                    'q' if w.list || w.query.is_some() || w.delete.is_some() => return Err(only()),
                    'd' => w.delete = Some(value),
                    _ => w.query = Some(value),
                }
                continue 'words;
            }
            match letter {
                'b' => w.mail.body = true,
                'h' => w.mail.headers = true,
                'm' => w.mail.mime = true,
                'f' => w.no_fold = true,
                'F' => w.files = true,
                'i' => w.incremental = true,
                'N' => w.nul = Some(true),
                'n' => w.nul = Some(false),
                'o' => w.keep_root = true,
                'p' => w.plain_mode = true,
                'r' => w.replace = true,
                's' if w.query.is_some() || w.delete.is_some() => {
                    return Err(fail("specify only one of -s -q or -d"));
                }
                's' => w.list = true,
                'w' => w.ignore = true,
                // Verbose, and the checks of UTF-8, which are always made.
                _ => {}
            }
        }
    }
    w.tables.extend(words.cloned());
    if w.tables.is_empty() {
        return Err(usage(name));
    }
    if (w.mail.body || w.mail.headers || w.mail.mime) && w.query.as_deref() != Some("-") {
        return Err(fail("specify -b -h or -m only with \"-q -\""));
    }
    Ok(w)
}

impl Session {
    /// Reads the configuration of `directory`, or of where the environment says.
    pub fn open(name: &str, directory: Option<&str>) -> Result<Session, Failure> {
        let fail = |what: String| Failure { name: name.into(), what };
        let directory = config::directory::decide(directory, config::directory::Caller::Same)
            .map_err(|p| fail(p.to_string()))?;
        let config = config::Config::load(&directory).map_err(|problems| {
            fail(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        if let Ok(sink) = super::postlog::sink(&config) {
            events::install(sink);
        }
        let speaker = name.to_string();
        let types = pcre::register(Types::for_config(&config)).notices(move |notice| {
            let text_of_its_own = ["texthash:", "regexp:", "pcre:", "cidr:", "inline:"];
            let own =
                text_of_its_own.iter().any(|t| notice.table.trim_start_matches("proxy:").starts_with(t));
            if own {
                warn(&speaker, &notice.text);
            }
        });
        Ok(Session {
            name: name.into(),
            config,
            types: types.build(),

            wishes: Wishes::default(),
            options: Vec::new(),
        })
    }

    /// The tables of `alias_database`.
    pub fn alias_database(&self) -> Vec<String> {
        self.parameters().map(|p| p.alias_database().0.clone()).unwrap_or_default()
    }

    fn parameters(&self) -> Option<config::params::tables::Tables> {
        config::params::tables::Tables::load(&self.config).ok()
    }

    fn fail(&self, what: impl Into<String>) -> Failure {
        Failure { name: self.name.clone(), what: what.into() }
    }

    fn is_alias(&self) -> bool {
        self.name == "postalias"
    }

    /// The grammar of texts that this command writes or checks.
    fn grammar(&self) -> Grammar {
        if self.is_alias() { Grammar::Alias } else { Grammar::Map }
    }

    fn with_type(&self, table: &str) -> String {
        if table.contains(':') {
            return table.to_string();
        }
        let kind = self.parameters().map(|p| p.default_database_type().clone());
        format!("{}:{table}", kind.unwrap_or_else(|| "hash".into()))
    }

    fn run(&mut self) -> Result<ExitCode, Failure> {
        let tables: Vec<String> = self.wishes.tables.iter().map(|t| self.with_type(t)).collect();
        if let Some(key) = self.wishes.query.clone() {
            return self.query(&key, &tables);
        }
        if let Some(key) = self.wishes.delete.clone() {
            let mut found = false;
            for table in &tables {
                found |= self.delete(table, &key)?;
            }
            return Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        // Becoming the owner of a text is for good: each further one gets a process of its own.
        let alone = tables.len() > 1 && !self.wishes.keep_root && sys::spawn::effective_uid() == 0;
        if alone && !self.wishes.list && !self.wishes.incremental {
            let options: Vec<&String> = self.options.iter().collect();
            return self.build_apart(&options, &tables);
        }
        for table in &tables {
            match (self.wishes.list, self.wishes.incremental) {
                (true, _) => self.list(table)?,
                (_, true) => self.add(table)?,
                _ => self.build(table)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Builds each table in a process of its own, with the same options; the first failure ends it.
    pub(super) fn build_apart<S: AsRef<std::ffi::OsStr>>(
        &self,
        options: &[S],
        tables: &[String],
    ) -> Result<ExitCode, Failure> {
        let program = std::env::current_exe().map_err(|e| self.fail(e.to_string()))?;
        for table in tables {
            let mut command = std::process::Command::new(&program);
            command.arg(&self.name).args(options).arg("-c").arg(self.config.directory()).arg(table);
            let status = command.status().map_err(|e| self.fail(e.to_string()))?;
            if !status.success() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, name: &str) -> Result<std::sync::Arc<dyn tables::Table>, Failure> {
        let options = Options { fold: !self.wishes.no_fold, ..Options::default() };
        let table = self.types.open_as(name, options).map_err(|e| self.fail(e.what))?;
        match table.broken() {
            Some(error) => Err(self.fail(error.what)),
            None => Ok(table),
        }
    }

    fn query(&self, key: &str, tables: &[String]) -> Result<ExitCode, Failure> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut open = Vec::new();
        let separator = if self.is_alias() { ":\t" } else { "\t" };
        let mut found = false;
        if key != "-" {
            for name in tables {
                if let Some(value) = self.ask(self.table(name)?.as_ref(), key)? {
                    let _ = writeln!(out, "{value}");
                    found = true;
                    break;
                }
            }
            let _ = out.flush();
            return Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        for name in tables {
            open.push(self.table(name)?);
        }
        let mut failure = None;
        let mut each = |key: &str| {
            for table in &open {
                match self.ask(table.as_ref(), key) {
                    Ok(None) => {}
                    Ok(Some(value)) => {
                        found = true;
                        let _ = writeln!(out, "{key}{separator}{value}");
                        break;
                    }
                    Err(error) => {
                        failure = Some(error);
                        return false;
                    }
                }
            }
            true
        };
        let lines = std::io::stdin().lock().split(b'\n').map_while(Result::ok);
        let lines = lines.map(|l| String::from_utf8_lossy(&l).into_owned());
        if self.wishes.mail.any() {
            keys::of_message(lines, self.wishes.mail, &mut each);
        } else {
            for line in lines {
                if !each(&line) {
                    break;
                }
            }
        }
        let _ = out.flush();
        match failure {
            Some(failure) => Err(failure),
            None => Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        }
    }

    fn ask(&self, table: &dyn tables::Table, key: &str) -> Result<Option<String>, Failure> {
        let fixed = ["hash", "btree", "lmdb"];
        if key.is_empty() && fixed.iter().any(|k| table.name().split(':').next() == Some(k)) {
            warn(&self.name, &format!("table {}: empty lookup key value is not allowed", table.name()));
            return Ok(None);
        }
        let hit = table.lookup(key).map_err(|e| self.fail(format!("table {}: {}", e.table, e.what)))?;
        let Some(hit) = hit else { return Ok(None) };
        if hit.value.is_empty() {
            let name = table.name();
            warn(&self.name, &format!("table {name}: key {key}: empty string result is not allowed"));
            warn(&self.name, &format!("table {name} should return NO RESULT in case of NOT FOUND"));
        }
        self.shown(&hit.value).map(Some)
    }

    /// The value as `-F` wants it.
    fn shown(&self, value: &str) -> Result<String, Failure> {
        if !self.wishes.files {
            return Ok(value.to_string());
        }
        let bytes = build::from_base64(value).ok_or_else(|| self.fail("malformed base64 value"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, name: &str) -> Result<(), Failure> {
        let table = self.table(name)?;
        let rows = table.rows().map_err(|e| self.fail(format!("table {}: {}", e.table, e.what)))?;
        let unable = || self.fail(format!("table {name}: sequence operation is not supported"));
        let rows = rows.filter(|_| !name.starts_with("cdb:")).ok_or_else(unable)?;
        let separator = if self.is_alias() { ":\t" } else { "\t" };
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for (key, value) in rows {
            let _ = writeln!(out, "{key}{separator}{}", self.shown(&value)?);
        }
        let _ = out.flush();
        Ok(())
    }
}

fn warn(name: &str, what: &str) {
    eprintln!("{name}: warning: {what}");
    log(name, |source| source.say(&Warned { what: what.to_string() }));
}
