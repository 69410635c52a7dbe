//! The attempt: every step from the name to the accepted test message, each said as it happens. The
//! first that fails ends it.

use super::advice::{self, Trouble};
use super::certificate::{self, Judgement};
use super::find::hosts;
use super::login::{Exchange, Login};
use super::wire::{Stream, Wire};
use crate::commands::names::RelayHost;
use net::dial;
use net::dns::Resolver;
use net::tls::Failure;
use net::tls::client::Roots;
use proto::smtp::client::{Answer, Features, Keywords};
use rustls::pki_types::ServerName;
use smtp::route::{Hop, Settings};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// What is to be tried.
pub(super) struct Attempt<'a> {
    pub(super) relay: &'a RelayHost,
    pub(super) resolver: &'a Resolver,
    pub(super) route: Settings,
    pub(super) roots: Arc<Roots>,
    /// How this host names itself.
    pub(super) helo: String,
    pub(super) login: Option<Login>,
    pub(super) sender: String,
    pub(super) to: String,
    /// The test message with its header, lines ending in CRLF.
    pub(super) message: String,
    /// TLS from the first byte.
    pub(super) wrapped: bool,
    /// `smtp_tls_security_level` allows no session in the clear.
    pub(super) mandatory: bool,
    pub(super) accept_certificate: bool,
    pub(super) without_tls: bool,
    /// How long the server may keep silent.
    pub(super) patience: Duration,
}

/// What is known after a success.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Success {
    pub(super) encrypted: bool,
    pub(super) verified: bool,
}

/// Hears of each step: its name and what came of it.
pub(super) type Say<'a> = &'a mut (dyn FnMut(&str, &str) + Send);

impl Attempt<'_> {
    /// Goes through all steps.
    pub(super) async fn run(&self, say: Say<'_>) -> Result<Success, Trouble> {
        let (hosts, found) = hosts(self.relay, &self.route, self.resolver).await?;
        say("DNS", &found);
        let (stream, target) = self.connect(&hosts, say).await?;
        let mut session =
            Session { attempt: self, target: &target.host, features: Features::default(), encrypted: false };
        session.run(stream, say).await
    }

    /// The first host that answers.
    async fn connect(&self, hosts: &[Hop], say: Say<'_>) -> Result<(TcpStream, Hop), Trouble> {
        let mut last = None;
        for hop in hosts {
            let place = format!("{}[{}]:{}", hop.host, hop.address.ip(), hop.address.port());
            match dial::tcp(hop.address, &dial::Source::default(), self.patience).await {
                Ok(dialled) => {
                    say("connect", &format!("connected to {place}"));
                    return Ok((dialled.stream, hop.clone()));
                }
                Err(failure) => {
                    let what = format!("connect to {place}: {failure}");
                    say("connect", &what);
                    let refused = matches!(&failure, dial::Failure::Connect(e, _)
                        if e.kind() == std::io::ErrorKind::ConnectionRefused);
                    last = Some((what, refused));
                }
            }
        }
        let (what, refused) = last.unwrap_or_default();
        let remedy = advice::connection(&self.relay.host, self.relay.port_number(25), refused);
        Err(Trouble::new("connect", what, remedy))
    }
}

struct Session<'a> {
    attempt: &'a Attempt<'a>,
    target: &'a str,
    features: Features,
    encrypted: bool,
}

impl Session<'_> {
    async fn run(&mut self, stream: TcpStream, say: Say<'_>) -> Result<Success, Trouble> {
        let attempt = self.attempt;
        let mut verified = false;
        let mut wire = match attempt.wrapped {
            true => {
                let (stream, good) = self.encrypt(Box::new(stream), say).await?;
                verified = good;
                Wire::new(stream, attempt.patience)
            }
            false => Wire::new(Box::new(stream), attempt.patience),
        };
        self.greet(&mut wire, say).await?;
        self.hello(&mut wire, say).await?;
        if !attempt.wrapped {
            if self.features.starttls {
                let answer = wire.ask("STARTTLS").await.map_err(|e| self.broken("STARTTLS", &e))?;
                if !answer.is_positive() {
                    let remedy =
                        "the server offers TLS but cannot begin it; tell its operator, or try port 465";
                    return Err(Trouble::new("STARTTLS", answer.one_line(), remedy));
                }
                let stream = wire.into_stream().map_err(|e| self.broken("STARTTLS", &e))?;
                let (stream, good) = self.encrypt(stream, say).await?;
                verified = good;
                wire = Wire::new(stream, attempt.patience);
                self.hello(&mut wire, say).await?;
            } else if attempt.mandatory {
                let remedy = "smtp_tls_security_level asks for it; try port 465 or 587, or ask the server's operator for TLS";
                return Err(Trouble::new("STARTTLS", "the server offers no encryption", remedy));
            } else {
                say("STARTTLS", "the server offers no encryption: mail travels in the clear");
            }
        }
        self.login(&mut wire, say).await?;
        self.send(&mut wire, say).await?;
        // The message is accepted; how the server takes its leave changes nothing.
        let _ = wire.ask("QUIT").await;
        Ok(Success { encrypted: self.encrypted, verified })
    }

    /// What ended a conversation.
    fn broken(&self, step: &'static str, error: &std::io::Error) -> Trouble {
        let remedy = match error.kind() {
            std::io::ErrorKind::TimedOut => {
                "the server is slow or something on the way swallows its words; try again later"
            }
            std::io::ErrorKind::UnexpectedEof => "the server hung up; its log knows why, or try another port",
            _ => "try again; if it stays so, ask the server's operator",
        };
        Trouble::new(step, words(error), remedy)
    }

    async fn greet(&self, wire: &mut Wire, say: Say<'_>) -> Result<(), Trouble> {
        let wrapped = self.attempt.wrapped;
        match wire.answer().await {
            Ok(answer) if answer.code == 220 => {
                say("greeting", &answer.one_line());
                Ok(())
            }
            Ok(answer) => {
                let remedy = advice::greeting(Some(answer.code), wrapped);
                Err(Trouble::new("greeting", answer.one_line(), remedy))
            }
            Err(error) => Err(Trouble::new("greeting", words(&error), advice::greeting(None, wrapped))),
        }
    }

    async fn hello(&mut self, wire: &mut Wire, say: Say<'_>) -> Result<(), Trouble> {
        let helo = &self.attempt.helo;
        let answer = wire.ask(&format!("EHLO {helo}")).await.map_err(|e| self.broken("EHLO", &e))?;
        if answer.is_positive() {
            self.features = Features::extended(&answer, &Keywords::default());
            let lines: Vec<&str> = answer.text.split('\n').skip(1).filter_map(|l| l.get(4..)).collect();
            let offered = if lines.is_empty() { "no extensions".into() } else { lines.join(", ") };
            say("EHLO", &format!("the server offers {offered}"));
            return Ok(());
        }
        self.features = Features::default();
        let old = wire.ask(&format!("HELO {helo}")).await.map_err(|e| self.broken("HELO", &e))?;
        if old.is_positive() {
            say("HELO", "the server knows no extensions");
            return Ok(());
        }
        let remedy =
            format!("the server does not accept this host's name {helo}; see myhostname and smtp_helo_name");
        Err(Trouble::new("EHLO", old.one_line(), remedy))
    }

    async fn encrypt(
        &mut self,
        stream: Box<dyn Stream>,
        say: Say<'_>,
    ) -> Result<(Box<dyn Stream>, bool), Trouble> {
        let attempt = self.attempt;
        let name = self.target;
        if ServerName::try_from(name).is_err() {
            let what = format!("{name} is no name for a certificate");
            return Err(Trouble::new("TLS", what, "write a host name"));
        }
        let (connected, judgement) = match certificate::connect(
            stream,
            name,
            &attempt.roots,
            attempt.patience,
        )
        .await
        {
            Ok(done) => done,
            Err(Failure::Timeout) => {
                let remedy = "the port may not speak TLS from the first byte; try port 587";
                return Err(Trouble::new("TLS", "the handshake came to no end", remedy));
            }
            Err(failure) => {
                let remedy = match attempt.wrapped {
                    true => {
                        "the port may not speak TLS from the first byte; try port 587, which begins it with STARTTLS"
                    }
                    false => "the server's TLS is too old or broken; tell its operator",
                };
                return Err(Trouble::new("TLS", failure.to_string(), remedy));
            }
        };
        let summary = &connected.summary;
        say("TLS", &format!("encrypted: {} with {}", summary.protocol, summary.cipher));
        self.encrypted = true;
        let verified = match judgement {
            Judgement::Verified => {
                say(
                    "certificate",
                    &format!("verified: it is for {name}, and of an authority this host knows"),
                );
                true
            }
            Judgement::Doubtful(what, _) if attempt.accept_certificate => {
                say(
                    "certificate",
                    &format!(
                        "not verified: {what}. Accepted by --accept-certificate: somebody between here and there could pretend to be {name}, and read password and mail"
                    ),
                );
                false
            }
            Judgement::Doubtful(what, remedy) => {
                let remedy = format!(
                    "{remedy}{}--accept-certificate goes on without knowing who the server is",
                    if remedy.is_empty() { "" } else { "; " }
                );
                return Err(Trouble::new("certificate", what, remedy));
            }
        };
        Ok((Box::new(connected.stream), verified))
    }

    async fn login(&self, wire: &mut Wire, say: Say<'_>) -> Result<(), Trouble> {
        let Some(login) = &self.attempt.login else {
            say("login", "none asked for");
            return Ok(());
        };
        let offered = &self.features.auth;
        if !self.encrypted && !self.attempt.without_tls {
            let remedy = "try port 587 or 465, where servers encrypt; --without-tls sends the password for everybody on the way to read";
            return Err(Trouble::new("login", "the password would travel in the clear", remedy));
        }
        if offered.is_empty() {
            let remedy = "logging in is served on port 587 or 465 most often; or use --no-login";
            return Err(Trouble::new("login", "the server offers no login here", remedy));
        }
        let wrong = |what: String| Trouble::new("login", what, "ask the server's operator");
        let chosen = Exchange::choose(offered, login, self.target, self.attempt.relay.port_number(25));
        let Some(mut exchange) = chosen.map_err(wrong)? else {
            let what = format!("the server offers only {}", offered.join(", "));
            let remedy = "none of these is served here; ask the server's operator for PLAIN";
            return Err(Trouble::new("login", what, remedy));
        };
        let broken = |e: std::io::Error| self.broken("login", &e);
        let mut answer = wire.ask(&exchange.command()).await.map_err(broken)?;
        while answer.code == 334 {
            let challenge = answer.text.get(4..).unwrap_or_default();
            let response = exchange.answer(challenge).map_err(wrong)?;
            answer = wire.ask(&response).await.map_err(broken)?;
        }
        if answer.code == 235 {
            exchange.succeed().map_err(wrong)?;
            say("login", &format!("logged in as {} with {}", login.user, exchange.mechanism()));
            return Ok(());
        }
        let remedy = advice::login(self.target, answer.code, answer.text.get(4..).unwrap_or_default());
        Err(Trouble::new("login", answer.one_line(), remedy))
    }

    async fn send(&self, wire: &mut Wire, say: Say<'_>) -> Result<(), Trouble> {
        let attempt = self.attempt;
        let (logged_in, login_there) =
            (attempt.login.is_some(), !self.features.auth.is_empty() || self.features.starttls);
        let broken = |step| move |e: std::io::Error| self.broken(step, &e);
        let refused = |step, answer: &Answer, remedy| Err(Trouble::new(step, answer.one_line(), remedy));
        let answer = wire.ask(&format!("MAIL FROM:<{}>", attempt.sender)).await.map_err(broken("sender"))?;
        if !answer.is_positive() {
            return refused(
                "sender",
                &answer,
                advice::sender(answer.code, logged_in, login_there, &attempt.sender),
            );
        }
        let answer = wire.ask(&format!("RCPT TO:<{}>", attempt.to)).await.map_err(broken("recipient"))?;
        if !answer.is_positive() {
            return refused("recipient", &answer, advice::recipient(answer.code, logged_in, login_there));
        }
        let answer = wire.ask("DATA").await.map_err(broken("message"))?;
        if answer.class() != 3 {
            return refused("message", &answer, advice::message(answer.code));
        }
        wire.send(attempt.message.as_bytes()).await.map_err(broken("message"))?;
        let answer = wire.ask(".").await.map_err(broken("message"))?;
        if !answer.is_positive() {
            return refused("message", &answer, advice::message(answer.code));
        }
        say(
            "message",
            &format!(
                "the test message from {} to {} was accepted: {}",
                attempt.sender,
                attempt.to,
                answer.one_line()
            ),
        );
        Ok(())
    }
}

/// An error in the system's words.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}
