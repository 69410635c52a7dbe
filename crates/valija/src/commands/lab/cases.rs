//! The five cases of the course: what is typed where, and what must come of it.

/// A case.
pub(super) struct Case {
    pub(super) number: u8,
    pub(super) title: &'static str,
    /// The hosts that must be up.
    pub(super) hosts: &'static [&'static str],
    pub(super) steps: &'static [Step],
}

/// One thing in it.
pub(super) enum Step {
    /// A few words on what comes.
    Say(&'static str),
    /// A command line on a host, typed by a user; it must end well.
    Type { on: &'static str, user: &'static str, line: &'static str },
    /// A dialogue with a server, typed on a host; each reply must begin as written.
    Talk { on: &'static str, to: &'static str, script: &'static str },
    /// A line with these words must come into the log of a host.
    Logged { on: &'static str, words: &'static [&'static str] },
    /// The last message in a mailbox, which must contain a text.
    Mailbox { on: &'static str, user: &'static str, contains: &'static str },
}

use Step::{Logged, Mailbox, Say, Talk, Type};

pub(super) const CASES: [Case; 5] = [
    Case {
        number: 1,
        title: "Local mail: from one user of a server to another",
        hosts: &["mail1"],
        steps: &[
            Say("A session typed on the server itself, as with `telnet localhost 25`:"),
            Talk {
                on: "mail1",
                to: "127.0.0.1",
                script: "S: 220
C: HELO mail.mail1.org
S: 250
C: mail from: jose@mail1.org
S: 250 2.1.0
C: rcpt to: usuario@mail1.org
S: 250 2.1.5
C: data
S: 354
C: from: jose@mail1.org
C: to: usuario@mail1.org
C: subject: Prueba envio local
C:
C: hola que tal
C: .
S: 250 2.0.0 Ok: queued as
C: QUIT
S: 221",
            },
            Logged { on: "mail1", words: &["to=<usuario@mail1.org>", "relay=local", "status=sent"] },
            Mailbox { on: "mail1", user: "usuario", contains: "hola que tal" },
            Say("The same with the command `mail`:"),
            Type { on: "mail1", user: "jose", line: "echo hola | mail -s \"Prueba con mail\" alumno" },
            Logged { on: "mail1", words: &["to=<alumno@mail1.org>", "orig_to=<alumno>", "status=sent"] },
            Mailbox { on: "mail1", user: "alumno", contains: "Prueba con mail" },
        ],
    },
    Case {
        number: 2,
        title: "Through a relay host: a satellite, its server, the relay host, the destination",
        hosts: &["maquina", "horus", "smarthost", "mail2"],
        steps: &[
            Say("horus hands everything that is not its own to the relay host:"),
            Type { on: "horus", user: "root", line: "postconf relayhost mydestination" },
            Type {
                on: "horus",
                user: "debian",
                line: "echo Que tal | mail -s Hola josedom24@josedomingo.org",
            },
            Logged {
                on: "horus",
                words: &[
                    "to=<josedom24@josedomingo.org>",
                    "relay=mail.gonzalonazareno.org[10.77.3.10]:25",
                    "status=sent",
                ],
            },
            Logged {
                on: "smarthost",
                words: &["to=<josedom24@josedomingo.org>", "relay=mail.mail2.org[", "status=sent"],
            },
            Mailbox { on: "mail2", user: "josedom24", contains: "Que tal" },
            Say("A satellite of the local network hands all its mail to horus:"),
            Type {
                on: "maquina",
                user: "debian",
                line: "echo disco lleno | mail -s Aviso josedom24@josedomingo.org",
            },
            Logged {
                on: "maquina",
                words: &["relay=horus.gonzalonazareno.org[10.77.1.30]:25", "status=sent"],
            },
            Mailbox { on: "mail2", user: "josedom24", contains: "disco lleno" },
        ],
    },
    Case {
        number: 3,
        title: "Direct delivery: one server finds the other by DNS",
        hosts: &["mail1", "mail2"],
        steps: &[
            Type { on: "mail1", user: "jose", line: "echo hola | mail -s Prueba usuario@mail2.org" },
            Logged {
                on: "mail1",
                words: &["to=<usuario@mail2.org>", "relay=mail.mail2.org[", "status=sent"],
            },
            Mailbox { on: "mail2", user: "usuario", contains: "Subject: Prueba" },
            Say("And back:"),
            Type {
                on: "mail2",
                user: "usuario",
                line: "echo igualmente | mail -s \"Re: Prueba\" jose@mail1.org",
            },
            Logged { on: "mail1", words: &["to=<jose@mail1.org>", "relay=local", "status=sent"] },
            Mailbox { on: "mail1", user: "jose", contains: "igualmente" },
            Say("An address that mail2 does not know: the message comes back."),
            Type { on: "mail1", user: "alumno", line: "echo hola | mail -s Prueba nadie@mail2.org" },
            Logged { on: "mail1", words: &["to=<nadie@mail2.org>", "550 5.1.1", "status=bounced"] },
            Mailbox { on: "mail1", user: "alumno", contains: "Undelivered Mail Returned to Sender" },
        ],
    },
    Case {
        number: 4,
        title: "A client of the local network sends through the network's server",
        hosts: &["pc20", "avatar", "mail2"],
        steps: &[
            Say("pc20 has no mail system; it talks to avatar, whose mynetworks includes it:"),
            Type { on: "avatar", user: "root", line: "postconf mynetworks" },
            Talk {
                on: "pc20",
                to: "192.168.1.1",
                script: "S: 220 avatar.doesntexist.org
C: HELO pc20.doesntexist.org
S: 250
C: MAIL FROM: jose@avatar.doesntexist.org
S: 250 2.1.0
C: RCPT TO: alumno@avatar.doesntexist.org
S: 250 2.1.5
C: RCPT TO: usuario@mail2.org
S: 250 2.1.5
C: DATA
S: 354
C: From: jose@avatar.doesntexist.org
C: To: alumno@avatar.doesntexist.org
C: Cc: usuario@mail2.org
C: Subject: Prueba desde el cliente
C:
C: hola desde la red
C: .
S: 250 2.0.0 Ok: queued as
C: QUIT
S: 221",
            },
            Logged { on: "avatar", words: &["client=pc20.doesntexist.org[192.168.1.20]"] },
            Logged {
                on: "avatar",
                words: &["to=<usuario@mail2.org>", "relay=mail.mail2.org[", "status=sent"],
            },
            Mailbox { on: "avatar", user: "alumno", contains: "hola desde la red" },
            Mailbox { on: "mail2", user: "usuario", contains: "hola desde la red" },
        ],
    },
    Case {
        number: 5,
        title: "relay_domains: mail from strangers for a domain of somebody else's",
        hosts: &["outside", "avatar", "mail2"],
        steps: &[
            Say("A stranger, outside of mynetworks, may not send through avatar:"),
            Type { on: "avatar", user: "root", line: "postconf -e relay_domains= && postfix reload" },
            Logged { on: "avatar", words: &["reload -- version"] },
            Talk {
                on: "outside",
                to: "10.77.1.40",
                script: "S: 220
C: EHLO pc.outside.org
S: 250
C: MAIL FROM:<alguien@outside.org>
S: 250
C: RCPT TO:<usuario@juntadeandalucia.es>
S: 454 4.7.1 <usuario@juntadeandalucia.es>: Relay access denied
C: QUIT
S: 221",
            },
            Logged {
                on: "avatar",
                words: &["reject: RCPT from pc.outside.org[10.77.9.9]", "Relay access denied"],
            },
            Say("Now avatar relays for this domain:"),
            Type {
                on: "avatar",
                user: "root",
                line: "postconf -e relay_domains=juntadeandalucia.es && postfix reload",
            },
            Logged { on: "avatar", words: &["reload -- version"] },
            Talk {
                on: "outside",
                to: "10.77.1.40",
                script: "S: 220
C: EHLO pc.outside.org
S: 250
C: MAIL FROM:<alguien@outside.org>
S: 250
C: RCPT TO:<usuario@juntadeandalucia.es>
S: 250 2.1.5
C: RCPT TO:<usuario@mail2.org>
S: 454 4.7.1
C: DATA
S: 354
C: From: alguien@outside.org
C: To: usuario@juntadeandalucia.es
C: Subject: reenvio
C:
C: hola de fuera
C: .
S: 250 2.0.0 Ok: queued as
C: QUIT
S: 221",
            },
            Logged {
                on: "avatar",
                words: &[
                    "postfix/relay/smtp",
                    "relay=mail.juntadeandalucia.es[10.77.2.10]:25",
                    "status=sent",
                ],
            },
            Mailbox { on: "mail2", user: "usuario", contains: "hola de fuera" },
        ],
    },
];

/// A case by its number.
pub(super) fn case(number: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.number.to_string() == number)
}

/// What a person types for each case, in short.
pub(super) fn guide() -> String {
    let mut text = String::new();
    for case in &CASES {
        text.push_str(&format!("Case {}: {}\n", case.number, case.title));
        for step in case.steps {
            match step {
                Type { on, user, line } => {
                    let as_user = if *user == "root" { String::new() } else { format!(" {user}") };
                    text.push_str(&format!("    valija lab enter {on}{as_user}\n        {line}\n"));
                }
                Talk { on, to, .. } => {
                    text.push_str(&format!(
                        "    valija lab enter {on}\n        valija lab talk {to}        (or telnet {to} 25, nc -C {to} 25)\n"
                    ));
                }
                Mailbox { on, user, .. } => {
                    text.push_str(&format!("    valija lab enter {on}\n        cat /var/mail/{user}\n"))
                }
                Say(_) | Logged { .. } => {}
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    #[test]
    fn cases_name_hosts_and_people_that_there_are() {
        for case in &CASES {
            for step in case.steps {
                let (on, user) = match step {
                    Say(_) => continue,
                    Type { on, user, .. } | Mailbox { on, user, .. } => (on, *user),
                    Talk { on, .. } | Logged { on, .. } => (on, "root"),
                };
                assert!(case.hosts.contains(on) && plan::host(on).is_some(), "case {}: {on}", case.number);
                assert!(user == "root" || plan::USERS.lines().any(|u| u.starts_with(&format!("{user}:"))));
            }
        }
        assert!(guide().contains("valija lab enter maquina debian"));
    }
}
