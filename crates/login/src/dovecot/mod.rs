//! Logins that a Dovecot decides: `smtpd_sasl_type = dovecot`.
//!
//! Dovecot has the mechanisms and the users; what clients say passes through. A connection that is
//! lost is made anew for the next login, so a Dovecot may restart at any time; the mechanisms that it
//! once told of are offered meanwhile, and whoever tries one is told to come back.
//!
//! Limits are asked before Dovecot is, by address and by the name that a client's first response tells. Dovecot
//! hashes one password after the other: guesses at a name that exists, from everywhere, would keep its honest
//! users waiting. It also holds each refusal back for two seconds, so that a hundred guesses come anew at once.

mod link;
mod name;
pub mod wire;

#[cfg(test)]
mod tests;

use crate::about::About;
use crate::attempts::{Attempts, Rates, Ticket};
use crate::offer::Offer;
use crate::workers::Workers;
use crate::{Authenticator, Exchange, Failure, Step, Waiting};
use link::{Link, Lost};
use net::Endpoint;
use sasl::Secret;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use wire::Line;

/// How long Dovecot may take to answer. It lets wrong passwords wait for up to 17 seconds.
const PATIENCE: Duration = Duration::from_secs(40);
/// How soon after a failure the next connection is tried: those who waited for one that hangs do not wait
/// for another each.
const PAUSE: Duration = Duration::from_millis(200);

/// How long new logins go over a connection. A Dovecot that was stopped or replaced serves those that
/// are open, with what it knew when they were made.
const LIFETIME: Duration = Duration::from_secs(100);

/// Words for a connection that ended.
const LOST: &str = "Connection lost to authentication server";

/// Words where nobody gave any.
const NO_REASON: &str = "(reason unavailable)";

/// A Dovecot.
pub struct Dovecot {
    endpoint: Endpoint,
    attempts: Arc<Attempts>,
    /// They know who logged in lately, and from where.
    workers: Arc<Workers>,
    rates: Rates,
    state: Mutex<State>,
    /// One connects at a time; the others use what it brings.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    /// What it offered last.
    offers: Option<Arc<[Offer]>>,
    failed: Option<(tokio::time::Instant, String)>,
}

impl Dovecot {
    /// The one at `endpoint`.
    pub fn new(
        endpoint: Endpoint,
        attempts: Arc<Attempts>,
        workers: Arc<Workers>,
        rates: Rates,
    ) -> Arc<Dovecot> {
        let (state, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Dovecot { endpoint, attempts, workers, rates, state, connecting })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, or what failed of late.
    fn present(&self) -> Option<Result<Arc<Link>, String>> {
        let mut state = self.state();
        match state.link.take_if(|link| !link.is_open()) {
            Some(_) => None,
            None => match (&state.link, &state.failed) {
                (Some(link), _) => Some(Ok(link.clone())),
                (None, Some((at, why))) if at.elapsed() < PAUSE => Some(Err(why.clone())),
                _ => None,
            },
        }
    }

    /// The connection that there is, or a new one.
    async fn link(self: &Arc<Dovecot>) -> Result<Arc<Link>, String> {
        if let Some(present) = self.present() {
            return present;
        }
        let _alone = self.connecting.lock().await;
        if let Some(present) = self.present() {
            return present;
        }
        let made = Link::open(&self.endpoint).await.map(Arc::new);
        let mut state = self.state();
        match &made {
            Ok(link) => {
                (state.link, state.failed) = (Some(link.clone()), None);
                // The same mechanisms are the same list: whoever filtered it need not do so again.
                if state.offers.as_ref() != Some(&link.offers) {
                    state.offers = Some(link.offers.clone());
                }
                tokio::spawn(retire(Arc::downgrade(self), Arc::downgrade(link)));
            }
            Err(why) => state.failed = Some((tokio::time::Instant::now(), why.clone())),
        }
        made
    }
}

/// Logins that are under way keep their connection; it ends with the last of them.
async fn retire(dovecot: Weak<Dovecot>, link: Weak<Link>) {
    tokio::time::sleep(LIFETIME).await;
    if let Some(dovecot) = dovecot.upgrade() {
        dovecot.state().link.take_if(|present| Arc::downgrade(present).ptr_eq(&link));
    }
}

impl Authenticator for Arc<Dovecot> {
    fn mechanisms(&self) -> Waiting<'_, Result<Arc<[Offer]>, String>> {
        Box::pin(async {
            match self.link().await {
                Ok(link) => Ok(self.state().offers.clone().unwrap_or_else(|| link.offers.clone())),
                // It will be back.
                Err(why) => self.state().offers.clone().ok_or(why),
            }
        })
    }

    fn begin(&self, mechanism: &str, about: Arc<About>) -> Box<dyn Exchange> {
        let mechanism = mechanism.to_string();
        Box::new(Login { dovecot: self.clone(), mechanism, about, ticket: None, user: None, open: None })
    }
}

/// A login under way.
struct Login {
    dovecot: Arc<Dovecot>,
    mechanism: String,
    about: Arc<About>,
    /// Taken as soon as the client said who it is, or where its mechanism does not tell, at once.
    ticket: Option<Ticket>,
    /// The name it said.
    user: Option<String>,
    open: Option<Open>,
}

/// Dovecot waits for a response.
struct Open {
    link: Arc<Link>,
    number: u32,
    over: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.over {
            self.link.tell(wire::cancel(self.number));
        }
    }
}

impl Exchange for Login {
    fn step(&mut self, response: Option<Secret>) -> Waiting<'_, Step> {
        Box::pin(async move {
            let step = match tokio::time::timeout(PATIENCE, self.advance(response)).await {
                Ok(step) => step,
                Err(_) => Step::Failure(Failure::temporary("Connection timed out", None)),
            };
            match &step {
                Step::Challenge(_) => {}
                Step::Failure(Failure { temporary: false, .. }) => self.ticket = None,
                Step::Failure(_) => self.forgive(),
                Step::Success { .. } => {
                    self.forgive();
                    if let Some(user) = &self.user {
                        self.dovecot.workers.succeeded(self.address(), user);
                    }
                }
            }
            if !matches!(step, Step::Challenge(_)) {
                self.open = None;
            }
            step
        })
    }
}

impl Login {
    async fn advance(&mut self, response: Option<Secret>) -> Step {
        let temporary = |why: &str| Step::Failure(Failure::temporary(why, None));
        let too_long = || Step::Failure(Failure::denied("Authentication request too long", None));
        let open = self.open.take();
        if !self.may_go_on(response.as_ref()) {
            let user = self.user.take();
            return Step::Failure(Failure::temporary("too many failed logins, try again later", user));
        }
        let answer = match (open, response) {
            (None, initial) => self.first(initial).await,
            (Some(open), Some(response)) => {
                let Some(line) = wire::respond(open.number, &response) else { return too_long() };
                let answer = open.link.ask(open.number, line).await;
                answer.map(|line| (open, line)).map_err(|Lost| temporary(LOST))
            }
            (Some(_), None) => return temporary("Authentication backend error"),
        };
        match answer {
            Err(step) => step,
            Ok((mut open, line)) => {
                let step = step(line);
                open.over = !matches!(step, Step::Challenge(_));
                self.open = Some(open);
                step
            }
        }
    }

    /// Whether the limits allow what comes now, asked once in a login.
    fn may_go_on(&mut self, response: Option<&Secret>) -> bool {
        if self.ticket.is_some() || (response.is_none() && name::is_told(&self.mechanism)) {
            return true;
        }
        // An empty response tells no name, and what follows it is none: by LOGIN that is the password.
        self.user = response.and_then(|said| name::of(&self.mechanism, said.bytes()));
        let Dovecot { attempts, workers, rates, .. } = &*self.dovecot;
        let (limited, now) = (self.about.limited_address(), Instant::now());
        self.ticket = match &self.user {
            None => attempts.begin(Rates { of_user: 0, ..*rates }, limited, "", now),
            Some(user) if workers.is_familiar(self.address(), user) => {
                attempts.begin_familiar(*rates, self.address(), user, now)
            }
            Some(user) => attempts.begin(*rates, limited, user, now),
        };
        self.ticket.is_some()
    }

    /// What came of it is not the client's fault.
    fn forgive(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            ticket.succeeded();
        }
    }

    fn address(&self) -> Option<IpAddr> {
        self.about.remote.map(|r| r.ip())
    }

    /// Begins the login. A connection that died while nobody looked costs nothing: it is made anew.
    async fn first(&self, initial: Option<Secret>) -> Result<(Open, Line), Step> {
        let temporary = |why: &str| Step::Failure(Failure::temporary(why, None));
        for attempt in 0..2 {
            let link = self.dovecot.link().await.map_err(|why| Step::Failure(away(why)))?;
            let number = link.number();
            let known = wire::is_mechanism(&self.mechanism)
                && link.offers.iter().any(|o| o.name.eq_ignore_ascii_case(&self.mechanism));
            if !known {
                return Err(Step::Failure(Failure::denied("Invalid authentication mechanism", None)));
            }
            let Some(line) = wire::begin(number, &self.mechanism, &self.about, initial.as_ref()) else {
                return Err(Step::Failure(Failure::denied("Authentication request too long", None)));
            };
            let mut open = Open { link, number, over: false };
            match open.link.ask(number, line).await {
                Ok(line) => return Ok((open, line)),
                Err(Lost) if attempt == 0 => open.over = true,
                Err(Lost) => break,
            }
        }
        Err(temporary(LOST))
    }
}

/// Nobody there: the client is told no more than by Postfix, the log why.
fn away(why: String) -> Failure {
    if !why.starts_with(link::UNREACHABLE) {
        return Failure::temporary(LOST, None);
    }
    Failure { trouble: Some(why), ..Failure::temporary(NO_REASON, None) }
}

/// Only a success with a name is one.
fn step(line: Line) -> Step {
    match line {
        Line::Challenge(_, challenge) => Step::Challenge(challenge),
        Line::Success(_, Some(user)) => Step::Success { user },
        Line::Failure(_, refusal) => Step::Failure(Failure {
            temporary: refusal.temporary,
            reason: refusal.reason.unwrap_or_else(|| NO_REASON.into()),
            user: refusal.user,
            trouble: None,
        }),
        _ => Step::Failure(Failure::denied("Authentication backend error", None)),
    }
}
