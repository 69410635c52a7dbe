//! The words behind `valija relay`.

use super::super::names::RelayHost;

/// How the command is used.
pub(super) const USAGE: &str = "\
usage: valija relay set HOST [flags]     try HOST with a test message; if that works, use it
       valija relay test [flags]         try the relay host that main.cf names; write nothing
       valija relay show                 what is in force
       valija relay unset                deliver directly again; the password is removed
HOST is mail.example.net, [mail.example.net]:587 (no MX lookup) or [192.0.2.1]:25.
  --user NAME            log in as NAME; the password is asked for, or read from standard input
  --password-file FILE   take the password from the first line of FILE
  --no-login             log in not at all
  --sender ADDRESS       who the test message is from
  --to ADDRESS           who gets it
  --accept-certificate   go on although the server's certificate cannot be verified
  --without-tls          send the password although the server does not encrypt
  --tls-at-once          TLS from the first byte, as on port 465, on another port
  --config DIR           where main.cf is, if not in /etc/postfix
";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Set,
    Test,
    Show,
    Unset,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) action: Option<Action>,
    pub(super) relay: Option<RelayHost>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) no_login: bool,
    pub(super) sender: Option<String>,
    pub(super) to: Option<String>,
    pub(super) accept_certificate: bool,
    pub(super) without_tls: bool,
    pub(super) tls_at_once: bool,
    pub(super) directory: Option<String>,
}

/// Reads the words.
pub(super) fn read(args: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = args.iter();
    let mut places = Vec::new();
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_string())),
            _ => (word.as_str(), None),
        };
        if matches!(flag, "--no-login" | "--accept-certificate" | "--without-tls" | "--tls-at-once")
            && inline.is_some()
        {
            return Err(format!("{flag} takes no value"));
        }
        let mut value = || {
            let text = inline.clone().or_else(|| words.next().cloned());
            text.filter(|t| !t.is_empty()).ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag {
            "--user" => options.user = Some(user(&value()?)?),
            "--password-file" => options.password_file = Some(value()?),
            "--password" => {
                return Err("a password on the command line is seen by every user of this host; leave it \
                            out to be asked, or use --password-file"
                    .into());
            }
            "--sender" => options.sender = Some(address(&value()?)?),
            "--to" => options.to = Some(address(&value()?)?),
            "--config" => options.directory = Some(value()?),
            "--no-login" => options.no_login = true,
            "--accept-certificate" => options.accept_certificate = true,
            "--without-tls" => options.without_tls = true,
            "--tls-at-once" => options.tls_at_once = true,
            _ if flag.starts_with("--") => return Err(format!("unknown flag {flag}")),
            _ => places.push(word.clone()),
        }
    }
    let mut places = places.into_iter();
    options.action = match places.next().as_deref() {
        Some("set") => Some(Action::Set),
        Some("test") => Some(Action::Test),
        Some("show") => Some(Action::Show),
        Some("unset") => Some(Action::Unset),
        Some(other) => return Err(format!("{other:?}: the word is set, test, show or unset")),
        None => return Err("say what to do: set HOST, test, show or unset".into()),
    };
    if options.action == Some(Action::Set) {
        let text =
            places.next().ok_or("set which relay host? Write valija relay set [mail.example.net]:587")?;
        options.relay = Some(RelayHost::read(&text)?);
    }
    if let Some(more) = places.next() {
        return Err(format!("what is {more:?}? One relay host at a time"));
    }
    if options.no_login && (options.user.is_some() || options.password_file.is_some()) {
        return Err("--no-login and --user exclude each other".into());
    }
    if options.password_file.is_some() && options.user.is_none() {
        return Err("--password-file needs --user NAME too".into());
    }
    Ok(options)
}

/// A user name that a row of the password table can hold.
pub(super) fn user(text: &str) -> Result<String, String> {
    let odd = |c: char| c.is_control() || c == ':';
    match text.trim() {
        "" => Err("the user name is empty".into()),
        name if name.contains(odd) => Err(format!(
            "the user name {name:?} contains a colon or a control character, which the table cannot hold"
        )),
        name => Ok(name.to_string()),
    }
}

/// A password that a row of the password table can hold.
pub(super) fn password(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the password is empty".into());
    }
    if text.trim() != text || text.contains(char::is_control) {
        return Err("the password begins or ends with white space, or contains a control character; \
                    the table cannot hold that"
            .into());
    }
    Ok(text.to_string())
}

/// An address for the envelope.
pub(super) fn address(text: &str) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("{text:?} is no address: {what}"));
    let Some((local, domain)) = text.rsplit_once('@') else { return wrong("there is no @") };
    if local.is_empty() || local.len() > 64 {
        return wrong("what stands before the @ is empty or too long");
    }
    if local.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"()[],;:\\".contains(c)) {
        return wrong("it contains a character that may not stand there");
    }
    let literal = domain.starts_with('[') && domain.ends_with(']');
    if !literal || domain.contains(|c: char| c.is_whitespace() || c.is_control() || "<>".contains(c)) {
        super::super::names::host_name(domain)?;
    }
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<Options, String> {
        read(&words.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn words() {
        let o = of("set [a.example]:587 --user u@a.example --to=x@y.example --accept-certificate").unwrap();
        assert_eq!(o.relay.unwrap().to_string(), "[a.example]:587");
        assert_eq!((o.user.as_deref(), o.accept_certificate), (Some("u@a.example"), true));
        assert_eq!(of("show").unwrap().action, Some(Action::Show));
        for (words, why) in [
            ("set", "set which relay host"),
            ("sit a", "set, test, show or unset"),
            ("set a b", "One relay host"),
            ("set a --password x", "seen by every user"),
            ("set a --password=x", "seen by every user"),
            ("set a --no-login --user x", "exclude"),
            ("set a --password-file x", "--user"),
            ("set a --user x:y", "colon"),
            ("set a --to x", "no @"),
            ("set a --to x@<y>", "no host name"),
            ("set a --no-login=1", "takes no value"),
            ("set a --frob", "unknown flag"),
            ("set [a]junk", "only :port"),
        ] {
            let said = of(words).unwrap_err();
            assert!(said.contains(why), "{words}: {said}");
        }
        assert!(address("a@b.example\r\nRCPT TO:<c>").is_err());
        assert!(password(" x").is_err() && password("x\ny").is_err() && password("").is_err());
        assert_eq!(password("a b:#c").unwrap(), "a b:#c");
    }
}
