//! A message on its way into the queue: the driver of the door.
//!
//! Faults of a message (too big, too many hops) are found while it streams in and told by
//! [`Message::finish`], as SMTP has it; until then further content is only swallowed.

use crate::checks::{self, Checks, Inspection, Side, Strict};
use crate::events::{MapProblem, MessageId, QueueWrite, ResentMessageId, TooBig, TooManyHops};
use crate::headers::{Headers, Note, Plan};
use crate::lines::{self, Lines};
use crate::received::{self, Here};
use crate::rewriting::{Context, Place, Rewriting};
use crate::size::Counter;
use crate::verp::Delimiters;
use config::params::cleanup::Cleanup;
use config::params::main::Main;
use config::params::milter::Milter;
use config::{Config, Problem};
use proto::date::DateTime;
use proto::envelope::{Encoding, Envelope, Notify, Recipient};
use proto::{Address, QueueId, mime};
use queue::{Draft, Store, StoreError};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tables::Types;

pub use origin::{Orders, Origin, Source};

/// It is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its name.
    pub id: QueueId,
}

/// It is not in the queue; what to tell whoever brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// SMTP code, such as 552.
    pub code: u16,
    /// Enhanced code and text, such as `5.3.4 Error: message file too big`.
    pub text: String,
}

impl Refused {
    fn new(code: u16, text: &str) -> Refused {
        Refused { code, text: text.into() }
    }

    /// Trying again later may help.
    pub fn is_temporary(&self) -> bool {
        self.code < 500
    }
}

/// One cleanup service: a configuration snapshot (with the service's overrides), rewriting and
/// the speaker of its log lines.
pub struct Door {
    main: Main,
    cleanup: Cleanup,
    rewriting: Arc<dyn Rewriting>,
    checks: Option<Arc<Checks>>,
    /// `non_smtpd_milters`.
    milters: Option<Arc<milter::Plan>>,
    milter_checks: Option<Arc<Checks>>,
    internal_classes: Vec<String>,
    /// Where long content waits for filters.
    room: PathBuf,
    syslog_name: String,
}

impl Door {
    /// Reads what the door obeys, and opens the tables of its checks.
    pub fn load(config: &Config, types: &Types, rewriting: Arc<dyn Rewriting>) -> Result<Door, Vec<Problem>> {
        let main = Main::load(config)?;
        let syslog_name = main.syslog_name().clone();
        let cleanup = Cleanup::load(config)?;
        let both = *cleanup.strict_8bitmime();
        let manner = checks::Manner {
            side: Side::In,
            limits: mime::Limits {
                nesting: size(*cleanup.mime_nesting_limit()),
                boundary: size(*cleanup.mime_boundary_length_limit()),
                header: size(*cleanup.header_size_limit()),
            },
            body_limit: u64::try_from(*cleanup.body_checks_size_limit()).unwrap_or(0),
            line_limit: size(*cleanup.line_length_limit()),
            flat: *cleanup.disable_mime_input_processing(),
            strict: Strict {
                headers: both || *cleanup.strict_7bit_headers(),
                body: both || *cleanup.strict_8bitmime_body(),
                domain: *cleanup.strict_mime_encoding_domain(),
            },
        };
        let tables = [
            cleanup.header_checks(),
            cleanup.mime_header_checks(),
            cleanup.nested_header_checks(),
            cleanup.body_checks(),
        ];
        let checks = Checks::open(types, checks::RECEIVING, tables, manner);
        let checks = (!checks.is_empty()).then(|| Arc::new(checks));
        let params = Milter::load(config)?;
        let manner_of_milters = Arc::new(milter::plan::Manner::load(config)?);
        let milters = milter::Plan::of_others(config, &manner_of_milters)?.map(Arc::new);
        let none = config::value::List::default();
        let tables = [params.milter_header_checks(), params.milter_header_checks(), &none, &none];
        let names = ["milter_header_checks", "milter_header_checks", "", ""];
        let strict = Strict::default();
        let milter_checks = Checks::open(types, names, tables, checks::Manner { strict, ..manner });
        Ok(Door {
            milters,
            milter_checks: (!milter_checks.is_empty()).then(|| Arc::new(milter_checks)),
            internal_classes: params.internal_mail_filter_classes().0.clone(),
            room: queue::disk::directory(Path::new(main.queue_directory())),
            cleanup,
            main,
            rewriting,
            checks,
            syslog_name,
        })
    }

    /// `message_size_limit`, `None` for no limit.
    pub fn size_limit(&self) -> Option<u64> {
        u64::try_from(*self.cleanup.message_size_limit()).ok().filter(|n| *n > 0)
    }
}

fn size(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// All doors into one queue. Cheap to clone; a message keeps the snapshot it began with.
pub struct Intake<S: Store> {
    store: Arc<S>,
    door: Arc<Door>,
    services: Arc<BTreeMap<String, Arc<Door>>>,
}

impl<S: Store> Clone for Intake<S> {
    fn clone(&self) -> Self {
        Intake { store: self.store.clone(), door: self.door.clone(), services: self.services.clone() }
    }
}

impl<S: Store> Intake<S> {
    /// With the door named `cleanup`, and further cleanup services of master.cf by name.
    pub fn new(store: Arc<S>, door: Door, services: BTreeMap<String, Door>) -> Intake<S> {
        let services = services.into_iter().map(|(n, d)| (n, Arc::new(d))).collect();
        Intake { store, door: Arc::new(door), services: Arc::new(services) }
    }

    /// The queue behind the door.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// `message_size_limit`, `None` for no limit.
    pub fn size_limit(&self) -> Option<u64> {
        self.door.size_limit()
    }

    /// A new message with its queue id. Nothing is on disk yet.
    pub fn begin(&self, mut origin: Origin) -> Message<S> {
        origin.sender = visible(&origin.sender);
        origin.full_name = origin.full_name.map(|name| one_line(&name));
        let door = self.services.get(&origin.service).unwrap_or(&self.door).clone();
        let speaker = events::Source::new(&door.syslog_name, "cleanup", origin.number);
        let cleanup = &door.cleanup;
        let rules = lines::Rules {
            replace_stray: *cleanup.cleanup_replace_stray_cr_lf(),
            strip: config::value::unescape(cleanup.message_strip_characters()),
            reject: config::value::unescape(cleanup.message_reject_characters()),
        };
        let counter = Counter::new((*cleanup.line_length_limit()).max(1) as u64);
        Message {
            id: self.store.new_id(),
            store: self.store.clone(),
            lines: Lines::new(rules),
            counter,
            door,
            speaker,
            origin,
            sender: Address::null(),
            recipients: Vec::new(),
            orders: Orders::default(),
            originals: BTreeMap::new(),
            headers: None,
            draft: None,
            content: None,
            eight_bit: false,
            refused: None,
            bounce: None,
            discarded: false,
            full: false,
            buffer: Vec::new(),
            clean: Vec::new(),
        }
    }
}

/// A message on its way. Dropping it forgets it.
pub struct Message<S: Store> {
    id: QueueId,
    store: Arc<S>,
    door: Arc<Door>,
    speaker: events::Source,
    origin: Origin,
    sender: Address,
    recipients: Vec<(Address, Option<String>, Notify)>,
    orders: Orders,
    /// What recipients of a forward were written as, by place.
    originals: BTreeMap<usize, String>,
    lines: Lines,
    headers: Option<Headers>,
    counter: Counter,
    draft: Option<S::Draft>,
    /// What filters will see before the queue gets it.
    content: Option<Box<milter::Content>>,
    eight_bit: bool,
    refused: Option<Refused>,
    /// To be bounced with this code and text: nobody waits for a reply (pickup, forwards).
    bounce: Option<String>,
    /// Checks said to take it and forget it.
    discarded: bool,
    /// Beyond the size limit: further content is swallowed.
    full: bool,
    clean: Vec<u8>,
    buffer: Vec<u8>,
}

impl<S: Store> Message<S> {
    /// Its name.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Adds a recipient of a forward, which keeps what the first message was sent to.
    pub fn forward_to(&mut self, recipient: Recipient) {
        self.originals.insert(self.recipients.len(), one_line(&recipient.original));
        self.recipient(recipient.address, recipient.dsn_orcpt, recipient.notify);
    }

    /// Adds a recipient as given by the client, before completion and aliases.
    pub fn recipient(&mut self, address: Address, orcpt: Option<String>, notify: Notify) {
        self.recipients.push((visible(&address), orcpt, notify));
    }

    /// Adds to what is to be done with it.
    pub fn obey(&mut self, orders: Orders) {
        self.orders.add(orders);
    }

    /// How many recipients were added.
    pub fn recipient_count(&self) -> usize {
        self.recipients.len()
    }

    /// Adds content: any piece, lines ended by CRLF or LF. Past a limit it is only swallowed.
    pub async fn write(&mut self, bytes: &[u8]) {
        if self.refused.is_some() || self.full || !self.open() {
            return;
        }
        let mut room = std::mem::take(&mut self.clean);
        let clean = self.lines.clean(bytes, &mut room);
        let rest = self.pass(clean, false);
        self.store(rest).await;
        self.clean = room;
    }

    /// Completes the message and makes it durable.
    pub async fn finish(self) -> Result<Accepted, Refused> {
        self.finish_with(None).await
    }

    /// The same for a message that came by a session with filters ([`Origin::milters`]).
    pub async fn finish_with(mut self, milters: Option<&mut milter::Session>) -> Result<Accepted, Refused> {
        if self.refused.is_none() && self.open() {
            let mut clean = std::mem::take(&mut self.clean);
            clean.clear();
            if self.full {
                clean.extend_from_slice(b"\r\n");
            } else {
                self.lines.finish(&mut clean);
            }
            let rest = self.pass(&clean, true);
            self.store(rest).await;
        }
        if self.refused.is_none() && self.lines.forbidden() {
            self.reject(550, "5.7.1 disallowed character", "5.7.1 disallowed character");
        }
        if self.content.is_some() {
            // Apart from a message without filters, whose future stays small.
            Box::pin(self.show(milters)).await;
        }
        let recipients = match self.refused {
            None => self.expand(),
            Some(_) => Vec::new(),
        };
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.discarded {
            return Ok(Accepted { id: self.id });
        }
        let Some(draft) = self.draft.take() else {
            return Err(Refused::new(451, "4.3.0 Error: queue file write error"));
        };
        let origin = self.origin;
        let eight_bit = self.eight_bit;
        // Whoever wrote into the maildrop was not asked what the characters are.
        let verp = origin.verp.and_then(|asked| Delimiters::of(&self.door.cleanup).choose(&asked).ok());
        let envelope = Envelope {
            sender: self.sender,
            recipients,
            arrival: origin.arrival,
            size: self.counter.total(),
            client: origin.client,
            encoding: if eight_bit { Encoding::EightBit } else { origin.encoding },
            smtputf8: origin.smtputf8,
            dsn_envid: origin.dsn_envid,
            dsn_ret: origin.dsn_ret,
            filter: match self.bounce {
                Some(text) => Some(format!("error:{text}")),
                None => self.orders.filter.or(Some(origin.content_filter)).filter(|f| !f.is_empty()),
            },
            hold: self.orders.hold,
            verp,
            notice: origin.notice,
            trace: origin.trace,
        };
        match draft.commit(envelope).await {
            Ok(id) => Ok(Accepted { id }),
            Err(e) => Err(store_refusal(&self.speaker, self.id, &e)),
        }
    }

    /// At the first piece of content: the draft, the sender, the Received header.
    fn open(&mut self) -> bool {
        if self.headers.is_some() {
            return true;
        }
        match self.store.draft(self.id, self.origin.declared_size) {
            Ok(draft) => self.draft = Some(draft),
            Err(e) => {
                self.refused = Some(store_refusal(&self.speaker, self.id, &e));
                return false;
            }
        }
        let given = self.door.rewriting.complete(&self.origin.sender, &Context::Local);
        self.sender = match self.canonical(given, Place::EnvelopeSender) {
            Some(sender) => sender,
            None => return false,
        };
        let cleanup = &self.door.cleanup;
        let moment = |micros: u64| {
            let seconds = (micros / 1_000_000) as i64;
            let zone = sys::time::zone_at(seconds);
            DateTime::new(seconds, zone.offset, &zone.name)
        };
        // A message from the maildrop was written earlier (Date) than it is received (Received).
        let now = sys::time::now_micros();
        let received = moment(now);
        let id = self.id.to_string();
        let here = Here {
            myhostname: self.door.main.myhostname(),
            mail_name: self.door.main.mail_name(),
            id: &id,
            date: &received,
        };
        let only = match self.recipients.as_slice() {
            [(address, _, _)] => Some(address.to_string()),
            _ => None,
        };
        let received = received::header(&self.origin, &here, only.as_deref());
        let foreign = self.origin.source == Source::Smtp { local_rewrite: false };
        let local = !foreign && !self.origin.stranger;
        let stranger = Some(cleanup.remote_header_rewrite_domain()).filter(|d| !d.is_empty());
        let inspected = self.inspected();
        let inspection = self.door.checks.as_ref().filter(|_| inspected).map(|c| Inspection::new(c.clone()));
        let plan = Plan {
            rewrite: if local { Some(Context::Local) } else { stranger.cloned().map(Context::Remote) },
            complete: local || *cleanup.always_add_missing_headers(),
            sender: self.sender.clone(),
            full_name: self.origin.full_name.clone(),
            obsolete_from: cleanup.header_from_format() == "obsolete",
            myhostname: self.door.main.myhostname().clone(),
            stamp: match QueueId::shows_long() {
                true => String::new(),
                false => DateTime::new((now / 1_000_000) as i64, 0, "").stamp(),
            },
            id,
            date: moment(self.origin.arrival),
            undisclosed: cleanup.undisclosed_recipients_header().clone(),
            drop: cleanup.message_drop_headers().0.clone(),
            hopcount_limit: (*cleanup.hopcount_limit()).max(1) as u64,
            size_limit: size(*cleanup.header_size_limit()),
            token_limit: size(*cleanup.header_address_token_limit()),
            detect_8bit: *cleanup.detect_8bit_encoding_header(),
            mailbox_line: matches!(self.origin.source, Source::Smtp { .. }),
        };
        let mut headers = Headers::new(plan, inspection);
        for line in &self.orders.prepend {
            headers.made_here(line.as_bytes(), &mut self.buffer);
        }
        let before = self.buffer.len();
        headers.made_here(received.as_bytes(), &mut self.buffer);
        let notes = headers.notes();
        self.headers = Some(headers);
        if self.is_shown() {
            let mut content = Box::new(milter::Content::new(&self.door.room));
            content.made_here(&self.buffer, self.buffer.len() > before);
            self.counter.feed(&self.buffer);
            self.buffer.clear();
            self.content = Some(content);
        }
        self.heed(notes);
        self.refused.is_none()
    }

    /// Whether header_checks and their kin apply: not to what was made here, nor where
    /// `receive_override_options = no_header_body_checks`.
    fn inspected(&self) -> bool {
        let off = self.origin.overrides.iter().any(|o| o == "no_header_body_checks");
        (self.origin.source != Source::Internal || self.is_filtered_internal()) && !off
    }

    /// `receive_override_options = no_address_mappings`: addresses are completed, nothing else.
    fn unmapped(&self) -> bool {
        self.origin.overrides.iter().any(|o| o == "no_address_mappings")
    }

    /// Canonical mapping; `None` after it set a refusal.
    fn canonical(&mut self, address: Address, place: Place) -> Option<Address> {
        if self.unmapped() {
            return Some(address);
        }
        match self.door.rewriting.canonical_at_last(address, place) {
            Ok((address, said)) => {
                if let Some(what) = said {
                    self.speaker.say_of(self.id, &MapProblem { what });
                }
                Some(address)
            }
            Err(what) => {
                self.map_problem(what);
                None
            }
        }
    }

    fn map_problem(&mut self, what: String) {
        let endless = what.starts_with("unreasonable virtual_alias_maps");
        self.speaker.say_of(self.id, &MapProblem { what });
        self.refused = Some(match endless {
            true => Refused::new(451, "4.6.0 Alias expansion error"),
            false => Refused::new(451, "4.3.0 Error: queue file write error"),
        });
    }

    /// Runs clean content through the header core and counts the result: what is in `buffer`, and what
    /// is given back because it follows unchanged.
    fn pass<'a>(&mut self, clean: &'a [u8], last: bool) -> &'a [u8] {
        let unmapped = self.unmapped();
        let mut rest = clean;
        let Some(headers) = self.headers.as_mut() else { return &[] };
        if !headers.in_body() {
            let rewriting = self.door.rewriting.clone();
            let context = headers.context().cloned().unwrap_or(Context::Local);
            let (mut problem, mut endless) = (None, Vec::new());
            let mut rewrite = |address: &Address, place: Place| {
                let whole = rewriting.complete(address, &context);
                if unmapped {
                    return whole;
                }
                match rewriting.canonical_at_last(whole.clone(), place) {
                    Ok((address, said)) => {
                        endless.extend(said);
                        address
                    }
                    Err(what) => {
                        problem = Some(what);
                        whole
                    }
                }
            };
            rest = headers.feed(clean, &mut rewrite, &mut self.buffer);
            if last {
                self.buffer.extend_from_slice(std::mem::take(&mut rest));
                headers.finish(&mut rewrite, &mut self.buffer);
            }
            let notes = headers.notes();
            for what in endless {
                self.speaker.say_of(self.id, &MapProblem { what });
            }
            if let Some(what) = problem {
                self.map_problem(what);
            }
            self.heed(notes);
        }
        self.counter.feed(&self.buffer);
        self.counter.feed(rest);
        let limit = self.door.size_limit();
        if self.refused.is_none() && !self.full && limit.is_some_and(|l| self.counter.total() > l) {
            self.speaker.say_of(self.id, &TooBig {});
            self.full = true;
            self.reject(552, "5.3.4 Error: message file too big", "5.3.4 message file too big");
        }
        rest
    }

    fn heed(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::MessageId(id) => self.speaker.say_of(self.id, &MessageId { id }),
                Note::ResentMessageId(id) => self.speaker.say_of(self.id, &ResentMessageId { id }),
                Note::EightBit => self.eight_bit = true,
                Note::TooManyHops => {
                    self.speaker.say_of(self.id, &TooManyHops {});
                    self.reject(554, "5.4.0 Error: too many hops", "5.4.0 too many hops");
                }
                Note::Found(finding) => self.obey_finding(finding),
            }
        }
    }

    /// The message itself is at fault: the client is told, or else the sender by a bounce.
    fn reject(&mut self, code: u16, reply: &str, bounce: &str) {
        if matches!(self.origin.source, Source::Smtp { .. }) || code < 500 {
            self.refused = Some(Refused::new(code, reply));
        } else if self.bounce.is_none() {
            self.bounce = Some(bounce.into());
        }
    }

    /// Hands on what is in `buffer`, and `rest`, which follows it.
    async fn store(&mut self, rest: &[u8]) {
        if self.refused.is_some() {
            (self.draft, self.content) = (None, None);
        } else if let Some(content) = self.content.as_mut() {
            content.feed(&self.buffer);
            content.feed(rest);
        } else {
            for piece in [&self.buffer, rest] {
                let Some(draft) = self.draft.as_mut() else { break };
                if let Err(e) = draft.write(piece).await {
                    self.refused = Some(store_refusal(&self.speaker, self.id, &e));
                    self.draft = None;
                }
            }
        }
        self.buffer.clear();
    }

    /// All recipients as they are to be expanded, copies among them. After a REDIRECT there is one,
    /// to which the first lends its original form. `None` after a refusal was set.
    fn gather(&mut self) -> Option<Vec<Given>> {
        let mut given = std::mem::take(&mut self.recipients);
        if let Some(to) = self.orders.redirect.take() {
            let (first, orcpt, notify) = given.drain(..).next()?;
            self.originals.clear();
            return Some(vec![Given { original: Some(first.to_string()), ..Given::new(to, orcpt, notify) }]);
        }
        let copies = !self.unmapped() && self.origin.source != Source::Internal;
        let never = Notify { never: true, ..Notify::default() };
        let copy = |to: Address| Given { copy: true, ..Given::new(to, None, never) };
        let rewriting = self.door.rewriting.clone();
        let mut all = Vec::with_capacity(given.len());
        if copies && !self.sender.is_null() {
            match rewriting.copy_of_sender(&self.sender) {
                Ok(to) => all.extend(to.map(copy)),
                Err(what) => {
                    self.map_problem(what);
                    return None;
                }
            }
        }
        for (place, (address, orcpt, notify)) in given.into_iter().enumerate() {
            let original = self.originals.remove(&place);
            all.push(Given { original, ..Given::new(address.clone(), orcpt, notify) });
            if copies && rewriting.copies_recipients() {
                let whole = rewriting.complete(&address, &Context::Local);
                let whole = self.canonical(whole, Place::EnvelopeRecipient)?;
                match rewriting.copy_of_recipient(&whole) {
                    Ok(to) => all.extend(to.map(copy)),
                    Err(what) => {
                        self.map_problem(what);
                        return None;
                    }
                }
            }
        }
        let always = self.door.cleanup.always_bcc();
        if copies && !always.is_empty() {
            all.push(copy(Address::from_internal(always)));
        }
        all.extend(std::mem::take(&mut self.orders.bcc).into_iter().map(copy));
        Some(all)
    }

    /// Completes recipients, expands virtual aliases, drops what was there already.
    fn expand(&mut self) -> Vec<Recipient> {
        let limit = usize::try_from(*self.door.cleanup.duplicate_filter_limit()).unwrap_or(0);
        let keep_original = *self.door.cleanup.enable_original_recipient();
        let no_aliases = self.unmapped();
        let mut seen: HashSet<(Address, Option<String>, String, Notify)> = HashSet::new();
        let mut out = Vec::new();
        let Some(recipients) = self.gather() else { return out };
        let one = recipients.len() == 1;
        for Given { address: given, original, orcpt, notify, copy } in recipients {
            let whole = self.door.rewriting.complete(&given, &Context::Local);
            let Some(whole) = self.canonical(whole, Place::EnvelopeRecipient) else { return out };
            // A copy was asked for by its whole address, whatever a table says.
            let as_given = || if copy { whole.to_string() } else { given.to_string() };
            let original = original.unwrap_or_else(as_given);
            let expanded = if no_aliases {
                vec![whole.clone()]
            } else {
                match self.door.rewriting.aliases(&whole) {
                    Ok(all) => all,
                    Err(what) => {
                        self.map_problem(what);
                        return out;
                    }
                }
            };
            // smtpd tells the recipient as the client wrote it, sendmail one that is complete.
            let smtp = matches!(self.origin.source, Source::Smtp { .. });
            let made = orcpt.unwrap_or_else(|| {
                let shown = if smtp { original.clone() } else { whole.to_string() };
                format!("rfc822;{}", xtext(&shown))
            });
            // What stands alone is nobody's double.
            let one = one && expanded.len() == 1;
            for address in expanded {
                let original = if keep_original { original.clone() } else { address.to_string() };
                if one {
                    out.push(Recipient { address, original, dsn_orcpt: Some(made), notify });
                    break;
                }
                let folded = Address::from_internal(&address.internal().to_ascii_lowercase());
                let key = (folded, keep_original.then(|| made.clone()), original.clone(), notify);
                if seen.contains(&key) {
                    continue;
                }
                if limit == 0 || seen.len() < limit {
                    seen.insert(key);
                }
                out.push(Recipient { address, original, dsn_orcpt: Some(made.clone()), notify });
            }
        }
        out
    }
}

/// A recipient before it is completed and expanded.
struct Given {
    address: Address,
    /// What a forward's recipient was written as.
    original: Option<String>,
    orcpt: Option<String>,
    notify: Notify,
    /// Added here: BCC, always_bcc …
    copy: bool,
}

impl Given {
    fn new(address: Address, orcpt: Option<String>, notify: Notify) -> Given {
        Given { address, original: None, orcpt, notify, copy: false }
    }
}

fn store_refusal(speaker: &events::Source, id: QueueId, error: &StoreError) -> Refused {
    speaker.say_of(id, &QueueWrite { what: error.to_string() });
    match error {
        StoreError::Full => Refused::new(452, "4.3.1 Insufficient system storage"),
        StoreError::Failing(_) | StoreError::LeaseLost => {
            Refused::new(451, "4.3.0 Error: queue file write error")
        }
    }
}

/// An address without control characters. Whoever writes it into a header, a notice, a command or a
/// log line later must not have to think of them; `sendmail` and `.forward` files can bring them.
fn visible(address: &Address) -> Address {
    let whole = |text: &str| !text.contains(char::is_control);
    if whole(address.local()) && address.domain().is_none_or(whole) {
        return address.clone();
    }
    Address::new(one_line(address.local()), address.domain().map(one_line))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// RFC 3461 4: printable ASCII but `+` and `=`, which are written in hexadecimal as is the rest.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'+' | b'=' => out.push_str(&format!("+{b:02X}")),
            b'!'..=b'~' => out.push(b as char),
            _ => out.push_str(&format!("+{b:02X}")),
        }
    }
    out
}

mod findings;
mod milters;
mod origin;
#[cfg(test)]
pub(crate) mod tests;
