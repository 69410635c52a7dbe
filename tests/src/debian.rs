//! The configuration that Debian's package writes, by the rules of its installation: the four types of `main.cf`, and
//! editing by name as `postconf -e` does. The texts are an interface: valija must start with them unchanged.

/// The answer to "General type of mail configuration".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// "Internet Site".
    InternetSite,
    /// "Internet with smarthost".
    Smarthost,
    /// "Satellite system".
    Satellite,
    /// "Local only".
    LocalOnly,
}

/// What the installation knows and asks.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The type of configuration.
    pub kind: Kind,
    /// `hostname --fqdn`.
    pub fqdn: String,
    /// `/etc/mailname`.
    pub mailname: String,
    /// The relay host; empty means Debian's default for the type.
    pub relayhost: String,
    /// Whether `/usr/bin/procmail` was there.
    pub procmail: bool,
    /// Whether the self-signed key of `ssl-cert` was there.
    pub tls: bool,
}

const HEAD: &str = "# See /usr/share/postfix/main.cf.dist for a commented, more complete version


# Debian specific:  Specifying a file name will cause the first
# line of that file to be used as the name.  The Debian default
# is /etc/mailname.
#myorigin = /etc/mailname

smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no

# appending .domain is the MUA's job.
append_dot_mydomain = no

# Uncomment the next line to generate \"delayed mail\" warnings
#delay_warning_time = 4h

readme_directory = no

# See http://www.postfix.org/COMPATIBILITY_README.html -- default to 3.6 on
# fresh installs.
compatibility_level = 3.6



";

const TLS: &str = "# TLS parameters
smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
smtpd_tls_security_level=may

smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache


";

/// The whole `main.cf` for these answers.
pub fn main_cf(answers: &Answers) -> String {
    let Answers { kind, fqdn, mailname, .. } = answers;
    let domain = fqdn.split_once('.').map_or("", |(_, domain)| domain);
    let destination = if *kind == Kind::InternetSite && mailname == fqdn {
        format!("$myhostname, {mailname}, localhost.{domain}, , localhost")
    } else if *kind == Kind::InternetSite {
        format!("$myhostname, {mailname}, {fqdn}, localhost.{domain}, localhost")
    } else if mailname == fqdn || fqdn.ends_with(&format!(".{mailname}")) {
        format!("$myhostname, {fqdn}, localhost.{domain}, localhost")
    } else {
        format!("{mailname}, $myhostname, {fqdn}, localhost.{domain}, localhost")
    };
    let relayhost = match kind {
        Kind::Smarthost | Kind::Satellite if answers.relayhost.is_empty() => format!("smtp.{domain}"),
        Kind::Smarthost | Kind::Satellite => answers.relayhost.clone(),
        Kind::InternetSite | Kind::LocalOnly => String::new(),
    };
    let interfaces = match kind {
        Kind::InternetSite | Kind::Smarthost => "all",
        Kind::Satellite | Kind::LocalOnly => "loopback-only",
    };
    let mut text = String::from(HEAD);
    if answers.tls {
        text.push_str(TLS);
    }
    text.push_str(
        "smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination\n",
    );
    text.push_str(&format!(
        "myhostname = {fqdn}\nalias_maps = hash:/etc/aliases\nalias_database = hash:/etc/aliases\n\
         myorigin = /etc/mailname\nmydestination = {destination}\nrelayhost = {relayhost}\n\
         mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128\n"
    ));
    if answers.procmail {
        text.push_str("mailbox_command = procmail -a \"$EXTENSION\"\n");
    }
    text.push_str(&format!(
        "mailbox_size_limit = 0\nrecipient_delimiter = +\ninet_interfaces = {interfaces}\n"
    ));
    if *kind == Kind::LocalOnly {
        text.push_str("default_transport = error\nrelay_transport = error\n");
    }
    text.push_str("inet_protocols = all\n");
    text
}

/// Applies the settings of `changes` to `text`: in place where the name is set already, else at the end.
pub fn edit(text: &str, changes: &str) -> String {
    let mut lines: Vec<String> = logical_lines(text);
    for change in logical_lines(changes) {
        let Some(name) = name_of(&change) else { continue };
        match lines.iter_mut().find(|line| name_of(line) == Some(name)) {
            Some(line) => *line = change.clone(),
            None => lines.push(change.clone()),
        }
    }
    lines.concat()
}

/// Lines with their continuation lines, each with its line ends.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        let continues = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        match lines.last_mut() {
            Some(last) if continues => last.push_str(line),
            _ => lines.push(line.to_string()),
        }
    }
    lines
}

fn name_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    (!line.starts_with('#')).then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(kind: Kind, mailname: &str) -> String {
        let text = main_cf(&Answers {
            kind,
            fqdn: "horus.example.org".into(),
            mailname: mailname.into(),
            relayhost: "mail.example.net".into(),
            procmail: false,
            tls: true,
        });
        text.split_once("myorigin = /etc/mailname\nmydestination").map(|(_, tail)| tail.to_string()).unwrap()
    }

    #[test]
    fn destinations_follow_the_type_and_the_mail_name() {
        for (kind, mailname, expected) in [
            (
                Kind::InternetSite,
                "example.org",
                "$myhostname, example.org, horus.example.org, localhost.example.org, localhost",
            ),
            (
                Kind::InternetSite,
                "horus.example.org",
                "$myhostname, horus.example.org, localhost.example.org, , localhost",
            ),
            (
                Kind::Smarthost,
                "example.org",
                "$myhostname, horus.example.org, localhost.example.org, localhost",
            ),
            (
                Kind::LocalOnly,
                "other.net",
                "other.net, $myhostname, horus.example.org, localhost.example.org, localhost",
            ),
        ] {
            assert!(tail(kind, mailname).starts_with(&format!(" = {expected}\n")), "{kind:?} {mailname}");
        }
    }

    #[test]
    fn local_only_ends_as_debian_writes_it() {
        assert!(tail(Kind::LocalOnly, "example.org").ends_with(
            "relayhost = \nmynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128\nmailbox_size_limit = 0\n\
             recipient_delimiter = +\ninet_interfaces = loopback-only\ndefault_transport = error\n\
             relay_transport = error\ninet_protocols = all\n"
        ));
    }

    #[test]
    fn edits_replace_in_place_and_append() {
        assert_eq!(edit("#a = 0\na = 1\n b\nc = 2\n", "a = 3\nd = 4\n"), "#a = 0\na = 3\nc = 2\nd = 4\n");
    }
}
