//! What is chosen on which host.

use super::super::plan::MASTER;
use super::*;

fn plan(main: &str, dovecot: Option<Dovecot>, words: &str) -> Result<(Plan, String), String> {
    let options = options(&words.split_whitespace().map(str::to_string).collect::<Vec<_>>())?;
    let main = format!("myhostname = mail.mail1.org\n{main}");
    let config = Config::from_text(Path::new("/nowhere"), &main).unwrap();
    let host = Host {
        directory: Path::new("/nowhere"),
        config: &config,
        main: main.as_bytes(),
        master: MASTER.as_bytes(),
        dovecot,
        root: Path::new("/nonexistent"),
    };
    let plan = host.plan(&options)?;
    assert_eq!(host.faults(&plan), Vec::<String>::new());
    let text = String::from_utf8(plan.main.clone()).unwrap();
    let new: String = text.lines().filter(|l| !main.contains(l)).map(|l| format!("{l}\n")).collect();
    Ok((plan, new))
}

fn offering() -> Option<Dovecot> {
    Some(Dovecot { path: Some("private/auth".into()), imap: true, pop3: false })
}

#[test]
fn login_by_whoever_knows_the_users() {
    let own = "smtpd_sasl_type = valija\n";
    let theirs = "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n";
    let chosen = |main: &str, dovecot: Option<Dovecot>, words: &str| {
        let (plan, new) = plan(main, dovecot, words).unwrap();
        let lines: String =
            new.lines().filter(|l| l.starts_with("smtpd_sasl")).map(|l| format!("{l}\n")).collect();
        (lines, plan.notes.join("\n"))
    };
    let (lines, notes) = chosen("", None, "");
    assert_eq!(lines, own);
    assert!(notes.contains("valija user add NAME"), "{notes}");
    assert_eq!(chosen("", offering(), "").0, theirs);
    assert_eq!(chosen("", offering(), "--login valija").0, own);
    assert_eq!(chosen("smtpd_sasl_type = cyrus\n", offering(), "").0, "");
    assert_eq!(chosen("smtpd_sasl_type = cyrus\n", offering(), "--login dovecot").0, theirs);
    let (lines, notes) = chosen("", Some(Dovecot::default()), "");
    assert_eq!(lines, own);
    assert!(notes.contains("unix_listener /var/spool/postfix/private/auth"), "{notes}");
    let back =
        chosen("smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n", None, "--login valija").0;
    assert_eq!(back, format!("{own}smtpd_sasl_path = smtpd\n"));
    assert!(plan("", None, "--login dovecot").err().unwrap().contains("not installed"));
    assert!(plan("", Some(Dovecot::default()), "--login dovecot").err().unwrap().contains("unix_listener"));
}

#[test]
fn without_a_certificate_the_server_makes_one() {
    let (plan, new) = plan("", None, "").unwrap();
    assert!(!new.contains("smtpd_tls"), "{new}");
    assert!(plan.certificate.contains("makes one") && plan.notes.iter().any(|n| n.contains("certbot")));
    assert!(String::from_utf8(plan.master).unwrap().contains("\nsubmission  inet n"));
    // Debian's, which is not there any more.
    let gone = "smtpd_tls_cert_file = /etc/ssl/certs/ssl-cert-snakeoil.pem\nsmtpd_tls_key_file = /k\n";
    let new = String::from_utf8(self::plan(gone, None, "").unwrap().0.main).unwrap();
    assert!(new.contains("smtpd_tls_cert_file = \nsmtpd_tls_key_file = $smtpd_tls_cert_file\n"), "{new}");
}

#[test]
fn wrong_words() {
    for (words, why) in [
        ("--login pam", "dovecot, valija or keep"),
        ("--cert cert.pem", "whole path"),
        ("--key /k", "goes with --cert"),
        ("--domain a_b", "no host name"),
        ("--dry-run=1", "takes no value"),
        ("internet", "what is \"internet\"?"),
    ] {
        let said = options(&words.split(' ').map(str::to_string).collect::<Vec<_>>()).unwrap_err();
        assert!(said.contains(why), "{words}: {said}");
    }
    assert!(plan("", None, "--cert /nonexistent").err().unwrap().contains("/nonexistent"));
}
