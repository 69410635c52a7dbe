//! The two services in master.cf: what Debian has there as comments comes to life, what is there already stays,
//! what is missing is added at the end. All other lines stay as they are.

use config::master_cf::{self, Kind, Service};

/// One of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Port 587, with STARTTLS.
    Submission,
    /// Port 465, encrypted from the first byte. RFC 8314 3.3
    Submissions,
}

impl Which {
    /// What the port may be called.
    fn ports(self) -> &'static [&'static str] {
        match self {
            Which::Submission => &["submission", "587"],
            Which::Submissions => &["submissions", "smtps", "465"],
        }
    }

    /// What must be so for people to send by this service.
    fn needed(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Which::Submission => &[
                ("smtpd_tls_security_level", "encrypt"),
                ("smtpd_sasl_auth_enable", "yes"),
                ("smtpd_tls_auth_only", "yes"),
            ],
            Which::Submissions => &[("smtpd_tls_wrappermode", "yes"), ("smtpd_sasl_auth_enable", "yes")],
        }
    }

    /// The service with all its settings, as Debian's comments have it.
    fn whole(self) -> String {
        let (head, tag) = match self {
            Which::Submission => {
                ("submission inet n       -       y       -       -       smtpd", "submission")
            }
            Which::Submissions => {
                ("submissions     inet  n       -       y       -       -       smtpd", "submissions")
            }
        };
        let mut text = format!("{head}\n  -o syslog_name=postfix/{tag}\n");
        self.needed().iter().for_each(|(name, value)| text.push_str(&format!("  -o {name}={value}\n")));
        text.push_str(
            "  -o smtpd_reject_unlisted_recipient=no\n  -o smtpd_client_restrictions=\n  -o smtpd_helo_restrictions=\n  \
             -o smtpd_sender_restrictions=\n  -o smtpd_recipient_restrictions=\n  \
             -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n  \
             -o milter_macro_daemon_name=ORIGINATING\n",
        );
        text
    }
}

/// master.cf as it shall be, and what the administrator should know.
pub(super) fn with_services(text: &str) -> Result<(String, Vec<String>), String> {
    let (mut text, mut notes) = (text.to_string(), Vec::new());
    for which in [Which::Submission, Which::Submissions] {
        text = with_service(&text, which, &mut notes)?;
    }
    Ok((text, notes))
}

fn with_service(text: &str, which: Which, notes: &mut Vec<String>) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    if active(text, which)?.is_none() {
        match lines.iter().position(|l| is_comment_of(l, which)) {
            Some(at) => uncomment(&mut lines, at),
            None => lines.extend(which.whole().lines().map(str::to_string)),
        }
    }
    let text = joined(&lines);
    let Some(service) = active(&text, which)? else {
        return Err(format!("the service {} could not be added to master.cf", which.ports().concat()));
    };
    let set = |name: &str| service.overrides.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut missing = Vec::new();
    for (name, value) in which.needed() {
        match set(name) {
            None => missing.push(format!("  -o {name}={value}")),
            Some(now) if now.eq_ignore_ascii_case(value) => {}
            Some(now) => notes.push(format!(
                "master.cf: the service {} has {name}={now}; guides have {value} there, and it stays as it is",
                service.name
            )),
        }
    }
    let restricted =
        ["smtpd_relay_restrictions", "smtpd_recipient_restrictions", "smtpd_client_restrictions"];
    if !restricted.iter().any(|name| set(name).is_some_and(|v| v.contains("permit_sasl_authenticated"))) {
        // Written out: what is said of port 25 in main.cf is not meant for people who send.
        missing.push("  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject".into());
    }
    let end = end_of(&lines, service.line);
    lines.splice(end..end, missing);
    Ok(joined(&lines))
}

fn joined(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// The service that is there, for clients from everywhere.
fn active(text: &str, which: Which) -> Result<Option<Service>, String> {
    let services = master_cf::read("master.cf", text)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    Ok(services.all.into_iter().find(|s| {
        s.kind == Kind::Inet
            && s.listen().is_some_and(|l| l.host.is_none() && which.ports().contains(&l.port.as_str()))
    }))
}

/// Whether a line is the service, commented out.
fn is_comment_of(line: &str, which: Which) -> bool {
    let Some(rest) = line.strip_prefix('#') else { return false };
    let words: Vec<&str> = rest.split_whitespace().collect();
    matches!(words.as_slice(), [name, "inet", _, _, _, _, _, "smtpd"] if which.ports().contains(name))
}

/// Takes the mark off the service at `at` and off its settings; explanations between them stay comments.
fn uncomment(lines: &mut [String], at: usize) {
    for (number, line) in lines.iter_mut().enumerate().skip(at) {
        let Some(rest) = line.strip_prefix('#') else { return };
        let setting = rest.trim_start().strip_prefix("-o").is_some_and(|s| s.contains('='));
        if number > at && !rest.starts_with([' ', '\t']) {
            return;
        }
        if number == at || setting {
            *line = rest.to_string();
        }
    }
}

/// The line behind the service that begins on line `first` (counted from 1) and its settings.
fn end_of(lines: &[String], first: usize) -> usize {
    let mut end = first;
    for (number, line) in (1..).zip(lines).skip(first) {
        match line.chars().next() {
            Some(' ' | '\t') if !line.trim().is_empty() => end = number,
            Some('#') | None | Some(' ' | '\t') => {}
            Some(_) => break,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The services of a text, with their settings.
    fn of(text: &str) -> Vec<(String, usize)> {
        let services = master_cf::read("m", text).unwrap();
        services.all.iter().map(|s| (s.name.clone(), s.overrides.len())).collect()
    }

    #[test]
    fn debians_comments_come_to_life() {
        let debian = crate::commands::setup::plan::MASTER;
        let (new, notes) = with_services(debian).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        let (before, after) = (of(debian), of(&new));
        assert_eq!(after.len(), before.len() + 2);
        assert!(after.contains(&("submission".into(), 11)), "{after:?}");
        assert!(after.contains(&("submissions".into(), 10)), "{after:?}");
        assert!(new.contains("\n#127.0.0.1:submission inet"));
        assert!(new.contains("\n#     Empty: what main.cf asks"));
        assert_eq!(new.lines().count(), debian.lines().count(), "no line comes or goes");
        assert_eq!(with_services(&new).unwrap(), (new.clone(), vec![]), "the second time changes nothing");
        let bare: String = debian.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        let (new, _) = with_services(&bare).unwrap();
        assert!(new.starts_with(&bare), "what is there stays");
        assert_eq!(of(&new).len(), before.len() + 2);
        assert!(new.ends_with("-o milter_macro_daemon_name=ORIGINATING\n"));
    }

    #[test]
    fn what_an_administrator_made_stays() {
        let text = "smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n  -o syslog_name=x\n# why\n  \
                    -o smtpd_tls_security_level=may\n\nsmtps inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n  \
                    -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n\
                    pickup unix n - y 60 1 pickup\n";
        let (new, notes) = with_services(text).unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("smtpd_tls_security_level=may"), "{notes:?}");
        assert_eq!(of(&new).len(), 4);
        let block = "  -o smtpd_tls_security_level=may\n  -o smtpd_sasl_auth_enable=yes\n  -o smtpd_tls_auth_only=yes\n  \
                     -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n\nsmtps";
        assert!(new.contains(block), "{new}");
        assert!(new.ends_with("permit_sasl_authenticated,reject\npickup unix n - y 60 1 pickup\n"), "{new}");
        assert_eq!(with_services(&new).unwrap().0, new);
    }

    #[test]
    fn older_comments_of_debian() {
        let text = "#smtps     inet  n       -       y       -       -       smtpd\n#  -o syslog_name=postfix/smtps\n\
                    #  -o smtpd_tls_wrappermode=yes\n#  -o smtpd_client_restrictions=$mua_client_restrictions\n\
                    #  -o smtpd_recipient_restrictions=\n#  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n\
                    #628       inet  n       -       y       -       -       qmqpd\n";
        let (new, _) = with_services(text).unwrap();
        assert_eq!(of(&new), [("smtps".to_string(), 6), ("submission".to_string(), 11)], "{new}");
        assert!(new.contains("\n#628 "));
        assert!(with_services("smtp inet\n").is_err());
    }
}
