//! What to do about each kind of failure, in the administrator's words.

/// A step that failed: what the server or the system said, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Which step.
    pub(super) step: &'static str,
    /// The words of the server or the system.
    pub(super) what: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Trouble {
    pub(super) fn new(step: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Trouble {
        Trouble { step, what: what.into(), remedy: remedy.into() }
    }
}

/// What well-known providers ask for instead of the password of the account.
const PROVIDERS: [(&str, &str); 14] = [
    (
        "gmail.com",
        "Google takes an app password here, not the account's: turn on two-step verification and make one at myaccount.google.com/apppasswords",
    ),
    (
        "googlemail.com",
        "Google takes an app password here, not the account's: make one at myaccount.google.com/apppasswords",
    ),
    (
        "office365.com",
        "Microsoft 365 takes passwords only when an administrator has allowed authenticated SMTP for the mailbox; otherwise it wants OAuth2",
    ),
    ("outlook.com", "Outlook.com no longer takes passwords here, only OAuth2; use another relay host"),
    ("hotmail.com", "Outlook.com no longer takes passwords here, only OAuth2; use another relay host"),
    ("yahoo.com", "Yahoo takes an app password here, not the account's: make one under Account security"),
    ("aol.com", "AOL takes an app password here, not the account's: make one under Account security"),
    ("me.com", "iCloud takes an app-specific password here: make one at account.apple.com"),
    ("fastmail.com", "Fastmail takes an app password here: make one under Privacy & Security"),
    ("zoho.com", "Zoho takes an application-specific password here when two-factor login is on"),
    ("amazonaws.com", "Amazon SES takes SMTP credentials made in its console, not an access key"),
    ("sendgrid.net", "SendGrid's user name is the word apikey, the password an API key"),
    ("gmx.net", "GMX lets programs in only after POP3/IMAP access was turned on in its settings"),
    ("web.de", "WEB.DE lets programs in only after POP3/IMAP access was turned on in its settings"),
];

/// What a provider is known for.
fn provider(host: &str) -> Option<&'static str> {
    let host = host.to_ascii_lowercase();
    let under = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    PROVIDERS.iter().find(|(domain, _)| under(domain)).map(|(_, advice)| *advice)
}

/// No connection came about.
pub(super) fn connection(host: &str, port: u16, refused: bool) -> String {
    let others: Vec<String> =
        [587_u16, 465, 25].iter().filter(|p| **p != port).map(|p| format!("[{host}]:{p}")).collect();
    let why = match (refused, port) {
        (true, _) => "nothing listens there, or a firewall refuses",
        (false, 25) => "many networks block outgoing port 25",
        (false, _) => "a firewall on the way may block the port",
    };
    format!("{why}; try {}", others.join(" or "))
}

/// The server did not greet.
pub(super) fn greeting(code: Option<u16>, wrapped: bool) -> String {
    match code {
        Some(421 | 450..460) => "the server is busy or keeps this host waiting; try again later".into(),
        Some(554) => {
            "the server does not talk to this host's address; ask its operator, or try port 587 with a login"
                .into()
        }
        _ if wrapped => "this may not be a mail server; ask its operator for host and port".into(),
        _ => {
            "this may not be a mail server, or one that wants TLS at once: add --tls-at-once, or try port 465"
                .into()
        }
    }
}

/// The login was refused.
pub(super) fn login(host: &str, code: u16, text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if code == 454 || code == 421 || lower.starts_with("4.") {
        return "the server cannot check passwords just now; try again later".into();
    }
    if code == 538 || lower.starts_with("5.7.11") {
        return "the server wants an encrypted session first; try port 587 or 465".into();
    }
    let known = provider(host).map(|p| format!(". {p}")).unwrap_or_default();
    let oauth = match lower.contains("oauth") || lower.contains("basic authentication is disabled") {
        true => "; the server says that it takes no passwords from programs",
        false => "",
    };
    format!("check the user name (often the whole address) and the password{oauth}{known}")
}

/// The sender was refused.
pub(super) fn sender(code: u16, logged_in: bool, offers_login: bool, sender: &str) -> String {
    match (code, logged_in, offers_login) {
        (400..500, ..) => "the server refuses for now; try again later".into(),
        (_, false, true) => "the server wants a login: add --user NAME".into(),
        (_, true, _) => {
            format!("the account may not send as {sender}; give --sender with an address of the account")
        }
        _ => format!("the server takes no mail from {sender}; give --sender with an address it accepts"),
    }
}

/// The recipient was refused.
pub(super) fn recipient(code: u16, logged_in: bool, offers_login: bool) -> String {
    match (code, logged_in, offers_login) {
        (400..500, ..) => "the server refuses for now (it may let new clients wait); try again in some minutes".into(),
        (_, false, true) => "the server passes mail on only after a login: add --user NAME".into(),
        (_, false, false) => {
            "the server does not pass mail on for this host; its operator must add this host's address to the networks it relays for, or give --to with an address it accepts".into()
        }
        (_, true, _) => "give --to with an address that exists".into(),
    }
}

/// The message was refused.
pub(super) fn message(code: u16) -> String {
    match code {
        400..500 => "the server refuses for now; try again later".into(),
        _ => {
            "read the server's words: it may want another sender (--sender), or a sender domain that it knows"
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits() {
        assert!(login("smtp.gmail.com", 535, "5.7.8 not accepted").contains("app password"));
        assert!(!login("smtp.notgmail.example", 535, "5.7.8 no").contains("app password"));
        assert!(login("a.example", 454, "4.7.0 try later").contains("later"));
        assert!(
            login("smtp.office365.com", 535, "5.7.139 basic authentication is disabled")
                .contains("no passwords")
        );
        assert!(connection("a.example", 25, false).contains("[a.example]:587"));
        assert!(!connection("a.example", 587, true).contains(":587"));
        assert!(recipient(554, false, true).contains("--user"));
        assert!(recipient(450, true, true).contains("some minutes"));
        assert!(sender(550, true, true, "a@b").contains("a@b"));
        assert!(greeting(None, false).contains("--tls-at-once"));
    }
}
