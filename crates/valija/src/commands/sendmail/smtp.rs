//! `sendmail -bs`: SMTP on standard input and output, into the maildrop.
//!
//! The machine is the server's own; who may send is decided already, since a local user who may
//! call sendmail may send to anyone. There are no timeouts: the other side is a program of the
//! same user.

use super::submit::{EX_CONFIG, Failure, Submission};
use super::text::{Endings, Text};
use cleanup::received::{self, Here};
use cleanup::{Origin, Source};
use config::Config;
use config::params::cleanup::Cleanup;
use config::params::main::Main;
use proto::Address;
use proto::date::DateTime;
use proto::envelope::Encoding;
use proto::record::{self, attribute, kind};
use proto::smtp::command::{Mail, Rcpt};
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Event, Session, Settings};
use std::io::{Read, Write};
use std::process::ExitCode;

/// Serves until QUIT or the end of input. `login`: who calls.
pub fn serve(config: &Config, login: String) -> Result<ExitCode, Failure> {
    let first = |p: Vec<config::Problem>| (EX_CONFIG, p.first().map(ToString::to_string).unwrap_or_default());
    let main = Main::load(config).map_err(first)?;
    let cleanup = Cleanup::load(config).map_err(first)?;
    let settings = Settings {
        hostname: main.myhostname().as_str().into(),
        size_limit: u64::try_from(*cleanup.message_size_limit()).unwrap_or(0),
        bare_newline: proto::smtp::data::BareNewline::Allow,
        line_limit: usize::try_from(*cleanup.line_length_limit()).unwrap_or(2048),
        ..Settings::default()
    };
    let mut session = Session::new(settings);
    let banner = config.get("smtpd_banner").unwrap_or_default();
    let banner =
        if banner.is_empty() { format!("{} ESMTP {}", main.myhostname(), main.mail_name()) } else { banner };
    session.greet(&Reply::new(220, banner));
    let mut driver =
        Driver { config, main: &main, login, helo: String::new(), extended: false, message: None };
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut piece = vec![0; 64 * 1024];
    loop {
        let mut open = true;
        while let Some(event) = session.next_event() {
            open &= !matches!(event, Event::Close(_));
            if let Some(decision) = driver.decide(event) {
                session.answer(decision);
            }
        }
        if output.write_all(session.output()).and_then(|()| output.flush()).is_err() {
            return Ok(ExitCode::SUCCESS); // nobody listens any more
        }
        session.sent();
        if !open {
            return Ok(ExitCode::SUCCESS);
        }
        match input.read(&mut piece) {
            Ok(0) => return Ok(ExitCode::SUCCESS),
            Ok(n) => session.receive(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err((super::EX_TEMPFAIL, format!("error reading input: {e}"))),
        }
    }
}

struct Driver<'a> {
    config: &'a Config,
    main: &'a Main,
    login: String,
    helo: String,
    extended: bool,
    message: Option<Message>,
}

struct Message {
    mail: Mail,
    recipients: Vec<Rcpt>,
    text: Text,
    submission: Option<Submission>,
}

impl Driver<'_> {
    fn decide(&mut self, event: Event<'_>) -> Option<Decision> {
        let decision = match event {
            Event::Helo { extended, name } => {
                (self.helo, self.extended) = (name, extended);
                Decision::Accept
            }
            Event::Mail(mail) => {
                let text = Text::new(false, false, Endings::Always);
                self.message = Some(Message { mail, recipients: Vec::new(), text, submission: None });
                Decision::Accept
            }
            Event::Rcpt(rcpt) => {
                self.message.as_mut()?.recipients.push(rcpt);
                Decision::Accept
            }
            Event::Data { .. } => match self.begin() {
                Ok(()) => Decision::Accept,
                Err(what) => {
                    eprintln!("sendmail: warning: {}: {what}", self.login);
                    Decision::Reply(Reply::new(451, "4.3.0 Error: queue file write error"))
                }
            },
            Event::Content(bytes) => {
                let message = self.message.as_mut()?;
                let mut records = Vec::new();
                message.text.feed(bytes, &mut records);
                message.submission.as_mut()?.write(&records);
                return None;
            }
            Event::EndOfMessage { .. } => Decision::Reply(self.end()),
            Event::Abort => {
                self.message = None;
                return None;
            }
            Event::Vrfy(..) => Decision::Accept,
            Event::Etrn(_) => Decision::Reply(Reply::new(458, "4.0.0 Unable to queue messages")),
            // Not asked for.
            Event::Unknown(_) => Decision::Accept,
            // Not offered: there is nobody to hide from.
            Event::StartTls => Decision::Reply(Reply::new(502, "5.5.1 Error: command not implemented")),
            // Nor this: everybody here is known.
            Event::Auth { .. } | Event::AuthResponse(_) => {
                Decision::Reply(Reply::new(503, "5.5.1 Error: authentication not enabled"))
            }
            Event::Xclient(_) | Event::Xforward(_) => {
                Decision::Reply(Reply::new(550, "5.7.0 Error: insufficient authorization"))
            }
            Event::Notice(_) | Event::Transcript(_) | Event::Close(_) => return None,
        };
        Some(decision)
    }

    /// The envelope, and the Received header that a server adds.
    fn begin(&mut self) -> Result<(), String> {
        let message = self.message.as_mut().ok_or("no transaction")?;
        let mut submission = Submission::start(self.config).map_err(|(_, what)| what)?;
        let mut out = Vec::new();
        let mail = &message.mail;
        if let Some(id) = &mail.envid {
            record::put_attribute(&mut out, attribute::ENVELOPE_ID, id);
        }
        if let Some(ret) = mail.ret {
            record::put_attribute(&mut out, attribute::RET_FLAGS, &record::ret_flags(ret).to_string());
        }
        record::put(&mut out, kind::SENDER, mail.sender.internal().as_bytes());
        match mail.encoding {
            Encoding::EightBit => record::put_attribute(&mut out, attribute::ENCODING, "8bit"),
            Encoding::SevenBit => record::put_attribute(&mut out, attribute::ENCODING, "7bit"),
            Encoding::Unknown => {}
        }
        if mail.smtputf8 {
            let wish = record::SMTPUTF8_REQUESTED.to_string();
            record::put_attribute(&mut out, attribute::SMTPUTF8, &wish);
        }
        for rcpt in &message.recipients {
            if let Some(orcpt) = &rcpt.orcpt {
                record::put_attribute(&mut out, attribute::ORIGINAL_RECIPIENT, orcpt);
            }
            let notify = record::notify_flags(rcpt.notify);
            if notify != 0 {
                record::put_attribute(&mut out, attribute::NOTIFY_FLAGS, &notify.to_string());
            }
            record::put(&mut out, kind::RECIPIENT, rcpt.recipient.internal().as_bytes());
        }
        record::put(&mut out, kind::CONTENT, b"");
        let received = received_header(
            self.main,
            submission.name(),
            &self.helo,
            self.extended,
            match message.recipients.as_slice() {
                [only] => Some(&only.recipient),
                _ => None,
            },
        );
        message.text.feed(received.as_bytes(), &mut out);
        submission.write(&out);
        message.submission = Some(submission);
        Ok(())
    }

    fn end(&mut self) -> Reply {
        let failed = || Reply::new(451, "4.3.0 Error: queue file write error");
        let Some(mut message) = self.message.take() else { return failed() };
        let Some(mut submission) = message.submission.take() else { return failed() };
        let mut out = Vec::new();
        message.text.finish(&mut out);
        record::put(&mut out, kind::EXTRACTED, b"");
        record::put(&mut out, kind::END, b"");
        submission.write(&out);
        match submission.finish() {
            Ok(name) => Reply::new(250, format!("2.0.0 Ok: queued as {name}")),
            Err((super::submit::EX_UNAVAILABLE, _)) => Reply::new(552, "5.3.4 Error: message file too big"),
            Err((_, what)) => {
                eprintln!("sendmail: warning: {}: {what}", self.login);
                failed()
            }
        }
    }
}

fn received_header(main: &Main, name: &str, helo: &str, extended: bool, only: Option<&Address>) -> String {
    let now = sys::time::now_micros();
    let mut origin = Origin::new(Source::Smtp { local_rewrite: true }, Address::null(), now);
    origin.client.name = "localhost".into();
    origin.client.address = "127.0.0.1".into();
    origin.client.helo = helo.into();
    origin.client.protocol = if extended { "ESMTP" } else { "SMTP" }.into();
    let seconds = (now / 1_000_000) as i64;
    let zone = sys::time::zone_at(seconds);
    let date = DateTime::new(seconds, zone.offset, &zone.name);
    let here = Here { myhostname: main.myhostname(), mail_name: main.mail_name(), id: name, date: &date };
    received::header(&origin, &here, only.map(Address::to_string).as_deref()) + "\r\n"
}
