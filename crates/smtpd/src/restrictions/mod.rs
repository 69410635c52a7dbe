//! Restriction lists: reading them, and what they say of a client, sender or recipient.
//!
//! A list is asked element by element until one permits or refuses; at its end nothing is said.
//! Policy only returns [`Verdict`]s; the session writes and logs. One file per family of names,
//! each with a table of them; lists are read once, when a listener's snapshot is made.

mod access;
mod backup;
mod client;
mod data;
pub mod facts;
mod helo;
mod login;
pub mod policy;
pub(crate) mod rbl;
mod recipient;
mod relay;
mod sender;
mod servers;
#[cfg(test)]
mod tests;
mod unknown;
mod unlisted;
pub mod unverified;

use crate::auth::Login;
use crate::client::Client;
use crate::service::Rules;
use crate::world::{Trouble, World};
use cleanup::Orders;
use config::Config;
use config::value::split_list;
use facts::{Answer, Facts, Kind, Wanted};
use proto::Address;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Event, Faults};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use unknown::later;

/// Why something was decided: parameter, element of its list, row of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// The parameter, such as `smtpd_relay_restrictions`.
    pub parameter: String,
    /// The element, with its argument.
    pub element: String,
    /// The table row that decided, or the element of a list like `mynetworks`.
    pub row: Option<String>,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.parameter, self.element)?;
        self.row.as_ref().map_or(Ok(()), |row| write!(f, " ({row})"))
    }
}

/// A refusal: what the client is told, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reply.
    pub reply: Reply,
    /// The reason.
    pub why: Why,
    /// What the postmaster calls it.
    pub fault: Faults,
}

/// What an element, or a list, says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing; go on.
    Dunno,
    /// Yes: the rest of this list is not asked.
    Permit(Why),
    /// No.
    Reject(Rejection),
    /// Nobody can tell without the facts that [`Notes::wanted`] names.
    Wait,
}

/// Where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stage {
    Connect,
    Helo,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    EndOfMessage,
    Vrfy,
    Etrn,
    Unknown,
}

impl Stage {
    /// Where an event of the machine belongs.
    pub(crate) fn of(event: &Event<'_>) -> Option<Stage> {
        Some(match event {
            Event::Helo { extended: false, .. } => Stage::Helo,
            Event::Helo { .. } => Stage::Ehlo,
            Event::Mail(_) => Stage::Mail,
            Event::Rcpt(_) => Stage::Rcpt,
            Event::Data { chunked: false } => Stage::Data,
            Event::Data { .. } => Stage::Bdat,
            Event::EndOfMessage { .. } => Stage::EndOfMessage,
            Event::Vrfy(..) => Stage::Vrfy,
            Event::Etrn(_) => Stage::Etrn,
            _ => return None,
        })
    }
}

/// What is asked about.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Values of parameters.
    pub rules: &'a Rules,
    /// Answers about addresses.
    pub world: &'a dyn World,
    /// What name servers said.
    pub facts: &'a Facts,
    /// The client.
    pub client: &'a Client,
    /// HELO argument, when given.
    pub helo: Option<&'a str>,
    /// The sender, when given.
    pub sender: Option<&'a Address>,
    /// The recipient, at RCPT and VRFY.
    pub recipient: Option<&'a Address>,
    /// Recipients accepted so far.
    pub recipients: u64,
    /// The domain of ETRN.
    pub etrn: &'a str,
    /// The client spoke before its turn.
    pub pipelined: bool,
    /// The session is encrypted.
    pub encrypted: bool,
    /// It is encrypted so; not known where anybody's session is supposed.
    pub tls: Option<&'a net::tls::Summary>,
    /// Who the client logged in as.
    pub login: Option<&'a Login>,
    /// What policy services hear, too.
    pub about: policy::About<'a>,
    /// Nobody can log in now, though users do.
    pub logins_fail: bool,
}

/// What a `…_tempfail_action` has done when a name server cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tempfail {
    /// Refuse for now.
    Defer,
    /// Refuse for now unless something refuses for good.
    DeferIfPermit,
}

/// What is gathered on the way through the lists of one question.
#[derive(Debug, Default)]
pub struct Notes {
    /// Refuse in the end, if all else permits.
    pub defer_if_permit: Option<Rejection>,
    /// Refuse only for now, if something refuses.
    pub defer_if_reject: Option<Rejection>,
    /// What `warn_if_reject` kept from refusing.
    pub warnings: Vec<Rejection>,
    /// How long to wait before the reply (`sleep`).
    pub delay: Duration,
    /// For the log: what, text.
    pub says: Vec<Say>,
    /// The message is to be taken and forgotten (DISCARD), for this reason.
    pub discard: Option<String>,
    /// What else is to become of the message.
    pub orders: Orders,
    /// `reject_unlisted_recipient` was asked.
    pub recipient_checked: bool,
    /// `reject_unlisted_sender` was asked.
    pub sender_checked: bool,
    /// Facts that were needed and not there.
    pub wanted: Vec<Wanted>,
    /// An address that is to be verified.
    pub(crate) unverified: Option<Address>,
    /// What a policy service is to be asked.
    pub(crate) inquiry: Option<policy::Inquiry>,
    /// How many of its answers were used.
    inquiries: usize,
    /// No policy service answered, and its default action is being done.
    failing: bool,
    /// What is asked now is asked ahead of its turn.
    ahead: bool,
    /// How deep results of access tables led to further restrictions.
    depth: usize,
}

/// Something for the log that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// A name that is no restriction.
    UnknownRestriction(String),
    /// A restriction with a bad argument.
    Bad(String, String),
    /// A table that cannot answer, and other warnings.
    Trouble(String),
    /// A warning that is not repeated in a session.
    Once(String),
    /// `reject_maps_rbl` was asked.
    OldLists,
    /// A restriction on logins where nobody can log in.
    NoSaslSupport(String),
    /// A template names what there is not.
    UnknownMacro(String),
    /// `smtpd_log_access_permit_actions`: what permits, what about, by which table.
    Permit(String, String, String),
    /// Table, key, and what its action lacks.
    Requires(String, String, &'static str),
    /// The table of an action that says nothing.
    EmptyAction(String),
    /// A table, and its action, which names a table itself.
    TableInTable(String, String),
    /// An access table's action that lets the message pass: which, and its text.
    Access(&'static str, String),
    /// An enhanced code, the class it does not suit, and the one said instead.
    Mapped(String, &'static str, String),
}

/// The subject of a reply: `<value>: Client host rejected: …`.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What stands in angle brackets.
    pub value: String,
    /// Such as `Client host`.
    pub class: &'static str,
}

/// A question in the light of one list.
pub struct Asked<'a, 'n> {
    /// The question.
    pub q: Question<'a>,
    /// What replies of general restrictions are about.
    pub subject: Subject,
    /// Present parameter and element.
    pub why: Why,
    /// Gathered on the way.
    pub notes: &'n mut Notes,
}

/// What a named restriction does.
pub type Rule = fn(&mut Asked<'_, '_>) -> Verdict;

/// The names without argument, family by family.
const FAMILIES: &[&[(&str, Rule)]] = &[
    GENERAL,
    client::RULES,
    helo::RULES,
    sender::RULES,
    login::RULES,
    recipient::RULES,
    relay::RULES,
    data::RULES,
    unknown::RULES,
    unverified::RULES,
    unknown::ASKING,
    backup::ASKING,
];

/// Those of them that ask name servers.
const ASKING: &[&[(&str, Rule)]] = &[unknown::ASKING, backup::ASKING];

const GENERAL: &[(&str, Rule)] = &[
    ("permit", |a| a.permit(None)),
    ("reject", |a| {
        let code = a.q.rules.reject_code;
        a.reject(code, "5.7.1", "Access denied")
    }),
    ("defer", |a| {
        let code = a.q.rules.defer_code;
        a.reject(code, "4.7.1", "Try again later")
    }),
    ("defer_if_permit", |a| {
        let rejection = a.refusal(a.q.rules.defer_code, "4.7.1", "Try again later");
        a.notes.defer_if_permit.get_or_insert(rejection);
        Verdict::Dunno
    }),
    ("defer_if_reject", |a| {
        let rejection = a.refusal(a.q.rules.defer_code, "4.7.1", "Try again later");
        a.notes.defer_if_reject.get_or_insert(rejection);
        Verdict::Dunno
    }),
];

/// One element of a list.
enum Element {
    Rule(String, Rule),
    WarnIfReject(Box<Element>),
    Sleep(Duration),
    Access(String, access::Access),
    Listed(String, rbl::Listed),
    Policy(String, policy::Service),
    /// `reject_maps_rbl`, which Postfix says will go, and the lists it stands for.
    OldLists(Vec<Element>),
    /// It says something in the log, and nothing else.
    Idle(Say),
    Class(String, Arc<List>),
    /// It cannot be obeyed: the mail waits until the administrator has corrected it.
    Broken(String, Say),
}

/// A restriction list, ready to be asked.
#[derive(Default)]
pub struct List {
    parameter: String,
    elements: Vec<Element>,
}

/// Opens what a table name stands for.
pub type OpenTable<'a> = &'a dyn Fn(&str) -> Arc<dyn tables::Table>;

impl List {
    /// Reads the list of `parameter`.
    pub fn read(config: &Config, parameter: &str, elements: &[String], open: OpenTable<'_>) -> List {
        let classes = config.get("smtpd_restriction_classes").map(|t| split_list(&t)).unwrap_or_default();
        Reader { config, classes, open }.list(parameter, elements, 0)
    }

    /// True when it says nothing.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Whether an element of this name stands in it, classes included.
    pub fn contains(&self, name: &str) -> bool {
        self.elements.iter().any(|e| match e {
            Element::Rule(n, _) => n == name,
            Element::WarnIfReject(inner) => matches!(&**inner, Element::Rule(n, _) if n == name),
            Element::Class(_, list) => list.contains(name),
            _ => false,
        })
    }

    /// Asks it.
    pub fn ask(&self, q: Question<'_>, subject: Subject, notes: &mut Notes) -> Verdict {
        let why = Why { parameter: self.parameter.clone(), ..Why::default() };
        self.ask_in(&mut Asked { q, subject, why, notes })
    }

    fn ask_in(&self, asked: &mut Asked<'_, '_>) -> Verdict {
        let mut elements = self.elements.iter();
        for element in elements.by_ref() {
            match element.ask(asked) {
                Verdict::Dunno => {}
                Verdict::Reject(rejection) => return Verdict::Reject(soften(rejection, asked.notes)),
                Verdict::Wait => {
                    // What the neighbours need is asked for at the same time.
                    let outer = std::mem::replace(&mut asked.notes.ahead, true);
                    if asked.notes.inquiry.is_none() && asked.notes.unverified.is_none() {
                        for next in elements.take_while(|e| e.asks_servers()).take(AHEAD) {
                            next.ask(asked);
                        }
                    }
                    asked.notes.ahead = outer;
                    return Verdict::Wait;
                }
                permit => return permit,
            }
        }
        Verdict::Dunno
    }
}

/// How many elements of a list are looked at ahead.
const AHEAD: usize = 8;

/// `defer_if_reject` makes a refusal temporary.
fn soften(rejection: Rejection, notes: &Notes) -> Rejection {
    match &notes.defer_if_reject {
        Some(softer) if rejection.reply.code >= 500 => softer.clone(),
        _ => rejection,
    }
}

impl Element {
    /// Name servers are asked, and nothing else matters: it may be done before its turn.
    fn asks_servers(&self) -> bool {
        match self {
            Element::Rule(name, _) => ASKING.iter().flat_map(|f| f.iter()).any(|(n, _)| n == name),
            Element::Listed(..) | Element::OldLists(_) => true,
            Element::Access(_, access) => access.asks_servers(),
            Element::WarnIfReject(inner) => inner.asks_servers(),
            _ => false,
        }
    }

    fn ask(&self, asked: &mut Asked<'_, '_>) -> Verdict {
        match self {
            Element::Rule(name, rule) => {
                asked.why.element.clone_from(name);
                asked.why.row = None;
                rule(asked)
            }
            Element::WarnIfReject(inner) => match inner.ask(asked) {
                Verdict::Reject(rejection) => {
                    asked.notes.warnings.push(rejection);
                    Verdict::Dunno
                }
                other => other,
            },
            Element::Sleep(time) => {
                asked.notes.delay += *time;
                Verdict::Dunno
            }
            Element::Access(name, access) => {
                asked.why.element.clone_from(name);
                asked.why.row = None;
                access.ask(asked)
            }
            Element::Listed(name, listed) => {
                asked.why.element.clone_from(name);
                asked.why.row = None;
                listed.ask(asked)
            }
            Element::Policy(name, service) => {
                asked.why.element.clone_from(name);
                asked.why.row = None;
                service.ask(asked)
            }
            Element::OldLists(lists) => {
                asked.notes.says.push(Say::OldLists);
                let verdicts = lists.iter().map(|list| list.ask(asked));
                verdicts.into_iter().find(|v| *v != Verdict::Dunno).unwrap_or(Verdict::Dunno)
            }
            Element::Idle(say) => {
                asked.notes.says.push(say.clone());
                Verdict::Dunno
            }
            Element::Class(name, list) => {
                let outer = asked.why.parameter.clone();
                asked.why.parameter = format!("{outer}: {name}");
                let verdict = list.ask_in(asked);
                asked.why.parameter = outer;
                verdict
            }
            Element::Broken(name, say) => {
                asked.why.element.clone_from(name);
                asked.notes.says.push(say.clone());
                asked.server_error()
            }
        }
    }
}

impl<'a> Asked<'a, '_> {
    /// Yes, to the recipient or whatever the list is about.
    fn permit(&mut self, row: Option<String>) -> Verdict {
        let subject = self.subject.clone();
        self.permit_of(&subject, row)
    }

    fn permit_of(&mut self, subject: &Subject, row: Option<String>) -> Verdict {
        self.why.row = row;
        let name = self.why.element.split(' ').next().unwrap_or_default().to_string();
        self.note_permit(&name, &name, subject, "");
        Verdict::Permit(self.why.clone())
    }

    /// `smtpd_log_access_permit_actions`: `name` is what that list has, `action` what permits.
    fn note_permit(&mut self, name: &str, action: &str, subject: &Subject, table: &str) {
        let Some(list) = &self.q.rules.log_permits else { return };
        match list.matches(name) {
            Ok(None) => {}
            Ok(Some(_)) => {
                let about = format!("{}={}", subject.class, subject.value);
                self.notes.says.push(Say::Permit(action.to_string(), about, table.to_string()));
            }
            Err(error) => self.notes.says.push(Say::Trouble(error.to_string())),
        }
    }

    /// What name servers say; `None` (and a note) when that is not known yet.
    fn look_up(&mut self, kind: Kind, name: &str) -> Option<&'a Answer> {
        self.fact(kind, name, false)
    }

    /// The same for a name below that of a list in the DNS.
    fn look_up_listed(&mut self, kind: Kind, name: &str) -> Option<&'a Answer> {
        self.fact(kind, name, true)
    }

    fn fact(&mut self, kind: Kind, name: &str, listed: bool) -> Option<&'a Answer> {
        let facts: &'a Facts = self.q.facts;
        let wanted = Wanted { kind, name: name.trim_end_matches('.').to_lowercase() };
        let answer = facts.get(&wanted, listed);
        if answer.is_none() && !self.notes.wanted.contains(&wanted) {
            self.notes.wanted.push(wanted);
        }
        answer
    }

    /// A refusal about the subject of the list.
    fn refusal(&mut self, code: u16, enhanced: &str, text: &str) -> Rejection {
        let subject = self.subject.clone();
        self.refusal_of(&subject, code, enhanced, text)
    }

    fn refusal_of(&mut self, subject: &Subject, code: u16, enhanced: &str, text: &str) -> Rejection {
        let mapped = suiting(enhanced, subject.class);
        if let Some(to) = &mapped {
            self.notes.says.push(Say::Mapped(enhanced.to_string(), subject.class, to.clone()));
        }
        let enhanced = mapped.as_deref().unwrap_or(enhanced);
        let text = format!("{} <{}>: {} rejected: {text}", fit(enhanced, code), subject.value, subject.class);
        Rejection { reply: Reply::new(code, text), why: self.why.clone(), fault: Faults::POLICY }
    }

    fn reject(&mut self, code: u16, enhanced: &str, text: &str) -> Verdict {
        Verdict::Reject(self.refusal(code, enhanced, text))
    }

    /// The configuration cannot be obeyed.
    fn server_error(&self) -> Verdict {
        let reply = Reply::new(451, "4.3.5 Server configuration error");
        Verdict::Reject(Rejection { reply, why: self.why.clone(), fault: Faults::SOFTWARE })
    }

    /// An answer could not be had: refuse for now.
    fn trouble(&mut self, trouble: Trouble) -> Verdict {
        let subject = self.subject.clone();
        self.trouble_of(trouble, &subject)
    }

    fn trouble_of(&mut self, trouble: Trouble, subject: &Subject) -> Verdict {
        if let Trouble::Unavailable(what) = trouble {
            self.notes.says.push(Say::Trouble(what));
        }
        let text = format!("4.3.0 <{}>: Temporary lookup failure", subject.value);
        let (reply, why) = (Reply::new(451, text), self.why.clone());
        Verdict::Reject(Rejection { reply, why, fault: Faults::DATA })
    }
}

/// `smtpd_reject_unlisted_sender`.
pub fn unlisted_sender(q: Question<'_>, notes: &mut Notes) -> Verdict {
    match q.sender {
        Some(sender) => {
            implied(q, Subject::sender(sender), notes, "smtpd_reject_unlisted_sender", sender, true)
        }
        None => Verdict::Dunno,
    }
}

/// `smtpd_reject_unlisted_recipient`.
pub fn unlisted_recipient(q: Question<'_>, notes: &mut Notes) -> Verdict {
    match q.recipient {
        Some(r) => implied(q, Subject::recipient(r), notes, "smtpd_reject_unlisted_recipient", r, false),
        None => Verdict::Dunno,
    }
}

/// A restriction that a parameter of its own asks for.
fn implied(
    q: Question<'_>,
    subject: Subject,
    notes: &mut Notes,
    parameter: &str,
    address: &Address,
    sender: bool,
) -> Verdict {
    let why = Why { parameter: parameter.into(), element: "yes".into(), row: None };
    match unlisted::check(&mut Asked { q, subject, why, notes }, address, sender) {
        Verdict::Reject(rejection) => Verdict::Reject(soften(rejection, notes)),
        verdict => verdict,
    }
}

/// The subjects that lists and restrictions speak about.
impl Subject {
    /// The client.
    pub fn client(client: &Client) -> Subject {
        Subject { value: format!("{}[{}]", client.name, client.address), class: "Client host" }
    }

    /// The name that the client's address points to.
    pub fn reverse_client(client: &Client) -> Subject {
        Subject { value: client.reverse_name.clone(), class: "Unverified Client host" }
    }

    /// The HELO argument.
    pub fn helo(name: &str) -> Subject {
        Subject { value: name.to_string(), class: "Helo command" }
    }

    /// The sender.
    pub fn sender(address: &Address) -> Subject {
        Subject { value: address.internal(), class: "Sender address" }
    }

    /// The recipient.
    pub fn recipient(address: &Address) -> Subject {
        Subject { value: address.internal(), class: "Recipient address" }
    }
}

/// The code that fits when `enhanced` speaks of another kind of address than what is refused, such
/// as a recipient's code for a sender. RFC 3463 3.2.
fn suiting(enhanced: &str, class: &str) -> Option<String> {
    let (severity, detail) = enhanced.split_once(".1.")?;
    let detail = match (class, detail) {
        ("Sender address", "1" | "3" | "4" | "6") => "1.7",
        ("Sender address", "2") => "1.8",
        ("Sender address", "5" | "9") => "1.0",
        ("Recipient address", "7") => "1.3",
        ("Recipient address", "8") => "1.2",
        ("Recipient address", "9") => "1.0",
        ("Sender address" | "Recipient address", _) => return None,
        _ => "0.0",
    };
    Some(format!("{severity}.{detail}"))
}

/// Makes the class of an enhanced code fit the reply's. RFC 2034 4.
fn fit(enhanced: &str, code: u16) -> String {
    let class = match code / 100 {
        4 => "4",
        5 => "5",
        _ => return enhanced.to_string(),
    };
    format!("{class}{}", enhanced.get(1..).unwrap_or(".7.1"))
}

/// A text that may begin with an enhanced status code of its own, and that code or `default`,
/// its class made to fit `code`. RFC 3463 2.
fn split_enhanced<'t>(text: &'t str, default: &str, code: u16) -> (String, &'t str) {
    match text.split_once(' ') {
        Some((first, rest)) if is_enhanced(first) => (fit(first, code), rest.trim_start()),
        _ => (fit(default, code), text),
    }
}

fn is_enhanced(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    parts.len() == 3
        && matches!(parts[0], "2" | "4" | "5")
        && parts[1..].iter().all(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
}

struct Reader<'a> {
    config: &'a Config,
    classes: Vec<String>,
    open: OpenTable<'a>,
}

impl Reader<'_> {
    fn list(&self, parameter: &str, elements: &[String], depth: usize) -> List {
        let mut words = elements.iter().map(String::as_str);
        let mut out = Vec::new();
        while let Some(word) = words.next() {
            out.push(self.element(word, &mut words, depth));
        }
        List { parameter: parameter.to_string(), elements: out }
    }

    fn element<'w>(&self, word: &'w str, more: &mut dyn Iterator<Item = &'w str>, depth: usize) -> Element {
        let name = current_name(&word.to_ascii_lowercase()).to_string();
        let broken =
            |what: &str| Element::Broken(word.to_string(), Say::Bad(word.to_string(), what.to_string()));
        if name == "warn_if_reject" {
            return match more.next() {
                Some(next) => Element::WarnIfReject(Box::new(self.element(next, more, depth))),
                None => broken("expects a restriction after it"),
            };
        }
        if name == "sleep" {
            return match more.next().and_then(|n| n.parse().ok()) {
                Some(seconds) => Element::Sleep(Duration::from_secs(seconds)),
                None => broken("expects a number of seconds after it"),
            };
        }
        if let Some((_, rule)) = FAMILIES.iter().flat_map(|f| f.iter()).find(|(n, _)| *n == name) {
            return Element::Rule(name, *rule);
        }
        if let Some((subject, via)) = access::subject_of(&name) {
            return match more.next() {
                Some(set) if subject == access::Of::Certificate && set.starts_with('{') => {
                    match access::certificate_order(set) {
                        Ok((table, order)) => {
                            let access = access::Access::new(subject, via, &table, (self.open)(&table));
                            Element::Access(format!("{name} {table}"), access.of_prints(order))
                        }
                        Err(what) => broken(&what),
                    }
                }
                Some(table) if table.contains(':') => {
                    let access = access::Access::new(subject, via, table, (self.open)(table));
                    Element::Access(format!("{name} {table}"), access)
                }
                _ => broken("expects a table, type:name, after it"),
            };
        }
        if rbl::takes_domain(&name) {
            // As in Postfix, one without a domain is without effect.
            let no_domain = || {
                let what = format!("restriction {name} requires domain name argument");
                Element::Idle(Say::Trouble(what))
            };
            return match more.next() {
                Some(domain) if rbl::is_domain(domain) => self.listed(&name, domain),
                // Whatever follows is a restriction of its own, and not to be swallowed.
                Some(_) => broken("expects the domain name of a list after it"),
                None => no_domain(),
            };
        }
        if name == "reject_maps_rbl" {
            let domains = self.config.get("maps_rbl_domains").map(|t| split_list(&t)).unwrap_or_default();
            return Element::OldLists(domains.iter().map(|d| self.listed("reject_rbl_client", d)).collect());
        }
        if let Some(class) = self.classes.iter().find(|c| c.eq_ignore_ascii_case(word)) {
            if depth > 20 {
                return broken("the class contains itself");
            }
            let elements = self.config.get(class).map(|text| split_list(&text)).unwrap_or_default();
            return Element::Class(class.clone(), Arc::new(self.list(class, &elements, depth + 1)));
        }
        if name == "check_policy_service" {
            let element = |argument: &str| format!("check_policy_service {argument}");
            return match more.next() {
                None => broken("requires a policy service, such as inet:host:port"),
                Some(argument) => match policy::Service::read(self.config, argument) {
                    Ok(service) => Element::Policy(element(argument), service),
                    Err(what) => Element::Broken(element(argument), Say::Bad(name, what)),
                },
            };
        }
        // A table alone is an access table for the subject of the list.
        if word.contains(':') && !word.contains('=') {
            let access = access::Access::new(access::Of::Subject, None, word, (self.open)(word));
            return Element::Access(word.to_string(), access);
        }
        Element::Broken(word.to_string(), Say::UnknownRestriction(word.to_string()))
    }
}

impl Reader<'_> {
    fn listed(&self, name: &str, domain: &str) -> Element {
        let element = format!("{name} {domain}");
        match rbl::Listed::new(name, domain) {
            Ok(listed) => Element::Listed(element, listed),
            Err(what) => Element::Broken(element, Say::Bad(format!("{name} {domain}"), what)),
        }
    }
}

/// Old names still work.
fn current_name(name: &str) -> &str {
    match name {
        "reject_invalid_hostname" => "reject_invalid_helo_hostname",
        "reject_non_fqdn_hostname" => "reject_non_fqdn_helo_hostname",
        "check_relay_domains" => "reject_unauth_destination",
        "reject_unknown_recipient" => "reject_unlisted_recipient",
        "reject_unknown_client" => "reject_unknown_client_hostname",
        "reject_unknown_hostname" => "reject_unknown_helo_hostname",
        name => name,
    }
}
