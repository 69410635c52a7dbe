//! What Dovecot on this host offers: a socket for logins, and services for reading mail. Its configuration
//! is read by its own program.

use std::path::Path;
use std::process::{Command, Stdio};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dovecot {
    /// `smtpd_sasl_path` for it, when it offers a socket.
    pub(super) path: Option<String>,
    /// It serves IMAP.
    pub(super) imap: bool,
    /// It serves POP3.
    pub(super) pop3: bool,
}

/// What to write for it where it offers no socket.
pub(super) const REMEDY: &str =
    "Dovecot is installed but offers no socket for logins. To use its users, put this \
into /etc/dovecot/conf.d/10-master.conf, in \"service auth\", restart it and run this again:
    unix_listener /var/spool/postfix/private/auth {
      mode = 0660
      user = postfix
      group = postfix
    }";

/// Asks the program; `None` when it is not there or says nothing.
pub(super) fn look(queue_directory: &Path) -> Option<Dovecot> {
    let asked = ["/usr/bin/doveconf", "/usr/local/bin/doveconf"].iter().find_map(|program| {
        let out = Command::new(program).arg("-n").stdin(Stdio::null()).stderr(Stdio::null()).output();
        out.ok().filter(|o| o.status.success())
    })?;
    Some(read(&String::from_utf8_lossy(&asked.stdout), queue_directory))
}

/// Reads what `doveconf -n` says.
fn read(text: &str, queue_directory: &Path) -> Dovecot {
    let mut found = Dovecot::default();
    let mut blocks: Vec<String> = Vec::new();
    let mut inet: Option<(String, String)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_suffix('{') {
            let head = head.trim();
            if blocks == ["service auth"] {
                if let Some(path) = head.strip_prefix("unix_listener ") {
                    found.offer(path.trim(), queue_directory);
                }
                if head.starts_with("inet_listener") {
                    inet = Some(Default::default());
                }
            }
            blocks.push(head.to_string());
        } else if line == "}" {
            if blocks.len() == 2
                && let Some((address, port)) = inet.take()
                && !port.is_empty()
                && found.path.is_none()
            {
                let host = if matches!(address.as_str(), "" | "*" | "::") { "127.0.0.1" } else { &address };
                found.path = Some(format!("inet:{host}:{port}"));
            }
            blocks.pop();
        } else if let Some((name, value)) = line.split_once('=') {
            let (name, value) = (name.trim(), value.trim().trim_matches('"').trim());
            match (name, &mut inet) {
                ("address", Some((address, _))) => *address = value.to_string(),
                ("port", Some((_, port))) => *port = value.to_string(),
                ("protocols", _) if blocks.is_empty() => {
                    found.imap = value.split_whitespace().any(|p| p == "imap");
                    found.pop3 = value.split_whitespace().any(|p| p == "pop3");
                }
                _ => {}
            }
        }
    }
    found
}

impl Dovecot {
    /// A socket that the mail system can reach: not those that Dovecot's own programs have.
    fn offer(&mut self, path: &str, queue_directory: &Path) {
        let own = ["auth-userdb", "auth-client", "auth-master", "auth-login", "login"];
        if !path.starts_with('/') || own.iter().any(|o| path.ends_with(&format!("/{o}"))) {
            return;
        }
        let inside = Path::new(path).strip_prefix(queue_directory).ok().and_then(|p| p.to_str());
        self.path = Some(inside.unwrap_or(path).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_doveconf_says() {
        let of = |text: &str| read(text, Path::new("/var/spool/postfix"));
        let text = "# 2.3.19.1\nprotocols = \" imap lmtp\"\nservice auth {\n  unix_listener /var/spool/postfix/private/auth {\n    \
                    group = postfix\n    mode = 0660\n  }\n  unix_listener auth-userdb {\n    mode = 0600\n  }\n}\n\
                    service lmtp {\n  unix_listener /var/spool/postfix/private/dovecot-lmtp {\n    mode = 0600\n  }\n}\n";
        assert_eq!(of(text), Dovecot { path: Some("private/auth".into()), imap: true, pop3: false });
        let text = "service auth {\n  inet_listener {\n    port = 12345\n  }\n}\n";
        assert_eq!(of(text).path.as_deref(), Some("inet:127.0.0.1:12345"));
        let text = "service auth {\n  inet_listener auth-inet {\n    address = 10.0.0.1\n    port = 12345\n  }\n  unix_listener /srv/auth-x {\n  }\n}\n";
        assert_eq!(of(text).path.as_deref(), Some("/srv/auth-x"));
        assert_eq!(
            of("passdb {\n  driver = pam\n}\nprotocols = imap pop3\n"),
            Dovecot { path: None, imap: true, pop3: true }
        );
        assert_eq!(of("}}{{\n}\n{\nport=\n"), Dovecot::default());
        assert_eq!(of("service auth {\n unix_listener /var/run/dovecot/auth-master {\n }\n}\n").path, None);
    }
}
