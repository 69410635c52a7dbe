//! The programs of the command line and of scripts, as a table.

use crate::host::{Logins, NAME, OTHER_NAME, RECIPIENT, SENDER};
use crate::letter::{self, ATTACHMENT_PATH, TEXT, TEXT_PATH};
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

const SERVICES: [(&str, u16, &str); 2] =
    [("starttls", 587, "postfix/submission/smtpd"), ("wrapped", 465, "postfix/smtps/smtpd")];

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
        for (tls, port, service) in SERVICES {
            let mut fail =
                |what: &str, why: String| failures.push(format!("{} on {port}, {what}: {why}", program.name));
            if let Err(why) = sends(world, logins, program, tls, port, service) {
                fail("right password", why);
            }
            if let Err(why) = is_refused(world, program, tls, port, service) {
                fail("wrong password", why);
            }
            if let Err(why) = does_not_trust(world, program, tls, port) {
                fail("wrong name", why);
            }
        }
        for method in program.methods {
            if logins == Logins::Own && method.eq_ignore_ascii_case("cram-md5") {
                continue; // needs passwords that are kept in the clear
            }
            if let Err(why) = speaks(world, logins, program, method) {
                failures.push(format!("{} with {method}: {why}", program.name));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn run(
    world: &World,
    program: &Program,
    tls: &str,
    port: u16,
    host: &str,
    subject: &str,
    password: &str,
    method: &str,
) -> Result<Output, String> {
    let (user, _) = SENDER;
    let (to, _) = RECIPIENT;
    let message = format!("/tmp/{}.eml", program.name);
    let text = format!(
        "From: <{user}@mail1.org>\nTo: <{to}@mail1.org>\nSubject: {subject}\nMessage-ID: <by-{}@client.example>\n\
         MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=part\n\n--part\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{TEXT}\n--part\n\
         Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n",
        program.name
    );
    std::fs::write(&message, text).map_err(|error| format!("{message}: {error}"))?;
    let command = format!(
        "export HOST={host} PORT={port} TLS={tls} LOGIN={user} PASSWORD='{password}' METHOD='{method}' SUBJECT='{subject}' \
         SENDER={user}@mail1.org RECIPIENT={to}@mail1.org TEXT={TEXT_PATH} ATTACHMENT={ATTACHMENT_PATH} MESSAGE=$HOME/message\n\
         (cat {message}; base64 <$ATTACHMENT; echo --part--) >$MESSAGE && send-with-{}",
        program.name
    );
    let began = std::time::Instant::now();
    let output = world.run(user, &command)?;
    println!("{subject}: {:.1} s", began.elapsed().as_secs_f64());
    Ok(output)
}

fn sends(
    world: &World,
    logins: Logins,
    program: &Program,
    tls: &str,
    port: u16,
    service: &str,
) -> Result<(), String> {
    let subject = format!("{} on {port}", program.name);
    let log = world.log.lines().len();
    let output = run(world, program, tls, port, NAME, &subject, SENDER.1, "")?;
    if output.status != 0 {
        return Err(format!("it ended with {} and said: {}", output.status, output.text));
    }
    let found = letter::read_back(world, logins, &subject, log)?;
    let mut problems = letter::problems(&found, service);
    if !found.has(program.mark) {
        problems.push(format!("it has no {:?}:\n{}", program.mark, found.text));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn is_refused(world: &World, program: &Program, tls: &str, port: u16, service: &str) -> Result<(), String> {
    let log = world.log.lines().len();
    let subject = format!("{} on {port} with a wrong password", program.name);
    let output = run(world, program, tls, port, NAME, &subject, "wrong", "")?;
    if output.status == 0 {
        return Err(format!("it thinks that it has sent: {}", output.text));
    }
    if !output.text.contains(program.refused) {
        return Err(format!("it does not say {:?} but: {}", program.refused, output.text));
    }
    let (user, _) = SENDER;
    world.log.wait("a line about the failed login", PATIENCE, |lines| {
        lines.iter().skip(log).any(|line| {
            line.tag == service
                && line.priority == 20
                && line.text.contains("]: SASL ")
                && line.text.contains(" authentication failed: ")
                && (line.text.ends_with(&format!(", sasl_username={user}")))
        })
    })?;
    no_mail(world, log)
}

fn does_not_trust(world: &World, program: &Program, tls: &str, port: u16) -> Result<(), String> {
    let Some(words) = program.wrong_name else { return Ok(()) };
    let log = world.log.lines().len();
    let subject = format!("{} on {port} with a wrong name", program.name);
    let output = run(world, program, tls, port, OTHER_NAME, &subject, SENDER.1, "")?;
    if output.status == 0 || !output.text.contains(words) {
        return Err(format!(
            "it ended with {} and does not say {words:?} but: {}",
            output.status, output.text
        ));
    }
    no_mail(world, log)
}

fn speaks(world: &World, logins: Logins, program: &Program, method: &str) -> Result<(), String> {
    let log = world.log.lines().len();
    let subject = format!("{} with {method}", program.name);
    let output = run(world, program, "starttls", 587, NAME, &subject, SENDER.1, method)?;
    if output.status != 0 {
        return Err(format!("it ended with {} and said: {}", output.status, output.text));
    }
    let found = letter::read_back(world, logins, &subject, log)?;
    let wanted = format!(", sasl_method={}, sasl_username=", method.to_uppercase());
    if !found.client.contains(&wanted) {
        return Err(format!("the log has no {wanted:?}: {}", found.client));
    }
    Ok(())
}

fn no_mail(world: &World, log: usize) -> Result<(), String> {
    match world.log.lines().iter().skip(log).find(|line| line.queue_id().is_some()) {
        Some(line) => Err(format!("there is a message in the queue all the same: {}", line.shown())),
        None => Ok(()),
    }
}
