//! The command line of `master(8)`.

use std::path::PathBuf;
use std::time::Duration;

/// What the caller asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// `-c`: the configuration directory; `/etc/postfix` when not given.
    pub directory: PathBuf,
    /// `-e`: stop after this time.
    pub exit_time: Option<Duration>,
    /// `-t`: only say whether a master is running.
    pub test_lock: bool,
    /// `-w`: start in the background and wait until it works.
    pub wait: bool,
    /// `-s`, `-i`: keep standard output open (`postfix start-fg`, init of a container).
    pub keep_output: bool,
    /// Internal: services whose listeners the deliver role gets as descriptors 4, 5, ….
    pub listen: Vec<String>,
    /// Internal: report on descriptor 3 when clients are served, and leave the terminal.
    pub report: bool,
}

/// Reads the words after the program's name.
pub fn parse(words: &[String]) -> Result<Args, String> {
    let mut args = Args { directory: "/etc/postfix".into(), ..Args::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flags = word.strip_prefix('-').filter(|f| !f.is_empty());
        let Some(flags) = flags else { return Err(format!("unexpected argument {word:?}; {USAGE}")) };
        for (i, letter) in flags.char_indices() {
            let mut value = || match &flags[i + letter.len_utf8()..] {
                "" => words.next().cloned().ok_or_else(|| format!("-{letter} needs a value; {USAGE}")),
                rest => Ok(rest.to_string()),
            };
            match letter {
                'c' => {
                    args.directory = value()?.into();
                    break;
                }
                'l' => {
                    args.listen.push(value()?);
                    break;
                }
                'e' => {
                    let text = value()?;
                    let seconds = text.parse().map_err(|_| format!("-e {text:?} is no number of seconds"))?;
                    args.exit_time = Some(Duration::from_secs(seconds));
                    break;
                }
                't' => args.test_lock = true,
                'w' => args.wait = true,
                's' | 'i' => args.keep_output = true,
                'R' => args.report = true,
                'd' | 'D' | 'v' => {}
                _ => return Err(format!("unknown option -{letter}; {USAGE}")),
            }
        }
    }
    Ok(args)
}

const USAGE: &str = "usage: master [-c config_dir] [-e exit_time] [-d] [-i] [-s] [-t] [-v] [-w]";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Args, String> {
        parse(&words.iter().map(|w| w.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn options_joined_and_apart() {
        let args = of(&["-wc", "/tmp/x", "-e5"]).unwrap();
        assert_eq!(args.directory, PathBuf::from("/tmp/x"));
        assert!(args.wait && args.exit_time == Some(Duration::from_secs(5)));
        assert_eq!(of(&["-c/a"]).unwrap().directory, PathBuf::from("/a"));
        for bad in [&["x"][..], &["-c"], &["-z"], &["-e", "soon"], &["-"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
