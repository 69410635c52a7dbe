//! The programs of the command line and of scripts, as a table.

use crate::host::{Logins, NAME, OTHER_NAME, RECIPIENT, SENDER};
use crate::letter::{self, ATTACHMENT_PATH, TEXT, TEXT_PATH};
use std::time::Instant;
use valija_tests::log::Line;
use valija_tests::scenario::Placed;
use valija_tests::world::{Output, PATIENCE, World};

/// A program that can send with a login over TLS.
struct Program {
    /// Its name, and that of the script that calls it.
    name: &'static str,
    script: &'static str,
    /// A header that shows that the letter is its work.
    mark: &'static str,
    /// What it tells the user of a wrong password.
    refused: &'static str,
    /// What it tells of a certificate that is for another name; none for one that does not look.
    wrong_name: Option<&'static str>,
    /// The mechanisms it can be told to use, with their names in the log.
    methods: &'static [&'static str],
}

const PROGRAMS: [Program; 7] = [
    Program {
        name: "swaks",
        script: include_str!("programs/swaks"),
        mark: "X-Mailer: swaks*",
        refused: "535 5.7.8 Error: authentication failed",
        wrong_name: None,
        methods: &["PLAIN", "LOGIN", "CRAM-MD5"],
    },
    Program {
        name: "msmtp",
        script: include_str!("programs/msmtp"),
        mark: "Message-ID: <by-msmtp@client.example>",
        refused: "535 5.7.8 Error: authentication failed",
        wrong_name: Some("The name in the certificate does not match the expected"),
        methods: &["plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"],
    },
    Program {
        name: "curl",
        script: include_str!("programs/curl"),
        mark: "Content-Type: multipart/mixed; boundary=\"------------------------*",
        refused: "Login denied",
        wrong_name: Some("no alternative certificate subject name matches"),
        methods: &["PLAIN", "LOGIN", "CRAM-MD5"],
    },
    Program {
        name: "smtplib",
        script: include_str!("programs/smtplib"),
        mark: "Content-Type: multipart/mixed; boundary=\"===============*",
        refused: "SMTPAuthenticationError: (535, b'5.7.8 Error: authentication failed",
        wrong_name: Some("Hostname mismatch"),
        methods: &[],
    },
    Program {
        name: "nodemailer",
        script: include_str!("programs/nodemailer"),
        mark: "Content-Type: multipart/mixed; boundary=\"--_NmP-*",
        refused: "Invalid login: 535 5.7.8 Error: authentication failed",
        wrong_name: Some("does not match certificate's altnames"),
        methods: &["PLAIN", "LOGIN", "CRAM-MD5"],
    },
    Program {
        name: "mutt",
        script: include_str!("programs/mutt"),
        mark: "User-Agent: Mutt/*",
        refused: "SASL authentication failed",
        wrong_name: Some("Untrusted server certificate"),
        methods: &["plain", "login", "cram-md5", "scram-sha-256"],
    },
    Program {
        name: "s-nail",
        script: include_str!("programs/s-nail"),
        mark: "User-Agent: s-nail*",
        refused: "535 5.7.8 Error: authentication failed",
        wrong_name: Some("certificate"),
        methods: &["plain", "login", "cram-md5"],
    },
];

/// Their executables.
pub const NEEDED: [&str; 9] = [
    "/usr/bin/swaks",
    "/usr/bin/msmtp",
    "/usr/bin/curl",
    "/usr/bin/python3",
    "/usr/bin/node",
    "/usr/share/nodejs/nodemailer/package.json",
    "/usr/bin/mutt",
    "/usr/bin/s-nail",
    "/usr/bin/openssl",
];

/// Where submission is offered.
pub struct Service {
    /// Its port.
    pub port: u16,
    /// `starttls` or `wrapped`.
    pub tls: &'static str,
    /// Its tag in the log.
    pub tag: &'static str,
}

/// Port 587.
pub const SUBMISSION: Service = Service { port: 587, tls: "starttls", tag: "postfix/submission/smtpd" };
/// Port 465.
pub const SUBMISSIONS: Service = Service { port: 465, tls: "wrapped", tag: "postfix/smtps/smtpd" };

impl Service {
    /// Whether this line says that the sender's login failed here.
    pub fn is_failed_login(&self, line: &Line) -> bool {
        line.tag == self.tag
            && line.priority == 20
            && line.text.contains("]: SASL ")
            && line.text.contains(" authentication failed: ")
            && line.text.ends_with(&format!(", sasl_username={}", SENDER.0))
    }
}

/// One call of a program.
struct Call<'a> {
    program: &'a Program,
    service: &'a Service,
    host: &'a str,
    password: &'a str,
    /// Empty: the program's choice.
    method: &'a str,
    subject: String,
}

/// What they find in the world.
pub fn files() -> Vec<Placed> {
    let mut files = letter::files();
    for program in &PROGRAMS {
        let path = format!("/usr/local/bin/send-with-{}", program.name).into();
        files.push(Placed { path, content: program.script.into(), executable: true });
    }
    files
}

/// Every program, on both ports: right password, wrong password, wrong name; and every mechanism.
pub fn all(world: &World, logins: Logins) -> Result<(), String> {
    let mut failures = Vec::new();
    for program in &PROGRAMS {
        for service in [&SUBMISSION, &SUBMISSIONS] {
            let subject = format!("{} on {}", program.name, service.port);
            let right = Call { program, service, host: NAME, password: SENDER.1, method: "", subject };
            let mut tried = |what: &str, result: Result<(), String>| {
                if let Err(why) = result {
                    failures.push(format!("{}, {what}: {why}", right.subject));
                }
            };
            tried("right password", right.sends(world, logins));
            let subject = format!("{}: wrong password", right.subject);
            tried("wrong password", Call { password: "wrong", subject, ..right }.is_refused(world));
            let subject = format!("{}: wrong name", right.subject);
            tried("wrong name", Call { host: OTHER_NAME, subject, ..right }.does_not_trust(world));
        }
        for method in program.methods {
            if logins == Logins::Own && method.eq_ignore_ascii_case("cram-md5") {
                continue; // needs passwords that are kept in the clear
            }
            let subject = format!("{} with {method}", program.name);
            let call =
                Call { program, service: &SUBMISSION, host: NAME, password: SENDER.1, method, subject };
            if let Err(why) = call.sends(world, logins) {
                failures.push(format!("{}: {why}", call.subject));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

impl Call<'_> {
    fn run(&self, world: &World) -> Result<Output, String> {
        let Call { program, service, host, password, method, subject } = self;
        let (user, _) = SENDER;
        let (to, _) = RECIPIENT;
        let name = program.name;
        let message = format!("/tmp/{name}.eml");
        let text = format!(
            "From: <{user}@mail1.org>\nTo: <{to}@mail1.org>\nSubject: {subject}\nMessage-ID: <by-{name}@client.example>\n\
             MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=part\n\n--part\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{TEXT}\n--part\n\
             Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
        );
        std::fs::write(&message, text).map_err(|error| format!("{message}: {error}"))?;
        let command = format!(
            "export HOST={host} PORT={} TLS={} LOGIN={user} PASSWORD='{password}' METHOD='{method}' SUBJECT='{subject}' \
             SENDER={user}@mail1.org RECIPIENT={to}@mail1.org TEXT={TEXT_PATH} ATTACHMENT={ATTACHMENT_PATH} MESSAGE=$HOME/message\n\
             (cat {message}; base64 <$ATTACHMENT; echo --part--) >$MESSAGE && send-with-{name}",
            service.port, service.tls
        );
        let began = Instant::now();
        let output = world.run(user, &command)?;
        println!("{subject}: {:.1} s", began.elapsed().as_secs_f64());
        Ok(output)
    }

    /// It sends, and what it sent is read back whole.
    fn sends(&self, world: &World, logins: Logins) -> Result<(), String> {
        let log = world.log.lines().len();
        let output = self.run(world)?;
        if output.status != 0 {
            return Err(format!("it ended with {} and said: {}", output.status, output.text));
        }
        let found = letter::read_back(world, logins, &self.subject, (TEXT_PATH, ATTACHMENT_PATH), log)?;
        let mut problems = letter::problems(&found, self.service.tag);
        if !found.has(self.program.mark) {
            problems.push(format!("it has no {:?}:\n{}", self.program.mark, found.text));
        }
        let method = format!(", sasl_method={}, sasl_username=", self.method.to_uppercase());
        if !self.method.is_empty() && !found.client.contains(&method) {
            problems.push(format!("the log has no {method:?}: {}", found.client));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// It is refused, and says so; the log says who tried.
    fn is_refused(&self, world: &World) -> Result<(), String> {
        let log = world.log.lines().len();
        let output = self.run(world)?;
        if output.status == 0 {
            return Err(format!("it thinks that it has sent: {}", output.text));
        }
        if !output.text.contains(self.program.refused) {
            return Err(format!("it does not say {:?} but: {}", self.program.refused, output.text));
        }
        world.log.wait("a line about the failed login", PATIENCE, |lines| {
            lines.iter().skip(log).any(|line| self.service.is_failed_login(line))
        })?;
        no_mail(world, log)
    }

    /// It does not talk to a host whose certificate is for another name: that it sends elsewhere is because it trusts.
    fn does_not_trust(&self, world: &World) -> Result<(), String> {
        let Some(words) = self.program.wrong_name else { return Ok(()) };
        let log = world.log.lines().len();
        let output = self.run(world)?;
        if output.status == 0 || !output.text.contains(words) {
            return Err(format!(
                "it ended with {} and does not say {words:?} but: {}",
                output.status, output.text
            ));
        }
        no_mail(world, log)
    }
}

fn no_mail(world: &World, log: usize) -> Result<(), String> {
    match world.log.lines().iter().skip(log).find(|line| line.queue_id().is_some()) {
        Some(line) => Err(format!("there is a message in the queue all the same: {}", line.shown())),
        None => Ok(()),
    }
}
