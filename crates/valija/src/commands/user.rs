//! `valija user`: who may log in with `smtpd_sasl_type = valija`. Passwords come from the terminal, standard
//! input or a file, never from the command line; what is kept of them are hashes, in a file that root alone
//! may read. A change is made under a lock and as a whole, and a running system is told at once.

use super::ask::{first_line, secret, somebody};
use super::replace::Edit;
use super::{postfix, setup};
use config::Config;
use config::directory::{self, Caller};
use config::params::users::Users as Parameters;
use login::hash::Hash;
use login::users::file::{self, Entry, Users};
use sasl::Secret;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Wrong words on the command line. sysexits.h: EX_USAGE
const USAGE_STATUS: u8 = 64;

/// Shorter passwords are remarked upon.
const SHORT: usize = 8;

const USAGE: &str = "\
usage: valija user add NAME      a new user, who may log in to send mail
       valija user passwd NAME   another password
       valija user del NAME      nobody logs in by this name any more
       valija user list          the names
       valija user hash          the hash of a password, for a lookup table; nothing is written
The password is asked for, or read from standard input. It is kept as hashes (Argon2id, and keys for SCRAM)
in the file that valija_users_file names, which only root may read.
  --password-file FILE   take the password from the first line of FILE (- for standard input)
  --config DIR           where main.cf is, if not in /etc/postfix
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Add,
    Passwd,
    Del,
    List,
    Hash,
}

#[derive(Debug)]
struct Options {
    action: Action,
    name: String,
    password_file: Option<String>,
    directory: Option<String>,
}

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match read(args) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("valija user: {what}; nothing was changed");
            eprintln!("`valija user --help` lists the words");
            return ExitCode::from(USAGE_STATUS);
        }
    };
    match go(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("valija user: {what}");
            ExitCode::FAILURE
        }
    }
}

fn read(args: &[String]) -> Result<Options, String> {
    let (mut password_file, mut directory, mut places) = (None, None, Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_string())),
            _ => (word.as_str(), None),
        };
        let mut value = || {
            let text = inline.clone().or_else(|| words.next().cloned());
            text.filter(|t| !t.is_empty()).ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag {
            "--password-file" => password_file = Some(value()?),
            "--config" => directory = Some(value()?),
            "--password" => {
                return Err("a password on the command line is seen by every user of this host; leave it \
                            out to be asked, or use --password-file"
                    .into());
            }
            _ if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
            _ => places.push(word.clone()),
        }
    }
    let mut places = places.into_iter();
    let action = match places.next().as_deref() {
        Some("add") => Action::Add,
        Some("passwd") => Action::Passwd,
        Some("del") => Action::Del,
        Some("list") => Action::List,
        Some("hash") => Action::Hash,
        Some(other) => return Err(format!("{other:?}: the word is add, passwd, del, list or hash")),
        None => return Err("say what to do: add NAME, passwd NAME, del NAME, list or hash".into()),
    };
    let name = match action {
        Action::List | Action::Hash => String::new(),
        _ => file::name(&places.next().ok_or("which user? Write a name behind it")?)?,
    };
    if let Some(more) = places.next() {
        return Err(format!(
            "what is {more:?}? One user at a time, and no password on the command line: every user of \
             this host would see it"
        ));
    }
    if password_file.is_some() && matches!(action, Action::Del | Action::List) {
        return Err("--password-file goes with add, passwd and hash".into());
    }
    Ok(Options { action, name, password_file, directory })
}

fn go(options: &Options) -> Result<(), String> {
    if options.action == Action::Hash {
        let password = password(options, "")?;
        let hash = Hash::make(&password).and_then(|h| h.text());
        println!("{}", hash.ok_or("there are no random numbers, or too little memory")?);
        return Ok(());
    }
    let directory =
        directory::decide(options.directory.as_deref(), Caller::Same).map_err(|p| p.to_string())?;
    let config = Config::load(&directory)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let parameters = Parameters::load(&config)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let path = PathBuf::from(parameters.valija_users_file());
    if options.action == Action::List {
        return list(&path);
    }
    let folder = path.parent().ok_or_else(|| format!("valija_users_file = {}: no file", path.display()))?;
    setup::writable(folder)?;
    // Asked before the lock is taken: others need not wait for somebody to type.
    let existing = std::fs::read_to_string(&path).unwrap_or_default();
    fits(options.action, &options.name, &existing, &path)?;
    let entry = match options.action {
        Action::Del => None,
        _ => {
            let password = password(options, &options.name)?;
            Some(Entry::make(&password).ok_or("there are no random numbers, or too little memory")?)
        }
    };
    change(&path, options.action, &options.name, entry.as_ref())?;
    println!(
        "{} {} ({})",
        match options.action {
            Action::Add => "added",
            Action::Passwd => "new password for",
            _ => "removed",
        },
        options.name,
        path.display()
    );
    if !used(&config, &directory) {
        println!(
            "note: no service has smtpd_sasl_type = valija, so these users do not count yet; \
             `valija setup submission` sets up logins"
        );
        return Ok(());
    }
    postfix::reread(&directory, &config, options.directory.as_deref())
}

/// Whether any service takes these users' word.
fn used(config: &Config, directory: &Path) -> bool {
    let of = |config: &Config| config.get("smtpd_sasl_type").is_ok_and(|kind| kind == "valija");
    let services = config::master_cf::load(directory).map(|s| s.all).unwrap_or_default();
    of(config) || services.iter().any(|s| of(&s.config(config)))
}

/// Whether the user is there, or not there, as the action needs it.
fn fits(action: Action, name: &str, text: &str, path: &Path) -> Result<(), String> {
    let there =
        Users::read(text).get(name).is_some() || text.lines().any(|l| l.starts_with(&format!("{name}:")));
    match (action, there) {
        (Action::Add, true) => Err(format!("{name} exists; valija user passwd {name} changes the password")),
        (Action::Passwd | Action::Del, false) => {
            Err(format!("there is no user {name} in {}; valija user list shows them", path.display()))
        }
        _ => Ok(()),
    }
}

fn change(path: &Path, action: Action, name: &str, entry: Option<&Entry>) -> Result<(), String> {
    let (mut edit, old) = Edit::begin_or_create(path)?;
    let before = old.as_ref().map(|_| std::fs::metadata(path)).transpose();
    let before = before.map_err(|e| format!("{}: {e}", path.display()))?;
    let text = String::from_utf8(old.unwrap_or_default())
        .map_err(|_| format!("{} is no text; move it away first", path.display()))?;
    // Somebody may have been quicker.
    fits(action, name, &text, path)?;
    let new = file::with(&text, name, entry).ok_or("there are no random numbers, or too little memory")?;
    edit.prepare(new.as_bytes(), Permissions::from_mode(0o600), before.as_ref())?;
    edit.finish()
}

fn list(path: &Path) -> Result<(), String> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(format!("{}: {e}; run this as root (sudo)", path.display())),
    };
    let users = Users::read(&text);
    if users.names().is_empty() {
        println!("There are no users; valija user add NAME makes one ({}).", path.display());
    }
    for name in users.names() {
        let schemes = users.get(name).map(|e| e.schemes().join(" ")).unwrap_or_default();
        println!("{name:<30} {schemes}");
    }
    for (line, what) in &users.faults {
        eprintln!("warning: {}, line {line}: {what}; the row does not count", path.display());
    }
    if std::fs::metadata(path).is_ok_and(|m| m.mode() & 0o077 != 0) {
        eprintln!("warning: others may read {0}; chmod 600 {0}", path.display());
    }
    Ok(())
}

/// The password, from where the words say.
fn password(options: &Options, user: &str) -> Result<Secret, String> {
    let of = if user.is_empty() { String::new() } else { format!(" of {user}") };
    let text = match options.password_file.as_deref() {
        Some("-") => first_line(&mut std::io::stdin().lock(), "standard input")?,
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|e| format!("{path}: {e}; nothing was changed"))?;
            if file.metadata().is_ok_and(|m| m.mode() & 0o077 != 0) {
                eprintln!("note: others may read {path}; chmod 600 {path}");
            }
            first_line(&mut std::io::BufReader::new(file), path)?
        }
        None if somebody() => {
            let first = secret(&format!("New password{of}"))?;
            if first != secret("The same again")? {
                return Err("these are two passwords; nothing was changed".into());
            }
            first
        }
        None => first_line(&mut std::io::stdin().lock(), "standard input")?,
    };
    let checked = check(&text).map_err(|what| format!("{what}; nothing was changed"))?;
    if checked.chars().count() < SHORT {
        eprintln!("note: a password of less than {SHORT} characters is easily guessed");
    }
    Ok(Secret::from(checked))
}

/// What mail programs can send.
fn check(text: &str) -> Result<&str, String> {
    match text {
        "" => Err("the password is empty".into()),
        text if text.len() > 1000 => Err("the password is longer than 1000 bytes".into()),
        text if text.contains(char::is_control) => Err("the password contains a control character".into()),
        text => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<Options, String> {
        read(&words.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn words() {
        let o = of("add Alumno --password-file=- --config /x").unwrap();
        assert_eq!((o.action, o.name.as_str()), (Action::Add, "alumno"));
        assert_eq!((o.password_file.as_deref(), o.directory.as_deref()), (Some("-"), Some("/x")));
        for (words, why) in [
            ("add", "which user"),
            ("add a b", "every user of"),
            ("add a --password x", "seen by every user"),
            ("add a:b", "':'"),
            ("del a --password-file x", "goes with"),
            ("list x", "what is \"x\""),
            ("make a", "add, passwd, del, list or hash"),
            ("add --frob a", "unknown flag"),
        ] {
            let said = of(words).unwrap_err();
            assert!(said.contains(why), "{words}: {said}");
        }
        assert!(check("").is_err() && check("a\tb").is_err() && check("päss wörd").is_ok());
    }

    #[test]
    fn the_file_changes_as_a_whole_and_stays_secret() {
        let path = std::env::temp_dir().join(format!("valija-user-{}", std::process::id()));
        let entry = Entry::make(&"clave".into()).unwrap();
        change(&path, Action::Add, "alumno", Some(&entry)).unwrap();
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        let said = change(&path, Action::Add, "alumno", Some(&entry)).unwrap_err();
        assert!(said.contains("alumno exists"), "{said}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        change(&path, Action::Add, "jose", Some(&entry)).unwrap();
        assert_eq!(mode(), 0o600);
        change(&path, Action::Del, "alumno", None).unwrap();
        assert!(
            change(&path, Action::Passwd, "alumno", Some(&entry)).unwrap_err().contains("no user alumno")
        );
        let users = Users::read(&std::fs::read_to_string(&path).unwrap());
        assert_eq!((users.names(), users.faults.len()), (vec!["jose"], 0));
        // Somebody else edits: both changes are there in the end.
        let all: Vec<_> = (0..4)
            .map(|n| {
                let (path, entry) = (path.clone(), entry.clone());
                std::thread::spawn(move || change(&path, Action::Add, &format!("u{n}"), Some(&entry)))
            })
            .collect();
        all.into_iter().for_each(|t| t.join().unwrap().unwrap());
        let users = Users::read(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(users.names(), ["jose", "u0", "u1", "u2", "u3"]);
        std::fs::remove_file(&path).unwrap();
    }
}
