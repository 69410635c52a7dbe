//! The DNS records by which mail programs find the services. RFC 6186, RFC 8314 5.1

use super::dovecot::Dovecot;

/// Records for the zone of `domain`, as text for a zone file, with a heading.
pub(super) fn of(domain: &str, host: &str, dovecot: Option<&Dovecot>) -> String {
    let mut services = vec![("submission", Some(587)), ("submissions", Some(465))];
    if let Some(dovecot) = dovecot {
        let port = |served: bool, number: u16| served.then_some(number);
        services.push(("imaps", port(dovecot.imap, 993)));
        services.push(("pop3s", port(dovecot.pop3, 995)));
    }
    let mut text =
        format!("Records for the zone of {domain}, so that mail programs find this host by themselves:\n");
    for (service, port) in services {
        let name = format!("_{service}._tcp.{domain}.");
        let value = match port {
            Some(port) => format!("0 1 {port} {host}."),
            // The service is not there: RFC 6186 3.4
            None => "0 0 0 .".to_string(),
        };
        text.push_str(&format!("  {name:<40} 3600 IN SRV {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let dovecot = Dovecot { path: None, imap: true, pop3: false };
        let text = of("mail1.org", "mail.mail1.org", Some(&dovecot));
        let lines: Vec<String> =
            text.lines().skip(1).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "_submission._tcp.mail1.org. 3600 IN SRV 0 1 587 mail.mail1.org.",
                "_submissions._tcp.mail1.org. 3600 IN SRV 0 1 465 mail.mail1.org.",
                "_imaps._tcp.mail1.org. 3600 IN SRV 0 1 993 mail.mail1.org.",
                "_pop3s._tcp.mail1.org. 3600 IN SRV 0 0 0 .",
            ]
        );
        assert_eq!(of("a.org", "b.org", None).lines().count(), 3);
    }
}
