//! The options of sendmail(1), as Postfix takes them. Pure.

use proto::envelope::{Encoding, Notify, Ret};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Take a message from standard input (`-bm`, the default).
    Mail,
    /// SMTP on standard input and output (`-bs`).
    Smtp,
    /// Ask for a report of what would happen to the recipients (`-bv`).
    Verify,
    /// List the queue (`-bp`, `mailq`).
    List,
    /// Rebuild the alias file (`-bi`, `newaliases`).
    Aliases,
    /// Start the mail system (`-bd`).
    Daemon,
    /// Deliver what waits (`-q`).
    Flush,
    /// Deliver what waits for this site (`-qRsite`).
    FlushSite(String),
    /// Deliver this message (`-qIid`).
    FlushId(String),
    /// Nothing at all: an interval alone (`-q30m`).
    Nothing,
}

/// The call, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// Configuration directory (`-C`).
    pub config: Option<String>,
    /// `-f`, `-r`.
    pub sender: Option<String>,
    /// `-F`.
    pub full_name: Option<String>,
    /// `-t`.
    pub extract: bool,
    /// Not `-i`: a line with a dot ends the message.
    pub dot_ends: bool,
    /// `-G`: a gateway; the message is a stranger's.
    pub gateway: bool,
    /// `-v`, but not twice: report the delivery by mail.
    pub verbose: u32,
    /// `-B`.
    pub encoding: Option<Encoding>,
    /// `-N`.
    pub notify: Option<Notify>,
    /// `-R`.
    pub ret: Option<Ret>,
    /// `-V`.
    pub envid: Option<String>,
    /// `-XV`, perhaps with delimiters: variable envelope return paths.
    pub verp: Option<String>,
    /// `-L`: the name in the log.
    pub label: Option<String>,
    /// Words that are no options.
    pub recipients: Vec<String>,
    /// Options with a wrong value, which are ignored with these words.
    pub warnings: Vec<String>,
}

/// Options that take an argument (attached or the next word).
const WITH_ARGUMENT: &str = "ABCFLNORVXbefhopqr";
/// Options without one.
const PLAIN: &str = "EGIUcimntvxT";

/// Reads the words after the program's name; an error is one line for the user.
pub fn read(name: &str, args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        mode: match name {
            "mailq" => Mode::List,
            "newaliases" => Mode::Aliases,
            _ => Mode::Mail,
        },
        config: None,
        sender: None,
        full_name: None,
        extract: false,
        dot_ends: true,
        gateway: false,
        verbose: 0,
        encoding: None,
        notify: None,
        ret: None,
        envid: None,
        verp: None,
        label: None,
        recipients: Vec::new(),
        warnings: Vec::new(),
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            options.recipients.extend(words.cloned());
            break;
        }
        let Some(mut rest) = word.strip_prefix('-').filter(|r| !r.is_empty()) else {
            options.recipients.push(word.clone());
            options.recipients.extend(words.cloned());
            break;
        };
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            if WITH_ARGUMENT.contains(letter) {
                // `-q` alone is a whole option, and `-o` may have nothing after it.
                let attached = !rest.is_empty();
                let argument = if attached {
                    rest.to_string()
                } else if letter == 'q' {
                    String::new()
                } else {
                    words.next().cloned().ok_or_else(|| {
                        format!("option requires an argument -- '{letter}'; usage: sendmail [options]")
                    })?
                };
                options.with_argument(letter, argument)?;
                break;
            }
            if !PLAIN.contains(letter) {
                return Err(format!("invalid option -- '{letter}'; usage: sendmail [options]"));
            }
            options.plain(letter);
        }
    }
    if options.mode == Mode::Verify {
        let given = [
            (options.extract, "-t"),
            (options.notify.is_some(), "-N"),
            (options.ret.is_some(), "-R"),
            (options.verbose == 1, "-v"),
        ];
        if let Some((_, option)) = given.iter().find(|(given, _)| *given) {
            return Err(format!("{option} option cannot be used with -bv"));
        }
    }
    Ok(options)
}

impl Options {
    fn plain(&mut self, letter: char) {
        match letter {
            'G' => self.gateway = true,
            'I' => self.mode = Mode::Aliases,
            'i' => self.dot_ends = false,
            't' => self.extract = true,
            'v' => self.verbose += 1,
            _ => {} // accepted, without effect, as Postfix does
        }
    }

    fn with_argument(&mut self, letter: char, argument: String) -> Result<(), String> {
        match letter {
            'f' | 'r' => self.sender = Some(argument),
            'F' => self.full_name = Some(argument),
            'C' => self.config = Some(argument),
            'L' => self.label = Some(argument),
            'b' => {
                self.mode = match argument.chars().next() {
                    Some('m') => Mode::Mail,
                    Some('s') => Mode::Smtp,
                    Some('v') => Mode::Verify,
                    Some('p') => Mode::List,
                    Some('i') => Mode::Aliases,
                    Some('d' | 'l') => Mode::Daemon,
                    Some('h' | 'H') => Mode::Nothing,
                    _ => return Err(format!("unsupported: -b{argument}")),
                }
            }
            'q' => {
                self.mode = match argument.chars().next() {
                    // With -bd the interval is Postfix's own affair.
                    _ if self.mode == Mode::Daemon => Mode::Daemon,
                    None => Mode::Flush,
                    Some('R') if argument.len() > 1 => Mode::FlushSite(argument[1..].into()),
                    Some('R') => return Err("specify: -qRsitename".into()),
                    Some('I') if argument.len() > 1 => Mode::FlushId(argument[1..].into()),
                    Some('I') => return Err("specify: -qIqueueid".into()),
                    Some('0'..='9') => Mode::Nothing,
                    Some(_) => return Err(format!("unsupported: -q{argument}")),
                }
            }
            // Other settings of the sendmail of old have no effect here.
            'o' => self.dot_ends &= argument != "i",
            'B' => {
                self.encoding = Some(if argument.eq_ignore_ascii_case("8BITMIME") {
                    Encoding::EightBit
                } else if argument.eq_ignore_ascii_case("7BIT") {
                    Encoding::SevenBit
                } else {
                    return Err("-B option needs 8BITMIME or 7BIT".into());
                });
            }
            'N' => match notify(&argument) {
                Some(notify) => self.notify = Some(notify),
                None => self.warnings.push("bad -N option value -- ignored".into()),
            },
            'R' => match argument.to_ascii_lowercase().as_str() {
                "full" => self.ret = Some(Ret::Full),
                "hdrs" => self.ret = Some(Ret::Headers),
                _ => self.warnings.push("bad -R option value -- ignored".into()),
            },
            // The other meaning of -X, a log of all traffic, Postfix does not have either.
            'X' => self.verp = argument.strip_prefix('V').map(str::to_string).or(self.verp.take()),
            'V' => {
                if !argument.is_empty() && argument.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
                    self.envid = Some(argument);
                } else {
                    self.warnings.push("bad syntax in -V option value -- ignored".into());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// RFC 3461 4.1: `NEVER`, or a list of the others.
fn notify(text: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    for word in text.split(',').map(str::trim) {
        match word.to_ascii_lowercase().as_str() {
            "never" => notify.never = true,
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            _ => return None,
        }
    }
    let others = notify.success || notify.failure || notify.delay;
    (notify.never != others).then_some(notify)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Options {
        read("sendmail", &words(line)).unwrap()
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn calls_of_real_programs() {
        // cron, PHP, bsd-mailx, mutt
        let o = of("-FCronDaemon -i -B8BITMIME -oem root");
        assert_eq!((o.full_name.as_deref(), o.dot_ends), (Some("CronDaemon"), false));
        assert_eq!((o.encoding, o.recipients), (Some(Encoding::EightBit), vec!["root".to_string()]));
        let o = of("-t -i -f me@x.y");
        assert_eq!((o.extract, o.dot_ends, o.sender.as_deref()), (true, false, Some("me@x.y")));
        assert_eq!(of("-i usuario alumno").recipients, ["usuario", "alumno"]);
        let o = of("-oem -oi -f jose@x.y -- usuario -x");
        assert_eq!((o.dot_ends, o.recipients), (false, vec!["usuario".to_string(), "-x".into()]));
        assert_eq!(of("a -oi").recipients, ["a", "-oi"]);
    }

    #[test]
    fn modes() {
        for (line, mode) in [
            ("", Mode::Mail),
            ("-bs", Mode::Smtp),
            ("-bp", Mode::List),
            ("-bd -q30m", Mode::Daemon),
            ("-q", Mode::Flush),
            ("-q30m", Mode::Nothing),
            ("-qRexample.org", Mode::FlushSite("example.org".into())),
            ("-qI4F1AB2", Mode::FlushId("4F1AB2".into())),
            ("-I", Mode::Aliases),
            ("-bv x", Mode::Verify),
        ] {
            assert_eq!(of(line).mode, mode, "{line}");
        }
        assert_eq!(read("mailq", &[]).unwrap().mode, Mode::List);
        for bad in [
            "-Q",
            "-bz",
            "-qR",
            "-qS",
            "-B FOO",
            "-f",
            "-bv -t",
            "-bv -N never x",
            "-R full -bv x",
            "-bv -v x",
        ] {
            assert!(read("sendmail", &words(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn wrong_values_are_ignored_aloud() {
        let o = of("-N success,delay -R hdrs -V id1 x");
        assert_eq!(o.notify, Some(Notify { success: true, delay: true, ..Notify::default() }));
        assert_eq!((o.ret, o.envid.as_deref(), o.warnings.len()), (Some(Ret::Headers), Some("id1"), 0));
        for bad in ["-N foo x", "-N never,success x", "-R foo x", "-V ñ x"] {
            assert_eq!(of(bad).warnings.len(), 1, "{bad}");
        }
    }
}
