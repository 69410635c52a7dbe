//! master.cf: the services, with their settings.
//!
//! A line is read word by word; `{ … }` keeps words together. Of two lines for the same name and
//! type the last counts. Errors name file, line and remedy; what is odd but harmless is a warning.

use crate::lines::{self, is_space};
use crate::{Config, Problem};
use std::path::Path;

/// How a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A TCP port, `host:port` or `port`.
    Inet,
    /// A stream socket below the queue directory.
    Unix,
    /// A datagram socket there.
    UnixDgram,
    /// A named pipe there.
    Fifo,
    /// A stream socket there over which connections are handed.
    Pass,
}

impl Kind {
    /// The word of the second column.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Inet => "inet",
            Kind::Unix => "unix",
            Kind::UnixDgram => "unix-dgram",
            Kind::Fifo => "fifo",
            Kind::Pass => "pass",
        }
    }

    fn read(word: &str) -> Option<Kind> {
        [Kind::Inet, Kind::Unix, Kind::UnixDgram, Kind::Fifo, Kind::Pass]
            .into_iter()
            .find(|k| k.word() == word)
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: a socket's name, `port` or `host:port`.
    pub name: String,
    /// How it is reached.
    pub kind: Kind,
    /// The other columns as written: private, unprivileged, chroot, wakeup, process limit. `-` is
    /// the default.
    pub columns: [String; 5],
    /// The command and its arguments, `{…}` undone, without `-o` settings.
    pub argv: Vec<String>,
    /// The `-o` settings before expansion, in their order.
    pub overrides: Vec<(String, String)>,
    /// The line of the file where it begins.
    pub line: usize,
}

/// What was read from a master.cf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The services in the order of the file.
    pub all: Vec<Service>,
    /// What is odd without being an error; for the log.
    pub warnings: Vec<Problem>,
}

/// What a service listens on, when it is an `inet` one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The host as written; `None` for the addresses of `inet_interfaces`.
    pub host: Option<String>,
    /// A port number or the name of one.
    pub port: String,
}

impl Service {
    /// The first word of the command, for example `smtpd`.
    pub fn command(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// Whether its socket lies in `private/`. Default yes.
    pub fn private(&self) -> bool {
        self.columns[0] != "n"
    }

    /// Whether it runs as the mail owner. Default yes.
    pub fn unprivileged(&self) -> bool {
        self.columns[1] != "n"
    }

    /// Whether it asks to run chrooted. Default no since `compatibility_level` 1, as Postfix 3.0.
    pub fn chroot(&self, config: &Config) -> bool {
        match self.columns[2].as_str() {
            "y" => true,
            "n" => false,
            _ => config.compatibility_level().is_ok_and(|l| Some(l) < crate::Level::read("1")),
        }
    }

    /// Seconds between wake-ups and whether they start only after the first use (`?`).
    pub fn wakeup(&self) -> (u32, bool) {
        let text = &self.columns[3];
        let (number, lazy) = text.strip_suffix('?').map_or((text.as_str(), false), |n| (n, true));
        (number.parse().unwrap_or(0), lazy)
    }

    /// How many sessions or deliveries at a time; 0 for no limit, `None` for default_process_limit.
    pub fn process_limit(&self) -> Option<u32> {
        self.columns[4].parse().ok()
    }

    /// Where an `inet` service listens.
    pub fn listen(&self) -> Option<Listen> {
        (self.kind == Kind::Inet).then(|| listen(&self.name)).flatten()
    }

    /// main.cf as this service sees it: with its `-o` settings, `service_name` and `process_name`.
    pub fn config(&self, main: &Config) -> Config {
        let own = [("service_name", self.name.as_str()), ("process_name", self.command())];
        main.with(own.into_iter().chain(self.overrides.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
    }

    /// `name/type`, as postconf writes it.
    pub fn id(&self) -> String {
        format!("{}/{}", self.name, self.kind.word())
    }
}

/// `port`, `host:port`, `[host]:port`, `::1:smtp`.
fn listen(name: &str) -> Option<Listen> {
    let (host, port) = match name.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (Some(host), port.strip_prefix(':')?)
        }
        None => match name.rsplit_once(':') {
            Some((host, port)) => (Some(host), port),
            None => (None, name),
        },
    };
    let host = host.filter(|h| !h.is_empty()).map(str::to_string);
    (!port.is_empty()).then(|| Listen { host, port: port.to_string() })
}

/// Reads `directory/master.cf`.
pub fn load(directory: &Path) -> Result<Services, Vec<Problem>> {
    let file = directory.join("master.cf");
    match std::fs::read(&file) {
        Ok(bytes) => read(&file.display().to_string(), &String::from_utf8_lossy(&bytes)),
        Err(e) => Err(vec![Problem {
            place: None,
            name: None,
            what: format!("open {}: {}", file.display(), crate::main_cf::sys_text(&e)),
            remedy: "copy the one that comes with the package, or name its directory with -c".into(),
        }]),
    }
}

/// The same from text; `file` is named in problems.
pub fn read(file: &str, text: &str) -> Result<Services, Vec<Problem>> {
    let mut services = Services::default();
    let mut problems = Vec::new();
    for logical in lines::logical(text) {
        let place = Some((file.to_string(), logical.line));
        if logical.text.starts_with(is_space) {
            services.warnings.push(Problem {
                place,
                name: None,
                what: format!("logical line must not start with whitespace: {:?}", logical.text),
                remedy: "remove the white space before the service's name; the line has no effect".into(),
            });
            continue;
        }
        match service(&logical.text, logical.line) {
            Ok((new, odd)) => {
                services.warnings.extend(odd.into_iter().map(|p| Problem { place: place.clone(), ..p }));
                let same = |s: &Service| s.name == new.name && s.kind == new.kind;
                if let Some(at) = services.all.iter().position(same) {
                    services.all.remove(at);
                    services.warnings.push(Problem {
                        place,
                        name: Some(new.id()),
                        what: "duplicate service entry".into(),
                        remedy: "remove one of the two; the last one counts".into(),
                    });
                }
                services.all.push(new);
            }
            Err(p) => problems.push(Problem { place, ..p }),
        }
    }
    if problems.is_empty() { Ok(services) } else { Err(problems) }
}

const COLUMNS: [&str; 5] = ["private", "unprivileged", "chroot", "wakeup", "process_limit"];

fn service(text: &str, line: usize) -> Result<(Service, Vec<Problem>), Problem> {
    let words = words(text);
    let bad = |name: Option<&str>, what: String, remedy: &str| Problem {
        place: None,
        name: name.map(str::to_string),
        what,
        remedy: remedy.into(),
    };
    let [name, kind, private, unprivileged, chroot, wakeup, limit, command @ ..] = words.as_slice() else {
        let remedy =
            "write name, type, private, unprivileged, chroot, wakeup, process limit, command; - is a default";
        return Err(bad(None, "bad field count".into(), remedy));
    };
    if command.is_empty() {
        let remedy = "write the command behind the seven columns; a continued line begins with a space";
        return Err(bad(Some(name), "bad field count".into(), remedy));
    }
    let invalid = |field: &str, value: &str, remedy: &str| {
        Err(bad(Some(name), format!("invalid {field} field {value:?} in {text:?}"), remedy))
    };
    let Some(kind) = Kind::read(kind) else {
        return invalid("type", kind, "write inet, unix, unix-dgram, fifo or pass");
    };
    for (field, value) in COLUMNS.iter().zip([private, unprivileged, chroot]) {
        if !matches!(value.as_str(), "-" | "y" | "n") {
            return invalid(field, value, "write y, n or -");
        }
    }
    if kind == Kind::Inet {
        if private == "y" {
            return invalid("private", private, "an inet service cannot be private; write n");
        }
        if listen(name).is_none() {
            return invalid("service name", name, "write port, host:port or [address]:port");
        }
    }
    let number = |t: &str| t.bytes().all(|b| b.is_ascii_digit()) && t.parse::<i32>().is_ok();
    if wakeup != "-" && !number(wakeup.strip_suffix('?').unwrap_or(wakeup)) {
        return invalid("wakeup", wakeup, "write seconds, with a ? behind them perhaps, or -");
    }
    if limit != "-" && !number(limit) {
        return invalid("process_limit", limit, "write a number, 0 for no limit, or -");
    }
    let (argv, overrides, odd) = arguments(command);
    let odd = odd.into_iter().map(|what| bad(Some(name), what, "write -o name=value or -o { name = value }"));
    let odd = odd.collect();
    let columns = [private, unprivileged, chroot, wakeup, limit].map(String::clone);
    Ok((Service { name: name.clone(), kind, columns, argv, overrides, line }, odd))
}

type Arguments = (Vec<String>, Vec<(String, String)>, Vec<String>);

/// Separates `-o` settings from other words. Only those before the first word that is no option
/// count, as for the program: `pipe user=x argv=/y -o z` passes its `-o` on.
fn arguments(words: &[String]) -> Arguments {
    let (mut argv, mut overrides, mut odd) = (Vec::new(), Vec::new(), Vec::new());
    let mut words = words.iter();
    argv.extend(words.next().map(|w| unbraced(w, &mut odd)));
    let mut options = true;
    while let Some(word) = words.next() {
        let short = word.strip_prefix("-o").filter(|_| options);
        let Some(joined) = short else {
            options = options && word.starts_with('-');
            argv.push(unbraced(word, &mut odd));
            continue;
        };
        let value = if joined.is_empty() { words.next() } else { None };
        let text = match (joined, value) {
            ("", None) => {
                odd.push("-o lacks its name=value".to_string());
                continue;
            }
            ("", Some(value)) => unbraced(value, &mut odd),
            (joined, _) => joined.to_string(),
        };
        match lines::name_value(&text) {
            Ok((name, value)) => overrides.push((name.to_string(), value.to_string())),
            Err(what) => odd.push(format!("{what}: {text:?}")),
        }
    }
    (argv, overrides, odd)
}

/// The inside of `{ … }`, or the word as it is.
fn unbraced(word: &str, odd: &mut Vec<String>) -> String {
    let Some(rest) = word.strip_prefix('{') else { return word.to_string() };
    let inside = match rest.strip_suffix('}') {
        Some(inside) => inside,
        None => {
            odd.push(format!("missing '}}' or text after it in {word:?}"));
            rest.rsplit_once('}').map_or(rest, |(inside, _)| inside)
        }
    };
    inside.trim_matches(is_space).to_string()
}

/// Splits a line at white space; what stands in `{…}` stays together.
pub fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut depth = 0usize;
    for c in text.chars() {
        if depth == 0 && is_space(c) {
            if !word.is_empty() {
                out.push(std::mem::take(&mut word));
            }
            continue;
        }
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

#[cfg(test)]
mod tests;
