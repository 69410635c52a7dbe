//! Exchanges of the mechanisms that are served here, over a [`Book`] that knows the users.
//!
//! Whatever is wrong with a name or a password, the client hears one and the same, after the same
//! work: who exists is nobody's business. Limits are asked before the book is.

use crate::about::About;
use crate::attempts::{Attempts, Rates, Ticket};
use crate::events::LoginTrouble;
use crate::offer::{Offer, Properties};
use crate::workers::Workers;
use crate::{Authenticator, Exchange, Failure, Step, Waiting};
use sasl::server::{Kept, Server, Step as Wanted};
use sasl::{Mechanism, Secret};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Said of an unknown user, a wrong password, and somebody who wants to be somebody else.
pub const DENIED: &str = "authentication failure";

/// Said when too many failed, or too many want to log in at once.
const LATER: &str = "too many logins; try again later";

/// What the authenticators of a process share.
#[derive(Clone)]
pub struct Common {
    /// Failures of late; kept across reloads.
    pub attempts: Arc<Attempts>,
    /// How many are borne.
    pub rates: Rates,
    /// Where hashing is done; kept across reloads.
    pub workers: Arc<Workers>,
    /// Who says what the administrator should know.
    pub voice: ::events::Source,
}

impl Common {
    /// Says what is wrong with a login that is not the client's matter.
    pub(crate) fn say(&self, what: impl std::fmt::Display) {
        self.voice.say(&LoginTrouble { what: what.to_string() });
    }
}

/// What a book says of a login.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    /// The user by the name to log and to give rights to, or what is kept of them.
    Yes(T),
    /// Wrong password, or no such user.
    No,
    /// Too much to do.
    Full,
    /// Nobody can tell now; whoever knows why has logged it.
    Unknown,
}

/// Knows users.
pub(crate) trait Book: Send + Sync {
    /// What is offered now; an error is words for the log.
    fn mechanisms(&self) -> Result<Vec<Mechanism>, String>;
    /// Whether this is the user's password; the user's full name.
    fn check<'a>(
        &'a self,
        how: Mechanism,
        user: &'a str,
        secret: Secret,
        about: &'a About,
    ) -> Waiting<'a, Answer<String>>;
    /// What is kept of a user, for this mechanism. For one who does not exist, what fits no password.
    fn know<'a>(&'a self, user: &'a str, how: Mechanism, about: &'a About) -> Waiting<'a, Answer<Kept>>;
    /// The full name of a user who has proven to know the password.
    fn full_name(&self, user: &str, about: &About) -> String;
    /// The name that the log has where a login fails.
    fn logged_name(&self, user: &str, _about: &About) -> String {
        user.to_string()
    }
    /// The name under which failures of a user are counted: one for all names that mean the same account.
    fn counted_name(&self, user: &str, _about: &About) -> String {
        user.to_string()
    }
    /// A login was refused by the mechanism itself.
    fn refused(&self, _how: Mechanism, _acts_for_another: bool) {}
    /// Said when nobody can tell.
    fn unknown(&self) -> &'static str {
        "the server cannot check it now"
    }
}

/// Mechanisms, and the list in which they are offered.
type Offered = (Vec<Mechanism>, Arc<[Offer]>);

/// An authenticator over a book.
pub(crate) struct Desk<B> {
    book: Arc<B>,
    common: Common,
    /// What was offered last: the same list is given again, so that a listener works on it once.
    last: Mutex<Option<Offered>>,
}

impl<B: Book + 'static> Desk<B> {
    /// An authenticator; what is wrong with the book already is said at once.
    pub(crate) fn open(book: B, common: Common) -> Arc<dyn Authenticator> {
        if let Err(what) = book.mechanisms() {
            common.say(what);
        }
        Arc::new(Desk { book: Arc::new(book), common, last: Mutex::default() })
    }

    fn offers(&self) -> Result<Arc<[Offer]>, String> {
        let all = self.book.mechanisms()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, offers)) = last.as_ref().filter(|(of, _)| *of == all) {
            return Ok(offers.clone());
        }
        let offers: Arc<[Offer]> = all.iter().copied().map(offer).collect();
        *last = Some((all, offers.clone()));
        Ok(offers)
    }
}

impl<B: Book + 'static> Authenticator for Desk<B> {
    fn mechanisms(&self) -> Waiting<'_, Result<Arc<[Offer]>, String>> {
        Box::pin(std::future::ready(self.offers()))
    }

    fn begin(&self, mechanism: &str, about: Arc<About>) -> Box<dyn Exchange> {
        let served = self.book.mechanisms().unwrap_or_default();
        let mechanism = served.into_iter().find(|m| m.name().eq_ignore_ascii_case(mechanism));
        let server = mechanism.and_then(|m| {
            let nonce = sasl::nonce()?;
            // CRAM-MD5 puts it before an @, base64 may stand there.
            Server::new(m, &about.host, nonce).map(|server| (m, server))
        });
        Box::new(Dialogue {
            book: self.book.clone(),
            common: self.common.clone(),
            about,
            server,
            ticket: None,
            tried: None,
            proven: None,
        })
    }
}

/// What can be said of the mechanisms, as Cyrus SASL says it.
fn offer(mechanism: Mechanism) -> Offer {
    let scram = matches!(mechanism, Mechanism::ScramSha1 | Mechanism::ScramSha256);
    let properties = Properties {
        plaintext: matches!(mechanism, Mechanism::Plain | Mechanism::Login),
        dictionary: true,
        active: !scram,
        mutual_auth: scram,
        ..Properties::default()
    };
    Offer { name: mechanism.name().to_string(), properties }
}

struct Dialogue<B> {
    book: Arc<B>,
    common: Common,
    about: Arc<About>,
    server: Option<(Mechanism, Server)>,
    ticket: Option<Ticket>,
    /// SCRAM: the user, before anything is proven.
    tried: Option<String>,
    /// SCRAM: the user, while the server's own proof is on its way.
    proven: Option<String>,
}

impl<B: Book + 'static> Exchange for Dialogue<B> {
    fn step(&mut self, response: Option<Secret>) -> Waiting<'_, Step> {
        Box::pin(self.next(response))
    }
}

impl<B: Book> Dialogue<B> {
    async fn next(&mut self, response: Option<Secret>) -> Step {
        if let Some(user) = self.proven.take() {
            return self.welcome(user);
        }
        let Some((mechanism, server)) = &mut self.server else {
            return denied("no mechanism available", None);
        };
        let mechanism = *mechanism;
        let Some(response) = response else {
            return match server.begin() {
                Wanted::Challenge(challenge) => Step::Challenge(challenge),
                _ => denied(DENIED, None),
            };
        };
        let mut wanted = server.respond(response.bytes());
        drop(response);
        loop {
            let (user, kept) = match wanted {
                Ok(Wanted::Challenge(challenge)) => return Step::Challenge(challenge),
                Ok(Wanted::Check { user, acts_for: Some(other), .. }) => {
                    self.book.refused(mechanism, true);
                    return match user.trim().is_empty() {
                        true => denied(DENIED, None),
                        false => denied(DENIED, Some(other)),
                    };
                }
                Ok(Wanted::Check { user, acts_for: None, secret }) => {
                    return self.check(mechanism, user, secret).await;
                }
                Ok(Wanted::Done { user, last: None }) => return self.welcome(user),
                Ok(Wanted::Done { user, last: Some(last) }) => {
                    self.proven = Some(user);
                    return Step::Challenge(last);
                }
                Ok(Wanted::Know(user)) => {
                    if let Some(step) = self.try_user(&user) {
                        return step;
                    }
                    let kept = self.book.know(&user, mechanism, &self.about).await;
                    self.tried = Some(user.clone());
                    (user, kept)
                }
                Err(sasl::Fault::NotProven) => {
                    self.book.refused(mechanism, false);
                    let user = self.tried.take();
                    return denied(DENIED, user.and_then(|u| self.logged(&u)));
                }
                Err(_) => return denied("bad protocol / cancel", None),
            };
            let kept = match self.judge(&user, kept) {
                Ok(kept) => kept,
                Err(step) => return step,
            };
            let Some((_, server)) = &mut self.server else { return denied(DENIED, None) };
            wanted = server.known(kept);
            if wanted.is_err() {
                self.book.refused(mechanism, false);
                return denied(DENIED, self.logged(&user));
            }
        }
    }

    async fn check(&mut self, how: Mechanism, user: String, secret: Secret) -> Step {
        if user.trim().is_empty() {
            return denied(DENIED, None);
        }
        if let Some(step) = self.try_user(&user) {
            return step;
        }
        let answer = self.book.check(how, &user, secret, &self.about).await;
        match self.judge(&user, answer) {
            Ok(full) => {
                self.succeed(&user);
                Step::Success { user: full }
            }
            Err(step) => step,
        }
    }

    /// Whether this user may be tried; the step that says otherwise.
    fn try_user(&mut self, user: &str) -> Option<Step> {
        // Others, to whom the name goes, would take it for the end of a text or of a line.
        if user.contains(char::is_control) {
            return Some(denied(DENIED, None));
        }
        let (common, address, now) = (&self.common, self.address(), Instant::now());
        let name = self.book.counted_name(user, &self.about);
        let limited = self.about.limited_address();
        self.ticket = match common.workers.is_familiar(address, user) {
            true => common.attempts.begin_familiar(common.rates, address, &name, now),
            false => common.attempts.begin(common.rates, limited, &name, now),
        };
        let refused = || Step::Failure(Failure::temporary(LATER, self.logged(user)));
        self.ticket.is_none().then(refused)
    }

    /// What the book says, or the step that ends the login.
    fn judge<T>(&mut self, user: &str, answer: Answer<T>) -> Result<T, Step> {
        let reason = match answer {
            Answer::Yes(value) => return Ok(value),
            Answer::No => return Err(denied(DENIED, self.logged(user))),
            Answer::Full => LATER,
            Answer::Unknown => self.book.unknown(),
        };
        // Not the client's fault.
        if let Some(ticket) = self.ticket.take() {
            ticket.succeeded();
        }
        Err(Step::Failure(Failure::temporary(reason, self.logged(user))))
    }

    fn logged(&self, user: &str) -> Option<String> {
        Some(self.book.logged_name(user, &self.about))
    }

    fn welcome(&mut self, user: String) -> Step {
        self.succeed(&user);
        Step::Success { user: self.book.full_name(&user, &self.about) }
    }

    fn succeed(&mut self, user: &str) {
        if let Some(ticket) = self.ticket.take() {
            ticket.succeeded();
        }
        self.common.workers.succeeded(self.address(), user);
    }

    fn address(&self) -> Option<IpAddr> {
        self.about.remote.map(|r| r.ip())
    }
}

fn denied(reason: &str, user: Option<String>) -> Step {
    Step::Failure(Failure::denied(reason, user))
}
