//! Access tables: `check_client_access type:name` and its kin, with the results of access(5).

use super::rbl;
use super::servers::{self, Via};
use super::{Asked, FAMILIES, Say, Subject, Verdict, split_enhanced};
use crate::world::Trouble;
use proto::Address;
use std::sync::Arc;
use tables::{Hit, Table, TableError};

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// What the list is about (a table that stands alone).
    Subject,
    Client,
    ReverseClient,
    Helo,
    Sender,
    Recipient,
    Etrn,
    Login,
    /// The client's certificate.
    Certificate,
}

/// What of a certificate is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Print {
    Certificate,
    Key,
}

/// The table and the order of `{ type:table, { search_order = cert_fingerprint, … } }`.
pub(super) fn certificate_order(set: &str) -> Result<(String, Vec<Print>), String> {
    let inside = config::value::in_braces(set).ok_or("has a brace too few")?;
    let mut parts = config::value::split_list(inside).into_iter();
    let table = parts.next().filter(|t| t.contains(':')).ok_or("expects a table, type:name, after it")?;
    let mut order = BOTH.to_vec();
    for part in parts {
        let setting = config::value::in_braces(&part).and_then(|s| s.split_once('='));
        let Some((name, value)) = setting.filter(|(name, _)| name.trim() == "search_order") else {
            return Err(format!(
                "does not know {part}; write {{ search_order = cert_fingerprint, pubkey_fingerprint }}"
            ));
        };
        let words = config::value::split_list(value).into_iter().map(|word| match word.as_str() {
            "cert_fingerprint" => Ok(Print::Certificate),
            "pubkey_fingerprint" => Ok(Print::Key),
            other => {
                Err(format!("does not know {other} in {name}; write cert_fingerprint or pubkey_fingerprint"))
            }
        });
        order = words.collect::<Result<_, _>>()?;
    }
    Ok((table, order))
}

const BOTH: [Print; 2] = [Print::Certificate, Print::Key];

/// What a restriction of this name looks up, and whether it is the servers of that.
pub(super) fn subject_of(name: &str) -> Option<(Of, Option<Via>)> {
    let of = match name {
        "check_client_access" => Of::Client,
        "check_reverse_client_hostname_access" => Of::ReverseClient,
        "check_helo_access" => Of::Helo,
        "check_sender_access" => Of::Sender,
        "check_recipient_access" => Of::Recipient,
        "check_etrn_access" => Of::Etrn,
        "check_sasl_access" => Of::Login,
        "check_ccert_access" => Of::Certificate,
        name => return servers::meaning(name).map(|(of, via)| (of, Some(via))),
    };
    Some((of, None))
}

/// One `check_…_access`.
pub(super) struct Access {
    of: Of,
    via: Option<Via>,
    table: String,
    rows: Arc<dyn Table>,
    prints: Vec<Print>,
}

impl Access {
    pub(super) fn new(of: Of, via: Option<Via>, table: &str, rows: Arc<dyn Table>) -> Access {
        let prints = if of == Of::Certificate { BOTH.to_vec() } else { Vec::new() };
        Access { of, via, table: table.to_string(), rows, prints }
    }

    /// With the fingerprints of a certificate looked up in this order.
    pub(super) fn of_prints(self, prints: Vec<Print>) -> Access {
        Access { prints, ..self }
    }

    /// Name servers are asked, not only the table.
    pub(super) fn asks_servers(&self) -> bool {
        self.via.is_some()
    }

    pub(super) fn ask(&self, a: &mut Asked<'_, '_>) -> Verdict {
        let of = match (self.of, a.subject.class) {
            (Of::Subject, "Client host") => Of::Client,
            (Of::Subject, "Helo command") => Of::Helo,
            (Of::Subject, "Sender address") => Of::Sender,
            (Of::Subject, "Recipient address") => Of::Recipient,
            (Of::Subject, "Etrn command") => Of::Etrn,
            (of, _) => of,
        };
        if let Some(via) = self.via {
            return servers::ask(self, of, via, a);
        }
        if of == Of::Certificate {
            return self.ask_certificate(a);
        }
        let Some((keys, subject)) = keys_of(a, of) else { return Verdict::Dunno };
        self.decide(a, &subject, keys)
    }

    /// Whoever vouches for it.
    fn ask_certificate(&self, a: &mut Asked<'_, '_>) -> Verdict {
        if !a.q.rules.asks_clients {
            let what = "check_ccert_access is requested, but \"smtpd_tls_ask_ccert = no\"";
            a.notes.says.push(Say::Trouble(what.into()));
            return Verdict::Dunno;
        }
        let Some(peer) = a.q.tls.and_then(|tls| tls.peer.as_ref()) else { return Verdict::Dunno };
        let keys = self.prints.iter().map(|print| match print {
            Print::Certificate => (peer.fingerprint.clone(), false),
            Print::Key => (peer.key_fingerprint.clone(), false),
        });
        let subject = Subject { value: peer.subject.clone(), class: "Client certificate" };
        self.decide(a, &subject, keys.collect())
    }

    /// What the first of `keys` that is in the table says.
    pub(super) fn decide(&self, a: &mut Asked<'_, '_>, subject: &Subject, keys: Keys) -> Verdict {
        for (key, part) in keys {
            match self.find(&key, part) {
                Ok(Some(hit)) => {
                    let line = hit.place.1.map_or(String::new(), |line| format!(", line {line}"));
                    a.why.row = Some(format!("{}{line}", hit.place.0));
                    return obey(a, (&self.table, &key), subject, &hit.value);
                }
                Ok(None) => {}
                Err(error) => return a.trouble(Trouble::Unavailable(error.to_string())),
            }
        }
        Verdict::Dunno
    }

    /// Tables of patterns see whole keys only.
    fn find(&self, key: &str, part: bool) -> Result<Option<Hit>, TableError> {
        if key.is_empty() || part && self.rows.whole_key_only() {
            return Ok(None);
        }
        self.rows.lookup(key)
    }
}

/// Does what an action says that stands in `row`: a table and its key, or a policy service.
pub(super) fn obey(a: &mut Asked<'_, '_>, row: (&str, &str), subject: &Subject, value: &str) -> Verdict {
    let (table, key) = (row.0, row.1);
    let value = value.trim();
    let (word, text) = value.split_once([' ', '\t']).map_or((value, ""), |(w, t)| (w, t.trim()));
    let word = word.to_ascii_uppercase();
    let or = |default: &str| if text.is_empty() { default.to_string() } else { text.to_string() };
    let rules = a.q.rules;
    if value.is_empty() {
        a.notes.says.push(Say::EmptyAction(table.to_string()));
        return permit(a, row, subject, value);
    }
    // A number alone is no reply code but any value: yes.
    if text.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) {
        return permit(a, row, subject, &word);
    }
    if word.bytes().all(|b| b.is_ascii_digit()) {
        return match word.parse::<u16>() {
            Ok(code @ 400..=599) if word.len() == 3 => {
                refuse(a, subject, code, "X.7.1", &or("Access denied"))
            }
            _ => restrictions(a, table, value),
        };
    }
    match word.as_str() {
        "OK" | "RELAY" => permit(a, row, subject, &word),
        "DUNNO" => Verdict::Dunno,
        "REJECT" => refuse(a, subject, rules.access_map_reject_code, "5.7.1", &or("Access denied")),
        "DEFER" => refuse(a, subject, rules.access_map_defer_code, "4.7.1", &or("Access denied")),
        "DEFER_IF_PERMIT" | "DEFER_IF_REJECT" => {
            let code = rules.access_map_defer_code;
            if let Verdict::Reject(rejection) = refuse(a, subject, code, "4.7.1", &or("Service unavailable"))
            {
                match word.as_str() {
                    "DEFER_IF_PERMIT" => a.notes.defer_if_permit.get_or_insert(rejection),
                    _ => a.notes.defer_if_reject.get_or_insert(rejection),
                };
            }
            Verdict::Dunno
        }
        "WARN" => note(a, "warn", text.to_string()),
        "INFO" => note(a, "info", text.to_string()),
        "DISCARD" | "HOLD" | "FILTER" | "REDIRECT" | "BCC" if rules.proxy_filter => {
            let what = format!(
                "access table {table}: with smtpd_proxy_filter specified, action {word} is unavailable"
            );
            a.notes.says.push(Say::Trouble(what));
            Verdict::Dunno
        }
        "DISCARD" => {
            a.notes.discard = Some(or("discarded by an access table"));
            note(a, "discard", about(subject, &or("triggers DISCARD action")))
        }
        "HOLD" => {
            a.notes.orders.hold = true;
            note(a, "hold", about(subject, &or("triggers HOLD action")))
        }
        "FILTER" if text.contains(':') => {
            a.notes.orders.filter = Some(text.to_string());
            note(a, "filter", about(subject, &format!("triggers FILTER {text}")))
        }
        "REDIRECT" if text.contains('@') => {
            a.notes.orders.redirect = Some(Address::from_internal(text));
            note(a, "redirect", about(subject, &format!("triggers REDIRECT {text}")))
        }
        "BCC" if text.contains('@') => {
            a.notes.orders.bcc.push(Address::from_internal(text));
            note(a, "bcc", about(subject, &format!("triggers BCC {text}")))
        }
        "PREPEND" if proto::header::name_len(text.as_bytes()).is_some() => {
            a.notes.orders.prepend.push(text.to_string());
            Verdict::Dunno
        }
        "FILTER" | "REDIRECT" | "BCC" | "PREPEND" => {
            let what = match word.as_str() {
                "FILTER" => "transport:destination",
                "PREPEND" => "header: text",
                _ => "user@domain target",
            };
            a.notes.says.push(Say::Requires(table.to_string(), key.to_string(), what));
            Verdict::Dunno
        }
        _ => restrictions(a, table, value),
    }
}

fn permit(a: &mut Asked<'_, '_>, row: (&str, &str), subject: &Subject, action: &str) -> Verdict {
    let (table, key) = row;
    if key == SERVICE {
        return Verdict::Permit(a.why.clone());
    }
    let name = a.why.element.split(' ').next().unwrap_or_default().to_string();
    a.note_permit(&name, action, subject, table);
    Verdict::Permit(a.why.clone())
}

/// The value is a list of restrictions or classes. What names a table of its own cannot stand
/// there: tables are opened before the first client comes; a class may hold it.
fn restrictions(a: &mut Asked<'_, '_>, table: &str, value: &str) -> Verdict {
    if a.notes.depth >= DEEPEST {
        let what = "tables and classes lead to each other without end".to_string();
        a.notes.says.push(Say::Bad(table.to_string(), what));
        return a.server_error();
    }
    a.notes.depth += 1;
    let verdict = in_order(a, table, value);
    a.notes.depth -= 1;
    verdict
}

fn in_order(a: &mut Asked<'_, '_>, table: &str, value: &str) -> Verdict {
    let words = config::value::split_list(value);
    if words.iter().any(|word| word.contains(':')) {
        a.notes.says.push(Say::TableInTable(table.to_string(), value.to_string()));
        return a.server_error();
    }
    let mut words = words.iter();
    let mut warn = false;
    while let Some(word) = words.next() {
        let lower = word.to_ascii_lowercase();
        let name = super::current_name(&lower);
        if name == "warn_if_reject" {
            warn = true;
            continue;
        }
        let verdict =
            if let Some((_, rule)) = FAMILIES.iter().flat_map(|f| f.iter()).find(|(n, _)| *n == name) {
                a.why.element = name.to_string();
                rule(a)
            } else if rbl::takes_domain(name) {
                a.why.element = name.to_string();
                match words.next().map(|domain| rbl::Listed::new(name, domain)) {
                    Some(Ok(listed)) => listed.ask(a),
                    Some(Err(what)) => {
                        a.notes.says.push(Say::Bad(name.to_string(), what));
                        a.server_error()
                    }
                    None => Verdict::Dunno,
                }
            } else if let Some(class) = a.q.rules.classes.get(word) {
                class.clone().ask_in(a)
            } else {
                a.notes.says.push(Say::UnknownRestriction(word.clone()));
                return a.server_error();
            };
        match verdict {
            Verdict::Dunno => {}
            Verdict::Reject(rejection) if warn => a.notes.warnings.push(rejection),
            verdict => return verdict,
        }
        warn = false;
    }
    Verdict::Dunno
}

/// What stands for the key where a policy service says the action; the log hears of refusals alone.
pub(super) const SERVICE: &str = "policy query";

/// How deep results of tables may lead to further restrictions.
const DEEPEST: usize = 20;

/// Says something in the log and goes on.
fn note(a: &mut Asked<'_, '_>, what: &'static str, text: String) -> Verdict {
    a.notes.says.push(Say::Access(what, text));
    Verdict::Dunno
}

fn about(subject: &Subject, what: &str) -> String {
    format!("<{}>: {} {what}", subject.value, subject.class)
}

/// A refusal whose text may begin with an enhanced status code of its own. RFC 3463 2.
fn refuse(a: &mut Asked<'_, '_>, subject: &Subject, code: u16, enhanced: &str, text: &str) -> Verdict {
    let default = enhanced.replace('X', &(code / 100).to_string());
    let (enhanced, text) = split_enhanced(text, &default, code);
    Verdict::Reject(a.refusal_of(subject, code, &enhanced, text))
}

/// Keys, each with whether it is only a part of the whole.
pub(super) type Keys = Vec<(String, bool)>;

/// The keys in order, and the subject of a reply.
fn keys_of(a: &Asked<'_, '_>, of: Of) -> Option<(Keys, Subject)> {
    let q = &a.q;
    Some(match of {
        Of::Subject | Of::Certificate => return None,
        Of::Client => (client_keys(&q.client.name, &q.client.address), Subject::client(q.client)),
        Of::ReverseClient => (client_keys(&q.client.reverse_name, ""), Subject::reverse_client(q.client)),
        Of::Helo => (domain_keys(q.helo?), Subject::helo(q.helo?)),
        Of::Sender => (address_keys(q.sender?, q), Subject::sender(q.sender?)),
        Of::Recipient => (address_keys(q.recipient?, q), Subject::recipient(q.recipient?)),
        Of::Etrn => (domain_keys(q.etrn), a.subject.clone()),
        Of::Login => {
            let user = q.login?.user.clone();
            (vec![(user.clone(), false)], Subject { value: user, class: "SASL login name" })
        }
    })
}

/// A name, then its parents without a leading dot, as `smtpd_access_maps` in
/// `parent_domain_matches_subdomains` has it.
pub(super) fn domain_keys(name: &str) -> Keys {
    let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
    let mut keys = vec![(name.clone(), false)];
    if !name.starts_with('[') {
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            keys.push((parent.to_string(), true));
            rest = parent;
        }
    }
    keys
}

/// An address and the networks it is in.
pub(super) fn client_address_keys(address: &std::net::IpAddr) -> Keys {
    client_keys("", &address.to_canonical().to_string())
}

/// Name and its parents, then the address and the networks it is in.
fn client_keys(name: &str, address: &str) -> Keys {
    let mut keys = domain_keys(name);
    let separator = if address.contains(':') { ':' } else { '.' };
    let mut rest = address;
    if !rest.is_empty() {
        keys.push((rest.to_string(), false));
    }
    while let Some((network, _)) = rest.rsplit_once(separator) {
        keys.push((network.to_string(), true));
        rest = network;
    }
    keys
}

/// `user@domain`, the domain and its parents, `user@`; without extension after with.
fn address_keys(address: &Address, q: &super::Question<'_>) -> Keys {
    if address.is_null() {
        return vec![(q.rules.smtpd_null_access_lookup_key.clone(), false)];
    }
    let local = address.local().to_lowercase();
    let bare = local
        .char_indices()
        .find(|(at, c)| *at > 0 && q.rules.recipient_delimiter.contains(*c))
        .map(|(at, _)| local[..at].to_string());
    let domain = address.domain().unwrap_or(&q.rules.myorigin).to_lowercase();
    let mut keys = vec![(format!("{local}@{domain}"), false)];
    keys.extend(bare.iter().map(|b| (format!("{b}@{domain}"), true)));
    keys.extend(domain_keys(&domain).into_iter().map(|(key, _)| (key, true)));
    keys.push((format!("{local}@"), true));
    keys.extend(bare.iter().map(|b| (format!("{b}@"), true)));
    keys
}
