//! The words behind `valija setup`: the type of system and the flags, each checked as it is read.

use super::super::names::{RelayHost, host_name};
use super::host::NOT_A_MAIL_NAME;
use config::network::Network;
use config::value::split_list;

/// The five types that Debian's package offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Mail goes and comes directly.
    Internet,
    /// Mail comes directly and goes through a relay host.
    Smarthost,
    /// All mail goes to a relay host; nothing comes from the network.
    Satellite,
    /// Mail stays on this machine.
    Local,
    /// No configuration.
    None,
}

/// Each type: how it is called here, how Debian calls it, and what it means.
pub(super) const TYPES: [(Type, &str, &str, &str); 5] = [
    (Type::Internet, "internet", "Internet Site", "mail is sent and received directly, by SMTP"),
    (
        Type::Smarthost,
        "smarthost",
        "Internet with smarthost",
        "mail is received directly; what goes out goes through a relay host",
    ),
    (
        Type::Satellite,
        "satellite",
        "Satellite system",
        "nothing is received from the network; mail for elsewhere goes to a relay host",
    ),
    (Type::Local, "local", "Local only", "mail for the users of this machine; there is no network"),
    (Type::None, "none", "No configuration", "main.cf stays as it is, or absent"),
];

impl Type {
    /// Reads a type, by either of its names.
    pub(super) fn read(text: &str) -> Result<Type, String> {
        let known = TYPES.iter().find(|(_, name, title, _)| {
            name.eq_ignore_ascii_case(text.trim()) || title.eq_ignore_ascii_case(text.trim())
        });
        known.map(|(kind, ..)| *kind).ok_or_else(|| {
            let names: Vec<&str> = TYPES.iter().map(|(_, name, ..)| *name).collect();
            format!("{text:?} is no type of system; it is one of {}", names.join(", "))
        })
    }

    /// What Debian calls it.
    pub(super) fn title(self) -> &'static str {
        TYPES.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, _, title, _)| title)
    }

    /// Whether mail for elsewhere goes through a relay host.
    pub(super) fn relays(self) -> bool {
        matches!(self, Type::Smarthost | Type::Satellite)
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) kind: Option<Type>,
    pub(super) mail_name: Option<String>,
    pub(super) relay_host: Option<String>,
    pub(super) host_name: Option<String>,
    /// Where root's mail goes; empty for nowhere else.
    pub(super) root_mail: Option<String>,
    pub(super) destinations: Option<String>,
    pub(super) networks: Option<String>,
    pub(super) protocols: Option<String>,
    pub(super) mailbox_limit: Option<String>,
    pub(super) delimiter: Option<String>,
    pub(super) procmail: Option<bool>,
    pub(super) directory: Option<String>,
    pub(super) root: Option<String>,
    pub(super) yes: bool,
    pub(super) dry_run: bool,
}

/// How the command is used.
pub(super) const USAGE: &str = "\
usage: valija setup internet|smarthost|satellite|local|none [flags]
  --mailname NAME          what addresses of this host end in; kept in /etc/mailname
  --relayhost HOST         where mail for elsewhere goes: mail.example.net, [mail.example.net]:587
  --hostname NAME          this host's full name, if not as the system has it
  --root-mail ADDRESS      who reads root's mail (none: root)
  --destinations LIST      domains that are delivered on this host
  --networks LIST          networks whose hosts may send mail through this one
  --protocols LIST         all, ipv4 or ipv6
  --mailbox-limit BYTES    how large a mailbox may grow; 0: no limit
  --delimiter CHARACTER    what stands between a user name and its extension
  --procmail yes|no        deliver through procmail
  --config DIR             where main.cf and master.cf are, if not in /etc/postfix
  --root DIR               write below DIR, for an image or a container
  --dry-run                show what would change, and change nothing
  --yes                    ask nothing; take the proposed answers
";

/// Reads the words.
pub(super) fn read(args: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_string())),
            _ => (word.as_str(), None),
        };
        let mut value = || {
            let text = inline.clone().or_else(|| words.next().cloned());
            text.ok_or_else(|| format!("{flag} needs a value"))
        };
        let of = |what: &str| {
            let flag = flag.to_string();
            let what = what.to_string();
            move |why: String| format!("{flag}: {why}{what}")
        };
        match flag {
            "--mailname" => options.mail_name = Some(mail_name(&value()?).map_err(of(""))?),
            "--relayhost" => options.relay_host = Some(relay_hosts(&value()?).map_err(of(""))?),
            "--hostname" => {
                let name = value()?;
                host_name(&name).map_err(of(""))?;
                options.host_name = Some(name);
            }
            "--root-mail" => options.root_mail = Some(root_mail(&value()?).map_err(of(""))?),
            "--destinations" => options.destinations = Some(list(&value()?).map_err(of(""))?),
            "--networks" => options.networks = Some(networks(&value()?).map_err(of(""))?),
            "--protocols" => options.protocols = Some(protocols(&value()?).map_err(of(""))?),
            "--mailbox-limit" => {
                let text = value()?;
                let number: Result<u64, _> = text.parse();
                if !number.is_ok_and(|n| n <= i64::MAX as u64) {
                    return Err(format!("{flag}: {text:?} is no number of bytes"));
                }
                options.mailbox_limit = Some(text);
            }
            "--delimiter" => {
                let text = value()?;
                if text.chars().count() > 1 || text.contains(['@', '$', '#', ' ', '\n']) {
                    return Err(format!("{flag}: {text:?} is not one character, such as + or -"));
                }
                options.delimiter = Some(text);
            }
            "--procmail" => {
                options.procmail = match value()?.as_str() {
                    "yes" => Some(true),
                    "no" => Some(false),
                    other => return Err(format!("{flag}: write yes or no, not {other:?}")),
                }
            }
            "--config" => options.directory = Some(value()?),
            "--root" => options.root = Some(value()?),
            "--yes" | "--dry-run" if inline.is_some() => return Err(format!("{flag} takes no value")),
            "--yes" => options.yes = true,
            "--dry-run" => options.dry_run = true,
            _ if flag.starts_with('-') => return Err(format!("unknown flag {word}")),
            _ if options.kind.is_none() => options.kind = Some(Type::read(word)?),
            _ => return Err(format!("one type of system at a time; what is {word:?}?")),
        }
    }
    options.fit()?;
    Ok(options)
}

impl Options {
    /// Flags that the chosen type has no use for are a misunderstanding.
    fn fit(&self) -> Result<(), String> {
        if self.relay_host.is_some() && self.kind.is_some_and(|k| !k.relays() && k != Type::None) {
            let title = self.kind.map_or("", Type::title);
            return Err(format!(
                "--relayhost: a system of the type {title:?} has none; choose smarthost or satellite"
            ));
        }
        let given = [
            ("--mailname", self.mail_name.is_some()),
            ("--relayhost", self.relay_host.is_some()),
            ("--hostname", self.host_name.is_some()),
            ("--destinations", self.destinations.is_some()),
            ("--networks", self.networks.is_some()),
            ("--protocols", self.protocols.is_some()),
            ("--mailbox-limit", self.mailbox_limit.is_some()),
            ("--delimiter", self.delimiter.is_some()),
            ("--procmail", self.procmail.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) if self.kind == Some(Type::None) => Err(format!(
                "{flag}: the type none writes no main.cf; choose another type, or use postconf -e"
            )),
            _ => Ok(()),
        }
    }
}

/// A mail name.
pub(super) fn mail_name(text: &str) -> Result<String, String> {
    host_name(text)?;
    match NOT_A_MAIL_NAME.iter().find(|n| n.eq_ignore_ascii_case(text)) {
        Some(name) => Err(format!("{name} is not this host's; write the domain that its addresses end in")),
        None => Ok(text.to_string()),
    }
}

/// One relay host, or several with commas between them.
pub(super) fn relay_hosts(text: &str) -> Result<String, String> {
    let all: Result<Vec<String>, String> =
        text.split(',').map(|one| RelayHost::read(one.trim_start()).map(|r| r.to_string())).collect();
    Ok(all?.join(", "))
}

/// Who gets root's mail; `none` is nobody else.
pub(super) fn root_mail(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("none") {
        return Ok(String::new());
    }
    if text.eq_ignore_ascii_case("root") {
        return Err("root's mail cannot be sent on to root".into());
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"'<>()|;\\".contains(c);
    if text.split(',').any(|one| one.trim().is_empty() || one.trim().contains(odd)) {
        return Err(format!("{text:?} is no user or address; write jose, or jose@example.org"));
    }
    Ok(text.to_string())
}

/// Domains for `mydestination`.
fn list(text: &str) -> Result<String, String> {
    if let Some(odd) = text.chars().find(|c| c.is_control() || "<>\"';".contains(*c)) {
        return Err(format!("{text:?} contains {odd:?}"));
    }
    for word in split_list(text) {
        let plain = word.trim_start_matches('!');
        if plain.starts_with('/') || plain.contains(['$', ':', '[']) {
            continue;
        }
        host_name(plain.trim_start_matches('.'))?;
    }
    Ok(text.trim().to_string())
}

fn networks(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err(format!("{text:?} contains a control character"));
    }
    for word in split_list(text) {
        let plain = word.trim_start_matches('!');
        let table = plain.split_once(':').is_some_and(|(kind, _)| {
            kind.len() > 1 && !kind.starts_with('[') && u16::from_str_radix(kind, 16).is_err()
        });
        if !plain.starts_with('/') && !table {
            Network::read(plain).map_err(|why| {
                format!("{word:?} is no network: {why}; write 192.0.2.0/24, or [2001:db8::]/32")
            })?;
        }
    }
    Ok(text.trim().to_string())
}

fn protocols(text: &str) -> Result<String, String> {
    let words = split_list(text);
    let known = |w: &String| matches!(w.as_str(), "all" | "ipv4" | "ipv6");
    if words.is_empty() || !words.iter().all(known) || words.len() > 1 && words.iter().any(|w| w == "all") {
        return Err(format!("{text:?}; write all, ipv4, ipv6, or \"ipv4, ipv6\""));
    }
    Ok(text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<Options, String> {
        read(&words.split('|').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn types_by_either_name() {
        assert_eq!(of("satellite").unwrap().kind, Some(Type::Satellite));
        assert_eq!(of("Internet with smarthost").unwrap().kind, Some(Type::Smarthost));
        assert!(of("satelite").unwrap_err().contains("one of internet, smarthost"));
        assert!(of("local|internet").unwrap_err().contains("one type of system at a time"));
    }

    #[test]
    fn values() {
        let o = of("smarthost|--mailname|example.org|--relayhost=[mail.example.net]:587|--networks|10.0.0.0/8 [::1]/128|--procmail|no|--root-mail|NONE").unwrap();
        assert_eq!(o.relay_host.as_deref(), Some("[mail.example.net]:587"));
        assert_eq!((o.procmail, o.root_mail.as_deref()), (Some(false), Some("")));
        assert_eq!(of("satellite|--relayhost|a.b,c.d").unwrap().relay_host.as_deref(), Some("a.b, c.d"));
    }

    #[test]
    fn wrong_words_are_named() {
        for (words, why) in [
            ("local|--mailname|a b", "--mailname: \"a b\" is no host name: it contains white space"),
            ("local|--mailname|debian.org", "not this host's"),
            ("local|--relayhost|a.b", "has none; choose smarthost or satellite"),
            ("satellite|--relayhost|[mail.example.net] junk", "white space"),
            ("satellite|--relayhost|a.example junk", "white space"),
            ("satellite|--relayhost|", "empty"),
            ("satellite|--relayhost", "--relayhost needs a value"),
            ("internet|--hostname|-x", "hyphen"),
            ("internet|--networks|10.0.0.1/8", "the network is 10.0.0.0/8"),
            ("internet|--networks|lan", "no network"),
            ("internet|--protocols|ipv5", "ipv4"),
            ("internet|--mailbox-limit|lots", "no number"),
            ("internet|--mailbox-limit|-1", "no number"),
            ("internet|--delimiter|+-", "not one character"),
            ("internet|--destinations|a b@c", "no host name"),
            ("internet|--destinations|a\nb", "contains"),
            ("internet|--root-mail|a b", "no user or address"),
            ("internet|--root-mail|root", "root"),
            ("internet|--procmail|maybe", "yes or no"),
            ("internet|--nonsense", "unknown flag --nonsense"),
            ("none|--mailname|a.b", "writes no main.cf"),
            ("local|--yes=1", "takes no value"),
        ] {
            let said = of(words).unwrap_err();
            assert!(said.contains(why), "{words}: {said}");
        }
    }
}
