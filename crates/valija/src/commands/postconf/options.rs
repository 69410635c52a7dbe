//! The command line of `postconf`, and which options go together.

/// What the words are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// main.cf.
    Main,
    /// `-M`: services.
    Services,
    /// `-F`: fields of services.
    Fields,
    /// `-P`: `-o` settings of services.
    Settings,
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// `-e`, or a word with `=`.
    Set,
    /// `-X`.
    Remove,
    /// `-#`.
    Comment,
}

/// Everything asked for.
#[derive(Debug)]
pub(super) struct Options {
    flags: Vec<char>,
    pub(super) directory: Option<String>,
    pub(super) classes: Vec<Class>,
    pub(super) overrides: Vec<(String, String)>,
    pub(super) mode: Mode,
    pub(super) edit: Option<Edit>,
    pub(super) words: Vec<String>,
}

/// Whose name a parameter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The program's own.
    Builtin,
    /// `<service>_…`.
    Service,
    /// The administrator's.
    User,
}

impl Options {
    pub(super) fn listing(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }
}

const USAGE: &str = "usage: postconf [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] \
[-c config_dir] [-c param_class] [-d (parameter defaults)] [-e (edit configuration)] [-f (fold lines)] \
[-F (master.cf fields)] [-h (no names)] [-H (no values)] [-l (lock types)] [-m (map types)] [-M (master.cf)] \
[-n (non-default parameters)] [-o name=value (override parameter value)] [-p (main.cf, default)] \
[-P (master.cf parameters)] [-t (bounce templates)] [-T compile-version|run-version|public-key-algorithms] \
[-v (verbose)] [-x (expand parameter values)] [-X (exclude)] [-# (comment-out)] [name...]";

/// Pairs that exclude each other, as the messages name them.
const EITHER: [(char, char); 14] = [
    ('d', 'n'),
    ('d', 'o'),
    ('d', 'e'),
    ('d', 'X'),
    ('d', '#'),
    ('e', 'n'),
    ('e', 'o'),
    ('e', 'X'),
    ('e', '#'),
    ('h', 'H'),
    ('F', 'M'),
    ('F', 'P'),
    ('M', 'P'),
    ('X', '#'),
];

/// Reads the words behind the command's name.
pub(super) fn read(args: &[String]) -> Result<Options, String> {
    let mut o = Options {
        flags: Vec::new(),
        directory: None,
        classes: Vec::new(),
        overrides: Vec::new(),
        mode: Mode::Main,
        edit: None,
        words: Vec::new(),
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            o.words.push(word.clone());
            break;
        };
        if word == "--" {
            break;
        }
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            match letter {
                'c' | 'C' | 'o' | 'T' => {
                    let joined: String = rest.by_ref().collect();
                    let value = if joined.is_empty() { words.next().cloned() } else { Some(joined) };
                    let Some(value) = value else {
                        eprintln!("{}: option requires an argument -- '{letter}'", super::called());
                        return Err(USAGE.to_string());
                    };
                    o.flags.push(letter);
                    argument(&mut o, letter, value)?;
                }
                'b' | 't' => return Err("bounce templates cannot be shown; read bounce_template_file".into()),
                'a' | 'A' | 'd' | 'e' | 'f' | 'F' | 'h' | 'H' | 'l' | 'm' | 'M' | 'n' | 'p' | 'P' | 'v'
                | 'x' | 'X' | '#' => o.flags.push(letter),
                other => {
                    eprintln!("{}: invalid option -- '{other}'", super::called());
                    return Err(USAGE.to_string());
                }
            }
        }
    }
    o.words.extend(words.cloned());
    settle(o)
}

fn argument(o: &mut Options, letter: char, value: String) -> Result<(), String> {
    match letter {
        'c' => o.directory = Some(value),
        'o' => match config::lines::name_value(&value) {
            Ok((name, text)) => o.overrides.push((name.to_string(), text.to_string())),
            Err(what) => return Err(format!("invalid parameter override: {value}: {what}")),
        },
        'C' => {
            for class in value.split([',', ' ', '\t']).filter(|c| !c.is_empty()) {
                match class {
                    "builtin" => o.classes.push(Class::Builtin),
                    "service" => o.classes.push(Class::Service),
                    "user" => o.classes.push(Class::User),
                    "all" => o.classes.extend([Class::Builtin, Class::Service, Class::User]),
                    other => return Err(format!("unknown -C option value {other:?} in {value:?}")),
                }
            }
        }
        _ if !matches!(value.as_str(), "compile-version" | "run-version" | "public-key-algorithms") => {
            super::warning(&format!("unknown 'postconf -T' mode: {value}"));
            return Err("write compile-version, run-version or public-key-algorithms".into());
        }
        _ => {}
    }
    Ok(())
}

/// Finds the mode and the edit, and refuses what does not go together.
fn settle(mut o: Options) -> Result<Options, String> {
    let editing = o.flags.iter().any(|f| matches!(f, 'e' | 'X' | '#'));
    let showing = o.flags.iter().any(|f| matches!(f, 'd' | 'n'));
    // A value makes it an edit, as if -e had been given.
    if !showing && !o.flags.contains(&'e') && o.words.iter().any(|w| w.contains('=')) {
        o.flags.push('e');
    }
    if let Some((a, b)) = EITHER.iter().find(|(a, b)| o.flags.contains(a) && o.flags.contains(b)) {
        return Err(format!("specify one of -{a} -{b}"));
    }
    let refused = |letters: &str| letters.chars().find(|l| o.flags.contains(l));
    for (mode, letter, not) in
        [(Mode::Services, 'M', "dhHn"), (Mode::Fields, 'F', "dnX#"), (Mode::Settings, 'P', "dn#")]
    {
        if o.flags.contains(&letter) {
            if let Some(wrong) = refused(not) {
                return Err(format!("with option -{letter}, do not specify -{wrong}"));
            }
            o.mode = mode;
        }
    }
    o.edit = [('e', Edit::Set), ('X', Edit::Remove), ('#', Edit::Comment)]
        .into_iter()
        .find(|(letter, _)| o.flags.contains(letter))
        .map(|(_, edit)| edit);
    if o.words.is_empty() {
        match o.edit {
            Some(Edit::Set) => return Err("-e requires name=value argument".into()),
            Some(_) if editing => return Err("missing service argument".into()),
            _ => {}
        }
    }
    if o.classes.is_empty() {
        o.classes = vec![Class::Builtin, Class::Service, Class::User];
    }
    Ok(o)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Options, String> {
        read(&line.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn what_goes_together() {
        assert_eq!(ask("-n -d").unwrap_err(), "specify one of -d -n");
        assert_eq!(ask("-X a=b").unwrap_err(), "specify one of -e -X");
        assert_eq!(ask("-M -h").unwrap_err(), "with option -M, do not specify -h");
        assert_eq!(
            ask("-o a").unwrap_err(),
            "invalid parameter override: a: missing '=' after attribute name"
        );
        assert_eq!(ask("-C foo").unwrap_err(), "unknown -C option value \"foo\" in \"foo\"");
        assert_eq!(ask("-e").unwrap_err(), "-e requires name=value argument");
        let o = ask("-c /x a=b c=d").unwrap();
        assert_eq!((o.mode, o.edit, o.directory.as_deref()), (Mode::Main, Some(Edit::Set), Some("/x")));
        assert_eq!(ask("-Mf smtp").unwrap().mode, Mode::Services);
        assert_eq!(ask("myorigin -H").unwrap().words, ["myorigin", "-H"]);
    }
}
