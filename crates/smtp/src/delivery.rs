//! One delivery: goes from host to host until every recipient has a result.
//!
//! A host that does not answer, or refuses for now, is passed over for the next one while there is
//! one; what a host refuses for good is settled at once. A message of which a server may already have
//! all is never tried elsewhere in the same delivery.

use crate::agent::Service;
use crate::events::{Discarding, Doubt, ForwardRefused, LongLine, Postponed};
use crate::route::{self, Circumstances, Hop, LastWord, NextHop, NoRoute, Random, Route, Target};
use crate::session::{Endpoint, Peer, Session};
use crate::settings::Settings;
use crate::tls_policy::{Policy, Unencrypted, Way};
use crate::transfer::{self, Content, Outcome};
use crate::words;
use net::stream::Socket;
use proto::Address;
use proto::envelope::Encoding;
use proto::smtp::client::{Fate, Forwarded, Handshake, Keywords, Mail, Rcpt, Stage};
use proto::status::{Code, Status};
use qmgr::agent::{Action, Done, Line, Pass, Report, Request};
use sasl::client::Credentials;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A number for the brackets of the log: unique among the deliveries of this process.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A system call.
    static BASE: LazyLock<u32> = LazyLock::new(std::process::id);
    let (base, n) = (*BASE, NEXT.fetch_add(1, Ordering::Relaxed));
    1 + base.wrapping_add(n) % 4_194_303
}

/// What recipients are told, and by whom.
#[derive(Clone)]
struct Told {
    relay: String,
    uses: u32,
    status: Status,
    action: Action,
}

/// The state of a delivery.
pub(crate) struct Delivery<'a> {
    service: &'a Service,
    settings: &'a Settings,
    request: &'a Request,
    voice: events::Source,
    number: u32,
    /// For each recipient of the request.
    told: Vec<Option<Told>>,
    /// Their places, in the order in which the results came.
    order: Vec<usize>,
    /// Why the last place failed.
    failure: Option<NoRoute>,
    /// Hosts that were asked on a connection of before, and are not asked again on a fresh one.
    asked: Vec<Endpoint>,
    /// What they said to recipients for now, and whether the log knows.
    deferred: Vec<(usize, Told)>,
    at_fallback: bool,
    /// Sessions so far.
    sessions: usize,
    unreachable: Option<Status>,
    begun: Instant,
    ready: Option<Instant>,
    pass: Option<String>,
}

/// A host that cannot be used.
struct Refusal {
    status: Status,
    /// It was the handshake of TLS that failed.
    handshake: bool,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal { status, handshake: false }
    }
}

/// What of the message is the same for all hosts.
struct Prepared {
    mail: Mail,
    recipients: Vec<Rcpt>,
    international: bool,
}

impl<'a> Delivery<'a> {
    pub fn new(service: &'a Service, request: &'a Request) -> Delivery<'a> {
        let number = next_number();
        Delivery {
            service,
            settings: &service.settings,
            request,
            voice: service.settings.voice.numbered(number),
            number,
            told: vec![None; request.recipients.len()],
            order: Vec::with_capacity(request.recipients.len()),
            failure: None,
            asked: Vec::new(),
            deferred: Vec::new(),
            at_fallback: false,
            sessions: 0,
            unreachable: None,
            begun: Instant::now(),
            ready: None,
            pass: None,
        }
    }

    pub async fn run(mut self) -> Done {
        match self.prepare() {
            Ok(mut prepared) => self.go_through(&mut prepared).await,
            Err(status) => self.tell_open("none", 0, &status),
        }
        for (place, told) in std::mem::take(&mut self.deferred) {
            self.tell(place, told);
        }
        if self.is_open() {
            self.last_word();
        }
        self.done()
    }

    /// The envelope as the other side is to see it.
    fn prepare(&self) -> Result<Prepared, Box<Status>> {
        let envelope = &self.request.envelope;
        let outgoing = &self.settings.outgoing;
        let sender = outgoing.address(&envelope.sender)?;
        let mut recipients = Vec::with_capacity(self.request.recipients.len());
        for (place, address) in &self.request.recipients {
            let known = envelope.recipients.get(*place);
            recipients.push(Rcpt {
                address: outgoing.address(address)?,
                orcpt: known.and_then(|r| r.dsn_orcpt.clone()),
                notify: known.map(|r| r.notify).unwrap_or_default(),
            });
        }
        let beyond_ascii = |a: &Address| !a.local().is_ascii() || !a.domain().is_none_or(str::is_ascii);
        let international = envelope.smtputf8
            && (beyond_ascii(&sender) || recipients.iter().any(|r| beyond_ascii(&r.address)));
        let mail = Mail {
            sender,
            size: envelope.size,
            converted: false,
            eight_bit: envelope.encoding == Encoding::EightBit,
            smtputf8: envelope.smtputf8,
            ret: envelope.dsn_ret,
            envid: envelope.dsn_envid.clone(),
            dummy_auth: self.settings.dummy_auth,
            unquoted: self.settings.unquoted,
            probe: envelope.trace.is_probe(),
            forwarded: self.settings.xforward.then(|| self.forwarded()),
        };
        Ok(Prepared { mail, recipients, international })
    }

    fn forwarded(&self) -> Forwarded {
        let client = &self.request.envelope.client;
        let local = client.address.is_empty();
        let source = if local { "LOCAL" } else { "REMOTE" };
        let ipv6 = client.address.contains(':');
        let address = if ipv6 { format!("IPv6:{}", client.address) } else { client.address.clone() };
        if client.address.is_empty() {
            return Forwarded { attributes: vec![("SOURCE", source.to_string())] };
        }
        Forwarded {
            attributes: vec![
                ("NAME", client.name.clone()),
                ("ADDR", address),
                ("PORT", client.port.clone()),
                ("PROTO", client.protocol.clone()),
                ("HELO", client.helo.clone()),
                // A message of this host's own has no identity in a session.
                ("IDENT", if local { String::new() } else { self.request.id.to_string() }),
                ("SOURCE", source.to_string()),
            ],
        }
    }

    /// All places, in their order, and the hosts of each.
    async fn go_through(&mut self, prepared: &mut Prepared) {
        if let Some(session) = self.waiting_session().await {
            let unit = session.peer.unit();
            sys::board::watch(unit, self.use_session(session, prepared, false)).await;
        }
        let settings = self.settings;
        let mut places: Vec<(&str, bool)> =
            places(&self.request.nexthop, settings.route.protocol).map(|p| (p, false)).collect();
        places.extend(settings.fallback.iter().map(|p| (p.as_str(), true)));
        let mut random = Random::new();
        for (n, (text, fallback)) in places.iter().enumerate() {
            if !self.is_open() {
                return;
            }
            self.at_fallback = *fallback;
            let last_place = n + 1 == places.len();
            match route::parse(text, settings.protocol, settings.port) {
                Err(status) => {
                    self.failure = Some(NoRoute { status: *status, loops: false, warnings: Vec::new() })
                }
                Ok(Target::Unix(path)) => {
                    let written = path.display().to_string();
                    let whole = settings.queue_directory.join(&path);
                    let peer = Peer::socket(&written, whole, &settings.myhostname);
                    Box::pin(self.visit_host(peer, Way::local(&written), prepared, last_place)).await;
                }
                Ok(Target::Inet(hop)) => {
                    let found =
                        Box::pin(route::find(&hop, &settings.route, &self.service.resolver, &mut random))
                            .await;
                    match found {
                        Err(failure) => {
                            self.warn(&failure.warnings);
                            let over = failure.loops;
                            self.failure = Some(failure);
                            if over {
                                return;
                            }
                        }
                        Ok(route) => {
                            self.warn(&route.warnings);
                            let last_place = last_place || route.we_are_mx;
                            Box::pin(self.visit_hosts(text, &hop, &route, prepared, last_place)).await;
                            if route.we_are_mx {
                                return;
                            }
                        }
                    }
                }
            }
            if self.sessions_used_up() {
                return;
            }
        }
    }

    async fn visit_hosts(
        &mut self,
        destination: &str,
        to: &NextHop,
        route: &Route,
        prepared: &mut Prepared,
        last_place: bool,
    ) {
        let hops: Vec<&Hop> =
            route.hops.iter().filter(|h| !self.asked.contains(&Endpoint::Inet(h.address))).collect();
        for (n, hop) in hops.iter().enumerate() {
            if !self.is_open() || self.sessions_used_up() {
                return;
            }
            let last = last_place && n + 1 == hops.len();
            let way = Way {
                destination,
                domain: &to.host,
                domain_alias: route.canonical.as_deref(),
                bracketed: to.bracketed,
                by_mx: route.by_mx,
                mx_secure: route.secure,
                secure: hop.secure,
                host_alias: hop.canonical.as_deref(),
                port: hop.address.port(),
            };
            let unit = sys::board::Unit::of_host(hop.address.ip());
            let peer = Peer::host(&hop.host, hop.address, hop.best);
            sys::board::watch(unit, self.visit_host(peer, way, prepared, last)).await;
        }
    }

    async fn visit_host(&mut self, peer: Peer, way: Way<'_>, prepared: &mut Prepared, last: bool) {
        if self.asked.contains(&peer.endpoint) {
            return;
        }
        self.go_on();
        let identity = self.identity(&peer, way.destination);
        let kept = self.service.pool.take_host(&peer.host, &peer.endpoint, &identity).await;
        if let Some(session) = kept {
            self.use_session(session, prepared, false).await;
            if !self.is_open() || self.asked.contains(&peer.endpoint) {
                return;
            }
        }
        let policy = self.settings.tls.policy(&way, &peer, &self.service.resolver, &self.voice);
        let policy = match Box::pin(policy).await {
            Ok(policy) => policy,
            Err(status) => {
                self.failure = Some(NoRoute { status: *status, loops: false, warnings: Vec::new() });
                return;
            }
        };
        let socket = match Box::pin(self.connect(&peer)).await {
            Ok(socket) => socket,
            Err(status) => {
                // Where there are no other hosts to go on to, the result line says it all.
                if matches!(peer.endpoint, Endpoint::Inet(_)) {
                    self.voice.say(&Postponed { text: status.text.clone() });
                }
                self.failure = Some(NoRoute { status, loops: false, warnings: Vec::new() });
                return;
            }
        };
        self.sessions += 1;
        let last = last || self.sessions_used_up();
        let relay = peer.relay.clone();
        // Boxed, as all that most messages do without: they find a connection that waits.
        let mut made = Box::pin(self.establish(socket, peer.clone(), identity.clone(), &policy, false)).await;
        if let Err(Refusal { status, handshake: true }) = &made
            && self.may_do_without_tls(&policy, &peer)
        {
            self.voice.say_of(self.request.id, &Postponed { text: status.text.clone() });
            made = match Box::pin(self.connect(&peer)).await {
                Ok(socket) => Box::pin(self.establish(socket, peer, identity, &policy, true)).await,
                Err(status) => Err(status.into()),
            };
        }
        match made {
            Ok(session) => self.use_session(session, prepared, last).await,
            Err(refusal) => self.host_failed(&relay, refusal.status, last),
        }
    }

    /// What connections must have in common, beside where they lead, to stand in for each other.
    fn identity(&self, peer: &Peer, destination: &str) -> String {
        match (self.credentials(peer), self.settings.tls.name(destination, &peer.host)) {
            (Ok(login), Some(rule)) => format!("{rule} {}", login.map(|who| who.user).unwrap_or_default()),
            // No connection that others made stands in for one that cannot be judged.
            _ => self.number.to_string(),
        }
    }

    /// The login at a host; what the table says against it is for the log.
    fn credentials(&self, peer: &Peer) -> Result<Option<Credentials>, String> {
        let Some(login) = &self.settings.login else { return Ok(None) };
        login.credentials(&self.request.envelope.sender, &peer.host, &self.request.nexthop)
    }

    /// A message that waited long enough goes without encryption that fails, but never a password.
    fn may_do_without_tls(&self, policy: &Policy, peer: &Peer) -> bool {
        let age = std::time::Duration::from_micros(self.request.active.saturating_sub(self.request.arrival));
        self.settings.tls.may_do_without(policy, age) && matches!(self.credentials(peer), Ok(None))
    }

    /// A connection that waits for this destination.
    async fn waiting_session(&self) -> Option<Session> {
        let fits = |s: &Session| {
            let mut places = places(&self.request.nexthop, self.settings.route.protocol);
            places.any(|place| s.identity == self.identity(&s.peer, place))
        };
        self.service.pool.take(&self.request.nexthop, fits).await
    }

    async fn connect(&self, peer: &Peer) -> Result<Socket, Status> {
        let settings = self.settings;
        match &peer.endpoint {
            Endpoint::Inet(address) => {
                let now = sys::time::now_micros() / 1_000_000;
                if let Some(seconds) = sys::board::shunned(sys::board::Peer::Host(address.ip()), now) {
                    return Err(words::shunned(peer, seconds));
                }
                match net::dial::tcp(*address, &settings.source, settings.times.connect).await {
                    Ok(dialled) => {
                        self.warn(dialled.warning.as_slice());
                        Ok(dialled.stream.into())
                    }
                    Err(failure) => {
                        self.warn(failure.warning().map(std::slice::from_ref).unwrap_or_default());
                        Err(words::no_connection(peer, &failure))
                    }
                }
            }
            Endpoint::Unix(path) => match net::dial::unix(path, settings.times.connect).await {
                Ok(stream) => Ok(stream.into()),
                Err(failure) => Err(words::no_connection(peer, &failure)),
            },
        }
    }

    /// From the connection to a session that takes mail.
    /// `plain`: without encryption though it is offered.
    async fn establish(
        &mut self,
        socket: Socket,
        peer: Peer,
        identity: String,
        policy: &Policy,
        plain: bool,
    ) -> Result<Session, Refusal> {
        let settings = self.settings;
        let mut manner = settings.manner.clone();
        if let Endpoint::Inet(address) = &peer.endpoint
            && !settings.ignored_by_address.is_empty()
        {
            match settings.ignored_by_address.lookup(&address.ip().to_string()) {
                Ok(Some(hit)) => {
                    manner.ignored = Keywords::new(tables::split_list(&hit.value).iter().map(String::as_str));
                }
                Ok(None) => {}
                Err(e) => self.voice.say(&Doubt { what: e.to_string() }),
            }
        }
        let discarded = manner.ignored.told();
        let at_mail_port = matches!(&peer.endpoint, Endpoint::Inet(a) if a.port() == 25);
        let mut session = Session::open(socket, peer, settings);
        session.identity = identity;
        let mut handshake = Handshake::new(manner);
        if settings.tls.wrapped {
            session = self.encrypt(policy, session).await?;
        }
        if let Err(unusable) = session.greet(&mut handshake).await {
            if unusable.hears {
                session.close(settings.skip_quit);
            }
            return Err(unusable.status.into());
        }
        if let Some(words) = discarded.filter(|_| session.features.extended) {
            self.voice.say(&Discarding { words });
        }
        if at_mail_port {
            self.recognise_ourselves(&session, &handshake).map_err(|s| Refusal::from(*s))?;
        }
        if let Some(size) = &session.features.bad_size {
            let what = format!("bad EHLO SIZE limit \"{size}\" from {}", session.peer.relay);
            self.voice.say(&Doubt { what });
        }
        let encrypt = match settings.tls.decide(policy, &session, plain, &self.voice) {
            Ok(true) => settings.tls.ask(policy, &mut session).await,
            decided => decided.map_err(|s| *s),
        };
        match encrypt {
            Ok(true) => {
                session = self.encrypt(policy, session).await?;
                session.greet_again(&mut handshake).await.map_err(|u| u.status)?;
            }
            Ok(false) => {}
            Err(status) => {
                session.close(settings.skip_quit);
                return Err(status.into());
            }
        }
        if let Err(status) = self.log_in(&mut session).await {
            session.close(settings.skip_quit);
            return Err(status.into());
        }
        if settings.tls.block_early && session.is_encrypted() && session.is_stale().await {
            let status = Status::new(Code(4, 7, 0), "unexpected server message");
            session.close(settings.skip_quit);
            return Err(status.into());
        }
        // A message that need not go without encryption must not find such a connection.
        session.reusable &= !plain && (!session.is_encrypted() || policy.reuse);
        Ok(session)
    }

    async fn encrypt(&self, policy: &Policy, session: Session) -> Result<Session, Refusal> {
        match self.settings.tls.encrypt(policy, session, &self.voice).await {
            Ok(session) => Ok(session),
            Err(Unencrypted::Handshake(status)) => Err(Refusal { status, handshake: true }),
            Err(Unencrypted::Unverified(session, status)) => {
                session.close(self.settings.skip_quit);
                Err(status.into())
            }
        }
    }

    async fn log_in(&self, session: &mut Session) -> Result<(), Status> {
        let Some(login) = &self.settings.login else { return Ok(()) };
        match self.credentials(&session.peer) {
            Ok(Some(who)) => Box::pin(login.log_in(session, who, &self.voice)).await,
            Ok(None) => Ok(()),
            Err(what) => {
                self.voice.say(&Doubt { what });
                let text = "SASL authentication failed; the login cannot be looked up now";
                Err(Status::new(Code(4, 3, 0), text))
            }
        }
    }

    /// A server with our own name would send the message back to us.
    fn recognise_ourselves(&self, session: &Session, handshake: &Handshake) -> Result<(), Box<Status>> {
        let (own, label) = (&self.settings.myhostname, &session.peer.label);
        let what = if handshake.greeted().eq_ignore_ascii_case(own) {
            format!("host {label} greeted me with my own name {own}")
        } else if session.features.name.eq_ignore_ascii_case(own) {
            format!("host {label} replied to HELO/EHLO with my own name {own}")
        } else {
            return Ok(());
        };
        self.voice.say(&Doubt { what });
        Err(Box::new(words::loops(&self.request.nexthop, session.peer.best)))
    }

    /// One transaction, then the connection is kept or closed.
    async fn use_session(&mut self, mut session: Session, prepared: &mut Prepared, last: bool) {
        self.ready = Some(Instant::now());
        session.uses += 1;
        session.renew();
        let relay = session.peer.relay.clone();
        if let Some(limit) = session.features.size.filter(|l| *l > 0 && prepared.mail.size > *l) {
            self.tell_open(&relay, 0, &words::too_big(&session.peer, prepared.mail.size, limit));
            return session.close(self.settings.skip_quit);
        }
        if prepared.international && !session.features.smtputf8 {
            self.tell_open(&relay, 0, &words::no_smtputf8(&session.peer));
            return session.close(self.settings.skip_quit);
        }
        let open: Vec<usize> =
            (0..self.told.len()).filter(|n| matches!(self.told.get(*n), Some(None))).collect();
        let recipients: Vec<Rcpt> =
            open.iter().filter_map(|n| prepared.recipients.get(*n).cloned()).collect();
        let keep = self.keep(&session);
        let envelope = &self.request.envelope;
        let seven_bits = !session.features.eight_bit && envelope.encoding != Encoding::SevenBit;
        let filter = self.settings.outgoing.message(seven_bits);
        // Nobody knows how large it will be; Postfix takes what was declared as seven bits alone for unchanged.
        let undeclared = !session.features.eight_bit && envelope.encoding == Encoding::Unknown;
        prepared.mail.converted = undeclared || (seven_bits && filter.is_some());
        let content = Content { body: &self.request.body, filter };
        let mail = &prepared.mail;
        let outcome = transfer::run(&mut session, mail, &recipients, content, self.settings, !keep).await;
        self.note(&session, &outcome);
        let whole = outcome.broken.is_none() && outcome.ours.is_none();
        self.settle(&session, &open, outcome, last);
        match whole {
            true if keep && session.reusable && !session.quit => {
                let key = self.pool_key(&session);
                self.service.pool.put(&key, session);
            }
            true => session.close(self.settings.skip_quit),
            // What was begun must not be ended by what closing sends.
            false => drop(session),
        }
    }

    /// Sessions that lead to one of the best hosts are found by the destination.
    fn pool_key(&self, session: &Session) -> String {
        if session.peer.best && !self.at_fallback {
            self.request.nexthop.clone()
        } else {
            session.peer.relay.clone()
        }
    }

    /// Whether a connection is kept when this message is through.
    fn keep(&self, session: &Session) -> bool {
        let reuse = &self.settings.reuse;
        let within = |limit: std::time::Duration| limit.is_zero() || session.age() < limit;
        if !session.reusable || !within(reuse.age) || (reuse.uses > 0 && session.uses >= reuse.uses) {
            return false;
        }
        let always = || match reuse.destinations.is_empty() {
            true => false,
            false => {
                let bare =
                    self.request.nexthop.trim_start_matches('[').split([']', ':']).next().unwrap_or_default();
                reuse.destinations.matches(bare).is_ok_and(|m| m.is_some())
            }
        };
        (reuse.on_demand && self.request.followed) || always()
    }

    fn note(&self, session: &Session, outcome: &Outcome) {
        let id = self.request.id;
        if outcome.broke_a_line {
            self.voice.say_of(id, &LongLine { limit: self.settings.line_limit });
        }
        for answer in &outcome.warnings {
            let (host, answer) = (session.peer.label.clone(), answer.one_line());
            self.voice.say(&ForwardRefused { host, answer });
        }
        if let Some((_, trouble)) = &outcome.broken {
            session.complain(&self.voice, trouble);
        }
    }

    /// There is a further host for those whom the one before wants to come later.
    fn go_on(&mut self) {
        let mut said = String::new();
        for (_, told) in std::mem::take(&mut self.deferred) {
            if told.status.text != said {
                self.voice.say_of(self.request.id, &Postponed { text: told.status.text.clone() });
                said.clone_from(&told.status.text);
            }
            self.failure = Some(NoRoute { status: told.status, loops: false, warnings: Vec::new() });
        }
    }

    /// Notes what became of the recipients at the places `open`.
    fn settle(&mut self, session: &Session, open: &[usize], outcome: Outcome, last: bool) {
        let Outcome { fates, broken, in_doubt, ours, findings, .. } = outcome;
        cleanup::outgoing::say(&self.voice, self.request.id, findings);
        let relay = session.peer.relay.clone();
        let uses = session.uses;
        // An answer to all of them is logged once.
        let mut said_of_all = false;
        // Whether there is another host is not known yet.
        let heard = broken.as_ref().is_none_or(|(stage, _)| *stage == Stage::Rset);
        // A server that was about to close says so before the content; it judged nobody.
        let closing = |f: &Fate| matches!(f, Fate::Refused(Stage::Mail | Stage::Rcpt(_), a) if a.code == 421);
        let kept = uses > 1 && heard && !last && !fates.iter().any(closing);
        if kept {
            self.asked.push(session.peer.endpoint.clone());
        }
        // RCPT was answered before the content.
        let at_rcpt = |fate: &Fate| matches!(fate, Fate::Refused(Stage::Rcpt(_), _));
        let (first, then): (Vec<_>, Vec<_>) = fates.into_iter().zip(open).partition(|(f, _)| at_rcpt(f));
        for (fate, place) in first.into_iter().chain(then) {
            match fate {
                Fate::Sent(answer) => {
                    let status = words::sent(&session.peer, &answer);
                    let action = self.action(session);
                    self.tell(*place, Told { relay: relay.clone(), uses, status, action });
                }
                Fate::Refused(stage, answer) => {
                    let status = words::said(&session.peer, &answer, stage);
                    let final_word = last || status.code.0 != 4;
                    let told = Told {
                        relay: relay.clone(),
                        uses,
                        status: status.clone(),
                        action: Action::Delivered,
                    };
                    if final_word {
                        self.tell(*place, told);
                    } else if kept {
                        self.deferred.push((*place, told));
                    } else {
                        let single = matches!(stage, Stage::Rcpt(_));
                        if single || !std::mem::replace(&mut said_of_all, true) {
                            self.voice.say_of(self.request.id, &Postponed { text: status.text.clone() });
                        }
                        self.failure = Some(NoRoute { status, loops: false, warnings: Vec::new() });
                    }
                }
                Fate::Open | Fate::Accepted => {}
            }
        }
        if let Some(status) = ours {
            self.tell_open(&relay, uses, &status);
        }
        // Who must wait for another host knows already.
        if let Some((stage, trouble)) = broken.filter(|(stage, _)| *stage != Stage::Rset) {
            let status = words::broken(&session.peer, stage, &trouble);
            self.host_failed_after(&relay, uses, status, last || in_doubt);
        }
    }

    /// What a success notice would say of it.
    fn action(&self, session: &Session) -> Action {
        match () {
            () if self.settings.assume_final => Action::Delivered,
            () if session.features.dsn => Action::Transferred,
            () => Action::Relayed,
        }
    }

    /// A host cannot be used, for any recipient.
    fn host_failed(&mut self, relay: &str, status: Status, last: bool) {
        self.host_failed_after(relay, 0, status, last);
    }

    fn host_failed_after(&mut self, relay: &str, uses: u32, status: Status, last: bool) {
        if !self.is_open() {
            return;
        }
        if status.code.0 == 4 && !last {
            self.voice.say_of(self.request.id, &Postponed { text: status.text.clone() });
            self.failure = Some(NoRoute { status, loops: false, warnings: Vec::new() });
            return;
        }
        if status.code.0 == 4 {
            self.unreachable = Some(status.clone());
        }
        self.tell_open(relay, uses, &status);
    }

    /// All places failed.
    fn last_word(&mut self) {
        let around = Circumstances {
            first: route::list(&self.request.nexthop).next().unwrap_or_default(),
            relayhost: &self.settings.relayhost,
            at_fallback: self.at_fallback,
            fallback_name: self.settings.fallback_name,
            best_mx_transport: &self.settings.best_mx_transport,
        };
        match route::last_word(self.failure.as_ref(), around) {
            LastWord::Status(status, warning) => {
                self.warn(warning.as_slice());
                if status.code.0 == 4 {
                    self.unreachable = Some(status.clone());
                }
                self.tell_open("none", 0, &status);
            }
            LastWord::Pass(transport) => self.pass = Some(transport),
        }
    }

    fn warn(&self, warnings: &[String]) {
        for what in warnings {
            self.voice.say(&Doubt { what: what.clone() });
        }
    }

    fn is_open(&self) -> bool {
        self.told.iter().any(Option::is_none)
    }

    fn sessions_used_up(&self) -> bool {
        self.settings.session_limit > 0 && self.sessions >= self.settings.session_limit
    }

    fn tell(&mut self, place: usize, told: Told) {
        if let Some(slot) = self.told.get_mut(place) {
            *slot = Some(told);
            self.order.push(place);
        }
    }

    /// The same to all that have no result yet.
    fn tell_open(&mut self, relay: &str, uses: u32, status: &Status) {
        for place in 0..self.told.len() {
            if matches!(self.told.get(place), Some(None)) {
                let (relay, status) = (relay.to_string(), status.clone());
                self.tell(place, Told { relay, uses, status, action: Action::Delivered });
            }
        }
    }

    fn done(self) -> Done {
        let ended = Instant::now();
        let ready = self.ready.unwrap_or(ended);
        let mut told = self.told;
        let mut reports = Vec::with_capacity(told.len());
        for at in self.order {
            if let Some(told) = told.get_mut(at).and_then(Option::take)
                && let Some((place, address)) = self.request.recipients.get(at)
            {
                reports.push(report(self.request, *place, address, told));
            }
        }
        if let Some(transport) = &self.pass {
            let reported = |place: usize| reports.iter().any(|r| r.recipient == place);
            let rest: Vec<_> = self.request.recipients.iter().filter(|(p, _)| !reported(*p)).collect();
            reports.extend(rest.into_iter().map(|(place, address)| passed(*place, address, transport)));
        }
        Done {
            reports,
            connect: ready.duration_since(self.begun).as_micros() as u64,
            transmit: ended.duration_since(ready).as_micros() as u64,
            number: self.number,
            unreachable: self.unreachable,
            ..Done::default()
        }
    }
}

/// The places that a next hop names.
fn places(nexthop: &str, protocol: route::Protocol) -> impl Iterator<Item = &str> {
    // A path may have any character.
    let path = protocol == route::Protocol::Lmtp && nexthop.starts_with("unix:");
    path.then_some(nexthop).into_iter().chain(route::list(nexthop).filter(move |_| !path))
}

fn report(request: &Request, place: usize, address: &Address, told: Told) -> Report {
    let Told { relay, uses, status, action } = told;
    let original = request.envelope.recipients.get(place).map(|r| r.original.clone()).unwrap_or_default();
    let line = Line {
        to: address.clone(),
        orig_to: original,
        relay: if uses > 1 { format!("{relay}, conn_use={uses}") } else { relay },
        status: status.clone(),
        action,
        forward: None,
        bounce_to: None,
    };
    Report {
        recipient: place,
        lines: vec![line],
        result: status,
        forwards: Vec::new(),
        expanded: None,
        passes: Vec::new(),
    }
}

/// Another transport is to deliver.
fn passed(place: usize, address: &Address, transport: &str) -> Report {
    let pass = Pass { to: address.clone(), transport: transport.to_string(), nexthop: String::new() };
    Report {
        recipient: place,
        lines: Vec::new(),
        result: Status::new(Code(2, 0, 0), ""),
        forwards: Vec::new(),
        expanded: None,
        passes: vec![pass],
    }
}
