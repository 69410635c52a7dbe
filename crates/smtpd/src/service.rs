//! One listener's snapshot of everything it obeys. A session keeps the one it began with.

use crate::auth::Logins;
use crate::backend::Backend;
use crate::client::Client;
use crate::commands;
use crate::events::{MinfreeSmall, TableTrouble, UnknownKeyword};
use crate::footer::{Footers, Shown};
use crate::limits::Limits;
use crate::postmaster::Postmaster;
use crate::restrictions::facts::Facts;
use crate::restrictions::policy::About;
use crate::restrictions::unverified::Manner;
use crate::restrictions::{List, Notes, OpenTable, Question, Subject, Tempfail, Verdict};
use crate::tls::Tls;
use crate::verify::ProbeSender;
use crate::world::World;
use config::params::auth::SmtpdSasl;
use config::params::bounce::Bounce;
use config::params::cleanup::Cleanup;
use config::params::main::Main;
use config::params::queue::Queue;
use config::params::rewrite::Rewrite;
use config::params::smtpd::Smtpd;
use config::params::verify::Verify;
use config::{Config, Problem};
use proto::Address;
use proto::smtp::data::BareNewline;
use proto::smtp::server::{Extensions, LineFilter, Settings};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tables::matchlist::{AddressList, StringList};
use tables::{Maps, Types};

/// What a service is made of besides its configuration.
pub struct Parts<B: Backend> {
    /// Where messages go.
    pub backend: B,
    /// Answers about addresses.
    pub world: Arc<dyn World>,
    /// Table types of this program.
    pub types: Types,
    /// Counters of clients, shared by all listeners and kept across reloads.
    pub limits: Arc<Limits>,
    /// Shared by all who decide about logins, and kept across reloads.
    pub logins: Arc<login::Shared>,
    /// master.cf has Postfix's smtpd locked into the queue directory: that is where saslauthd was told to be.
    pub chroot: bool,
    /// The name of the service in master.cf, such as `smtp`.
    pub name: String,
    /// This host's own addresses, as `inet_interfaces` says.
    pub own_addresses: HashSet<IpAddr>,
}

/// A list of clients, such as mynetworks.
pub struct Clients(pub(crate) AddressList);

impl Clients {
    /// The element that matches; an error is words for the administrator.
    pub fn matches(&self, client: &Client) -> Result<Option<String>, String> {
        let found = self.0.matches_text(&client.name, &client.address);
        found.map(|m| m.map(|m| m.element)).map_err(|e| e.to_string())
    }

    /// Whether this address is listed; a table that fails counts as no.
    pub fn has_address(&self, ip: &IpAddr) -> bool {
        self.0.matches("", *ip).is_ok_and(|found| found.is_some())
    }

    /// Whether one matches; a table that fails counts as no.
    pub fn has(&self, client: &Client, source: &events::Source) -> bool {
        match self.matches(client) {
            Ok(found) => found.is_some(),
            Err(what) => {
                source.say(&TableTrouble { what });
                false
            }
        }
    }
}

/// What restrictions obey.
#[allow(missing_docs)]
pub struct Rules {
    pub mynetworks: Clients,
    pub own_addresses: HashSet<IpAddr>,
    pub proxy_addresses: HashSet<IpAddr>,
    pub myhostname: String,
    /// Mail goes through `smtpd_proxy_filter`: what the queue would have to do cannot be done.
    pub proxy_filter: bool,
    /// `stress`, as policy services hear it.
    pub stress: String,
    /// IPv6 is in use (`inet_protocols`): addresses of that kind count.
    pub inet6: bool,
    pub permit_mx_backup_networks: Option<Clients>,
    /// Clients are asked for certificates.
    pub asks_clients: bool,
    pub relay_clientcerts: Maps,
    pub log_permits: Option<StringList>,
    pub rbl_reply_maps: Maps,
    pub default_rbl_reply: String,
    /// The bytes that may stand in a reply.
    pub smtpd_expansion_filter: Vec<u8>,
    pub maps_rbl_reject_code: u16,
    pub unknown_client_reject_code: u16,
    pub unknown_hostname_reject_code: u16,
    pub unknown_address_reject_code: u16,
    pub unknown_address_tempfail_action: Tempfail,
    pub unknown_helo_hostname_tempfail_action: Tempfail,
    pub classes: BTreeMap<String, Arc<List>>,
    pub unverified_sender: Manner,
    pub unverified_recipient: Manner,
    pub myorigin: String,
    pub recipient_delimiter: String,
    pub smtpd_null_access_lookup_key: String,
    pub show_user_unknown_table_name: bool,
    pub unknown_local_recipient_reject_code: u16,
    pub unknown_relay_recipient_reject_code: u16,
    pub unknown_virtual_alias_reject_code: u16,
    pub unknown_virtual_mailbox_reject_code: u16,
    pub access_map_reject_code: u16,
    pub access_map_defer_code: u16,
    pub reject_code: u16,
    pub defer_code: u16,
    pub invalid_hostname_reject_code: u16,
    pub non_fqdn_reject_code: u16,
    pub relay_domains_reject_code: u16,
    pub multi_recipient_bounce_reject_code: u16,
    pub plaintext_reject_code: u16,
    /// Clients may log in.
    pub sasl: bool,
    pub sender_logins: Maps,
}

/// The restriction lists.
#[allow(missing_docs)]
pub struct Lists {
    pub client: List,
    pub helo: List,
    pub sender: List,
    pub relay: List,
    pub recipient: List,
    pub data: List,
    pub end_of_data: List,
    pub etrn: List,
}

/// A listener's snapshot.
pub struct Service<B: Backend> {
    pub(crate) backend: B,
    pub(crate) world: Arc<dyn World>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) name: String,
    pub(crate) source: events::Source,
    pub(crate) smtpd: Smtpd,
    pub(crate) rules: Rules,
    pub(crate) lists: Lists,
    pub(crate) size_limit: u64,
    pub(crate) minfree: u64,
    pub(crate) postmaster: Postmaster,
    pub(crate) tls: Tls,
    /// Nothing where nobody may log in.
    pub(crate) logins: Option<Logins>,
    /// `smtpd_client_auth_rate_limit`.
    pub(crate) auth_rate: u64,
    /// Filters that hear of everything.
    pub(crate) milters: crate::milters::Settings,
    /// A filter before the queue.
    pub(crate) proxy: Option<crate::proxy::Settings>,
    /// Whom probes of addresses come from.
    probe_sender: ProbeSender,
    /// Connections to policy services.
    pub(crate) policies: Arc<crate::policy::Pool>,
    settings: Settings,
    bare_newline: BareNewline,
    bare_newline_exclusions: Clients,
    event_limit_exceptions: Clients,
    xclient: Clients,
    xforward: Clients,
    rewrite_clients: Vec<RewriteClients>,
    verp_clients: Clients,
    /// Delimiters that XVERP may name.
    pub(crate) delimiters: cleanup::verp::Delimiters,
    keyword_maps: Maps,
    footers: Option<Arc<Footers>>,
    /// A proxy says who the client is; within this time.
    pub(crate) upstream: Option<(net::proxy::Families, Duration)>,
}

/// An element of `local_header_rewrite_clients`.
enum RewriteClients {
    InetInterfaces,
    Mynetworks,
    LoggedIn,
    /// A certificate that is listed, or verifies.
    Certified {
        all: bool,
    },
    Table(Arc<dyn tables::Table>),
}

impl<B: Backend> Service<B> {
    /// Reads what a listener obeys. `config` holds its `-o` settings.
    pub fn load(config: &Config, parts: Parts<B>) -> Result<Service<B>, Vec<Problem>> {
        let (main, smtpd, cleanup) = (Main::load(config)?, Smtpd::load(config)?, Cleanup::load(config)?);
        let (rewrite, queue) = (Rewrite::load(config)?, Queue::load(config)?);
        let (bounce, verify) = (Bounce::load(config)?, Verify::load(config)?);
        let postmaster = Postmaster::new(&main, &bounce);
        let source = events::Source::new(main.syslog_name(), "smtpd", std::process::id());
        let types = &parts.types;
        let parents = |p: &str| rewrite.parent_domain_matches_subdomains().0.iter().any(|e| e == p);
        let clients = |parameter: &str, elements: &[String]| {
            Clients(AddressList::open(types, parameter, elements, parents(parameter)))
        };
        let bare_newline = match smtpd.smtpd_forbid_bare_newline().to_ascii_lowercase().as_str() {
            "no" => BareNewline::Allow,
            "yes" | "normalize" => BareNewline::Normalize,
            "note" => BareNewline::Note,
            "reject" => BareNewline::Reject,
            other => {
                let remedy = "write normalize, note, reject, yes or no";
                let problem =
                    Problem::of("smtpd_forbid_bare_newline", format!("bad value {other:?}"), remedy);
                return Err(vec![config.placed("smtpd_forbid_bare_newline", problem)]);
            }
        };
        let number = |n: &i64| u64::try_from(*n).unwrap_or(0);
        let (minfree, size_limit) = (number(queue.queue_minfree()), number(cleanup.message_size_limit()));
        if minfree > 0 && minfree / 3 * 2 < size_limit {
            source.say(&MinfreeSmall { minfree, limit: size_limit });
        }
        let mut settings = settings(&main, &smtpd, &cleanup, types, &source);
        settings.soft_bounce = *bounce.soft_bounce();
        settings.notify = postmaster.classes;
        let open: OpenTable<'_> = &|name| types.open_or_broken(name);
        let read = |parameter: &str, list: &config::value::List| List::read(config, parameter, &list.0, open);
        let classes = smtpd.smtpd_restriction_classes().0.iter().map(|class| {
            let text = config.get(class).unwrap_or_default();
            let list = List::read(config, class, &config::value::split_list(&text), open);
            (class.clone(), Arc::new(list))
        });
        let upstream = match smtpd.smtpd_upstream_proxy_protocol().as_str() {
            "" => None,
            "haproxy" => {
                let of = config.get("inet_protocols").unwrap_or_default();
                let has = |family: &str| of.contains("all") || of.contains(family);
                let families = net::proxy::Families { v4: has("ipv4"), v6: has("ipv6") };
                Some((families, *smtpd.smtpd_upstream_proxy_timeout()))
            }
            other => {
                let what = format!("unsupported smtpd_upstream_proxy_protocol value: {other}");
                let problem = Problem::of("smtpd_upstream_proxy_protocol", what, "write haproxy, or nothing");
                return Err(vec![config.placed("smtpd_upstream_proxy_protocol", problem)]);
            }
        };
        let tls = Tls::load(config, types)?;
        let sasl = SmtpdSasl::load(config)?;
        let logins = Logins::load(config, types, (&parts.logins, parts.chroot), tls.is_required(), &source)?;
        let proxy = crate::proxy::Settings::load(config, &main)?;
        let unfiltered = smtpd.receive_override_options().0.iter().any(|o| o == "no_milters");
        let milters = crate::milters::Settings::load(config, types, unfiltered)?;
        settings.keep_line = proxy.is_some() || milters.is_possible();
        settings.tell_unknown = milters.is_possible();
        let proxy_filter = proxy.is_some();
        // What others take their value from is to make sense, too.
        tempfail(config, "reject_tempfail_action", smtpd.reject_tempfail_action())?;
        let style = smtpd.mynetworks_style();
        if config.explicit("mynetworks").is_none() && !["host", "subnet", "class"].contains(&style.as_str()) {
            let what = format!("unknown mynetworks mask style value {style:?}");
            let problem = Problem::of("mynetworks_style", what, "write host, subnet or class");
            return Err(vec![config.placed("mynetworks_style", problem)]);
        }
        let rewrite_clients = rewrite_clients(&smtpd.local_header_rewrite_clients().0, types);
        Ok(Service {
            probe_sender: ProbeSender::of(&verify, main.myorigin()),
            policies: Arc::default(),
            auth_rate: number(sasl.smtpd_client_auth_rate_limit()),
            milters,
            proxy,
            lists: Lists {
                client: read("smtpd_client_restrictions", smtpd.smtpd_client_restrictions()),
                helo: read("smtpd_helo_restrictions", smtpd.smtpd_helo_restrictions()),
                sender: read("smtpd_sender_restrictions", smtpd.smtpd_sender_restrictions()),
                relay: read("smtpd_relay_restrictions", smtpd.smtpd_relay_restrictions()),
                recipient: read("smtpd_recipient_restrictions", smtpd.smtpd_recipient_restrictions()),
                data: read("smtpd_data_restrictions", smtpd.smtpd_data_restrictions()),
                end_of_data: read("smtpd_end_of_data_restrictions", smtpd.smtpd_end_of_data_restrictions()),
                etrn: read("smtpd_etrn_restrictions", smtpd.smtpd_etrn_restrictions()),
            },
            rules: Rules {
                sasl: logins.is_some(),
                sender_logins: Maps::of(types, "smtpd_sender_login_maps", &sasl.smtpd_sender_login_maps().0),
                proxy_filter,
                stress: config.get("stress").unwrap_or_default(),
                asks_clients: tls.asks_clients,
                relay_clientcerts: Maps::of(types, "relay_clientcerts", &tls.relay_clientcerts),
                inet6: config.get("inet_protocols").is_ok_and(|p| p.contains("all") || p.contains("ipv6")),
                proxy_addresses: rewrite
                    .proxy_interfaces()
                    .0
                    .iter()
                    .filter_map(|p| tables::net::address_of(p))
                    .collect(),
                permit_mx_backup_networks: given(smtpd.permit_mx_backup_networks())
                    .then(|| clients("permit_mx_backup_networks", &smtpd.permit_mx_backup_networks().0)),
                log_permits: given(smtpd.smtpd_log_access_permit_actions()).then(|| {
                    let name = "smtpd_log_access_permit_actions";
                    StringList::open(types, name, &smtpd.smtpd_log_access_permit_actions().0)
                }),
                unknown_address_tempfail_action: tempfail(
                    config,
                    "unknown_address_tempfail_action",
                    smtpd.unknown_address_tempfail_action(),
                )?,
                unverified_sender: Manner {
                    defer_code: code(verify.unverified_sender_defer_code()),
                    reject_code: code(verify.unverified_sender_reject_code()),
                    reason: verify.unverified_sender_reject_reason().clone(),
                    tempfail: tempfail(
                        config,
                        "unverified_sender_tempfail_action",
                        verify.unverified_sender_tempfail_action(),
                    )?,
                },
                unverified_recipient: Manner {
                    defer_code: code(verify.unverified_recipient_defer_code()),
                    reject_code: code(verify.unverified_recipient_reject_code()),
                    reason: verify.unverified_recipient_reject_reason().clone(),
                    tempfail: tempfail(
                        config,
                        "unverified_recipient_tempfail_action",
                        verify.unverified_recipient_tempfail_action(),
                    )?,
                },
                unknown_helo_hostname_tempfail_action: tempfail(
                    config,
                    "unknown_helo_hostname_tempfail_action",
                    smtpd.unknown_helo_hostname_tempfail_action(),
                )?,
                ..rules(
                    &main,
                    &smtpd,
                    clients("mynetworks", &smtpd.mynetworks().0),
                    parts.own_addresses,
                    classes.collect(),
                    types,
                )
            },
            bare_newline_exclusions: clients(
                "smtpd_forbid_bare_newline_exclusions",
                &smtpd.smtpd_forbid_bare_newline_exclusions().0,
            ),
            event_limit_exceptions: clients(
                "smtpd_client_event_limit_exceptions",
                &smtpd.smtpd_client_event_limit_exceptions().0,
            ),
            xclient: clients("smtpd_authorized_xclient_hosts", &smtpd.smtpd_authorized_xclient_hosts().0),
            xforward: clients("smtpd_authorized_xforward_hosts", &smtpd.smtpd_authorized_xforward_hosts().0),
            rewrite_clients,
            verp_clients: clients("smtpd_authorized_verp_clients", &smtpd.smtpd_authorized_verp_clients().0),
            delimiters: cleanup::verp::Delimiters::of(&cleanup),
            keyword_maps: Maps::of(
                types,
                "smtpd_discard_ehlo_keyword_address_maps",
                &smtpd.smtpd_discard_ehlo_keyword_address_maps().0,
            ),
            footers: Footers::read(&smtpd, main.myhostname(), types).map(Arc::new),
            upstream,
            logins,
            tls,
            postmaster,
            minfree,
            size_limit,
            settings,
            bare_newline,
            source,
            smtpd,
            backend: parts.backend,
            world: parts.world,
            limits: parts.limits,
            name: parts.name,
        })
    }

    /// The machine's settings for this client.
    pub(crate) fn settings_for(&self, client: &Client, source: &events::Source) -> Settings {
        let mut settings = self.settings.clone();
        // XFORWARD stays with whoever connected, as in Postfix; the rest follows XCLIENT.
        settings.xforward = self.xforward.has(client, source);
        self.tls.offer(&mut settings, source);
        self.adapt(&mut settings, client, source);
        settings
    }

    /// Sets what depends on the client, also after XCLIENT.
    pub(crate) fn adapt(&self, settings: &mut Settings, client: &Client, source: &events::Source) {
        settings.xclient = self.xclient.has(client, source);
        let excluded =
            self.bare_newline != BareNewline::Allow && self.bare_newline_exclusions.has(client, source);
        settings.bare_newline = if excluded { BareNewline::Allow } else { self.bare_newline };
        settings.forbid_unauth_pipelining = *self.smtpd.smtpd_forbid_unauth_pipelining();
        settings.verp = self.verp_clients.has(client, source);
        settings.no_offers = false;
        (settings.extensions, settings.discarding) = match self.keyword_maps.lookup(&client.address) {
            Ok(Some(hit)) => offers(&config::value::split_list(&hit.value), source),
            Ok(None) => (self.settings.extensions, self.settings.discarding.clone()),
            Err(error) => {
                source.say(&TableTrouble { what: error.to_string() });
                settings.no_offers = true;
                (self.settings.extensions, None)
            }
        };
    }

    /// What is to be added to refusals of this session.
    pub(crate) fn footer(
        &self,
        client: &Client,
        shown: &Shown,
        source: &events::Source,
    ) -> Option<proto::smtp::server::Footer> {
        self.footers.as_ref().map(|footers| footers.of(client, shown, source))
    }

    /// Whether these rules relay for strangers anywhere on the internet: the first permission found,
    /// with its reason. A start or reload with such rules needs a written override.
    pub fn relays_for_strangers(&self) -> Option<String> {
        let (sender, recipient) =
            (Address::new("a", Some("sender.invalid")), Address::new("b", Some("relay.invalid")));
        let facts = Facts::supposed();
        // Where the system's authorities count, anybody may have a certificate that verifies.
        let anybody = self.tls.trusts_anybody.then(net::tls::Summary::of_anybody);
        let mut permitted = STRANGERS.iter().filter_map(|ip| {
            let ip: IpAddr = ip.parse().ok()?;
            // One whose names are in order, for nothing is to be refused because they are not.
            let (name, address) = ("client.invalid".to_string(), ip.to_string());
            let client =
                Client { reverse_name: name.clone(), name, address, ip: Some(ip), ..Client::default() };
            let question = Question {
                rules: &self.rules,
                world: &*self.world,
                facts: &facts,
                client: &client,
                helo: Some("sender.invalid"),
                sender: Some(&sender),
                recipient: Some(&recipient),
                recipients: 0,
                etrn: "",
                pipelined: false,
                // Anybody may encrypt where it is offered.
                encrypted: self.tls.is_possible(),
                tls: anybody.as_ref(),
                login: None,
                about: About::nothing(),
                logins_fail: false,
            };
            match commands::may_receive(self, question, &mut Notes::default()) {
                Verdict::Reject(_) => None,
                _ => Some(self.why_permitted(question, &address_of(&client))),
            }
        });
        // One alone may be of a network that is really ours.
        permitted.next().and(permitted.next())
    }

    fn why_permitted(&self, question: Question<'_>, client: &str) -> String {
        let subject = Subject { value: String::new(), class: "Recipient address" };
        let (list, mut notes) = (&self.lists.relay, Notes::default());
        let why = match list.ask(question, subject, &mut notes) {
            Verdict::Permit(why) => why.to_string(),
            _ => "smtpd_relay_restrictions and smtpd_recipient_restrictions refuse nobody".to_string(),
        };
        format!("any client, such as {client}, may send anywhere: {why}")
    }

    /// RFC 5321 4.5.1: the postmaster is reached whatever else is refused. So is the sender of our probes:
    /// whoever gets one may ask whether it exists.
    pub(crate) fn always_receives(&self, recipient: &Address) -> bool {
        let bare = recipient.domain().is_none() && recipient.local().eq_ignore_ascii_case("postmaster");
        bare || self.probe_sender.is(recipient)
    }

    /// The limits on connections, messages and recipients do not hold for this client.
    pub(crate) fn unlimited(&self, client: &Client, source: &events::Source) -> bool {
        self.event_limit_exceptions.has(client, source)
    }

    /// Mail of this client gets missing headers and complete addresses.
    pub(crate) fn rewrites_headers_of(
        &self,
        client: &Client,
        (tls, logged_in): (Option<&net::tls::Summary>, bool),
        source: &events::Source,
    ) -> bool {
        self.rewrite_clients.iter().any(|element| match element {
            RewriteClients::InetInterfaces => {
                client.ip.is_some_and(|ip| self.rules.own_addresses.contains(&ip))
            }
            RewriteClients::Mynetworks => self.rules.mynetworks.has(client, source),
            RewriteClients::Certified { all } => self.is_certified(tls, *all, source),
            RewriteClients::LoggedIn => logged_in,
            // As in Postfix, the address alone.
            RewriteClients::Table(table) => match table.lookup(&client.address) {
                Ok(found) => found.is_some(),
                Err(e) => {
                    source.say(&TableTrouble { what: e.to_string() });
                    false
                }
            },
        })
    }

    /// `permit_tls_clientcerts` among `local_header_rewrite_clients`.
    fn is_certified(&self, tls: Option<&net::tls::Summary>, all: bool, source: &events::Source) -> bool {
        let Some(tls) = tls.filter(|_| self.rules.asks_clients) else { return false };
        let listed = |print: &str| {
            self.rules.relay_clientcerts.lookup(print).unwrap_or_else(|e| {
                source.say(&TableTrouble { what: e.to_string() });
                None
            })
        };
        let prints = tls.peer.iter().flat_map(|peer| [&peer.fingerprint, &peer.key_fingerprint]);
        all && tls.trusted_peer().is_some() || prints.into_iter().any(|print| listed(print).is_some())
    }

    /// Nobody is refused for good.
    pub(crate) fn soft_bounce(&self) -> bool {
        self.settings.soft_bounce
    }

    pub(crate) fn hostname(&self) -> &str {
        &self.settings.hostname
    }

    pub(crate) fn timeout(&self) -> Duration {
        *self.smtpd.smtpd_timeout()
    }
}

/// Addresses all over the internet, far from each other: no site's own networks hold two.
const STRANGERS: [&str; 13] = [
    "5.5.5.5",
    "23.77.1.9",
    "45.33.7.1",
    "66.102.13.5",
    "91.198.174.7",
    "104.16.9.3",
    "133.11.93.2",
    "151.101.7.4",
    "185.199.5.8",
    "203.0.113.77",
    "217.70.184.9",
    "2001:db8:77::9",
    "2a03:77::9",
];

fn address_of(client: &Client) -> String {
    format!("[{}]", client.address)
}

fn code(n: &i64) -> u16 {
    u16::try_from(*n).unwrap_or(550)
}

/// What EHLO offers without these keywords, and what the log says of it.
fn offers(words: &[String], source: &events::Source) -> (Extensions, Option<String>) {
    let mut extensions = Extensions::ALL;
    let mut known = Vec::new();
    for word in words {
        match extensions.discard(word) {
            true => known.push(word.to_ascii_uppercase()),
            false => source.say(&UnknownKeyword { word: word.clone() }),
        }
    }
    // In the order in which Postfix knows them.
    const ORDER: [&str; 14] = [
        "8BITMIME",
        "PIPELINING",
        "SIZE",
        "VRFY",
        "ETRN",
        "AUTH",
        "VERP",
        "STARTTLS",
        "XCLIENT",
        "XFORWARD",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "SMTPUTF8",
        "CHUNKING",
    ];
    known.sort_by_key(|word| ORDER.iter().position(|o| o == word).unwrap_or(ORDER.len()));
    known.dedup();
    let silent = known.iter().any(|w| w == "SILENT-DISCARD");
    (extensions, (!known.is_empty() && !silent).then(|| known.join(" ")))
}

fn settings(
    main: &Main,
    smtpd: &Smtpd,
    cleanup: &Cleanup,
    types: &Types,
    source: &events::Source,
) -> Settings {
    let (extensions, discarding) = offers(&smtpd.smtpd_discard_ehlo_keywords().0, source);
    let forbidden = StringList::open(types, "smtpd_forbidden_commands", &smtpd.smtpd_forbidden_commands().0);
    let trouble = source.clone();
    Settings {
        hostname: main.myhostname().as_str().into(),
        size_limit: u64::try_from(*cleanup.message_size_limit()).unwrap_or(0),
        line_limit: usize::try_from(*cleanup.line_length_limit()).unwrap_or(2048),
        smtputf8: *smtpd.smtputf8_enable(),
        strict_rfc821_envelopes: *smtpd.strict_rfc821_envelopes(),
        helo_required: *smtpd.smtpd_helo_required(),
        disable_vrfy: *smtpd.disable_vrfy_command(),
        recipient_limit: u64::try_from(*smtpd.smtpd_recipient_limit()).unwrap_or(1000),
        recipient_overshoot_limit: *smtpd.smtpd_recipient_overshoot_limit(),
        junk_limit: *smtpd.smtpd_junk_command_limit(),
        hard_error_limit: *smtpd.smtpd_hard_error_limit(),
        bare_newline_code: code(smtpd.smtpd_forbid_bare_newline_reject_code()),
        noop_commands: smtpd.smtpd_noop_commands().0.clone().into(),
        forbidden: Arc::new(move |word| {
            forbidden
                .matches(word)
                .unwrap_or_else(|e| {
                    trouble.say(&TableTrouble { what: e.to_string() });
                    None
                })
                .is_some()
        }),
        extensions,
        discarding,
        filter: line_filter(smtpd.smtpd_command_filter(), types, source),
        ..Settings::default()
    }
}

fn rules(
    main: &Main,
    smtpd: &Smtpd,
    mynetworks: Clients,
    own_addresses: HashSet<IpAddr>,
    classes: BTreeMap<String, Arc<List>>,
    types: &Types,
) -> Rules {
    Rules {
        mynetworks,
        own_addresses,
        proxy_addresses: HashSet::new(),
        proxy_filter: false,
        sasl: false,
        sender_logins: Maps::of(types, "smtpd_sender_login_maps", &[] as &[&str]),
        inet6: true,
        stress: String::new(),
        permit_mx_backup_networks: None,
        asks_clients: false,
        relay_clientcerts: Maps::of(types, "relay_clientcerts", &[""; 0]),
        log_permits: None,
        rbl_reply_maps: Maps::of(types, "rbl_reply_maps", &smtpd.rbl_reply_maps().0),
        unknown_address_tempfail_action: Tempfail::DeferIfPermit,
        unknown_helo_hostname_tempfail_action: Tempfail::DeferIfPermit,
        myhostname: main.myhostname().clone(),
        default_rbl_reply: smtpd.default_rbl_reply().0.clone(),
        smtpd_expansion_filter: config::value::unescape(&smtpd.smtpd_expansion_filter().0),
        maps_rbl_reject_code: code(smtpd.maps_rbl_reject_code()),
        unknown_client_reject_code: code(smtpd.unknown_client_reject_code()),
        unknown_hostname_reject_code: code(smtpd.unknown_hostname_reject_code()),
        unknown_address_reject_code: code(smtpd.unknown_address_reject_code()),
        classes,
        unverified_sender: Manner::default(),
        unverified_recipient: Manner::default(),
        myorigin: main.myorigin().clone(),
        recipient_delimiter: main.recipient_delimiter().clone(),
        smtpd_null_access_lookup_key: smtpd.smtpd_null_access_lookup_key().clone(),
        show_user_unknown_table_name: *smtpd.show_user_unknown_table_name(),
        unknown_local_recipient_reject_code: code(smtpd.unknown_local_recipient_reject_code()),
        unknown_relay_recipient_reject_code: code(smtpd.unknown_relay_recipient_reject_code()),
        unknown_virtual_alias_reject_code: code(smtpd.unknown_virtual_alias_reject_code()),
        unknown_virtual_mailbox_reject_code: code(smtpd.unknown_virtual_mailbox_reject_code()),
        access_map_reject_code: code(smtpd.access_map_reject_code()),
        access_map_defer_code: code(smtpd.access_map_defer_code()),
        reject_code: code(smtpd.reject_code()),
        defer_code: code(smtpd.defer_code()),
        invalid_hostname_reject_code: code(smtpd.invalid_hostname_reject_code()),
        non_fqdn_reject_code: code(smtpd.non_fqdn_reject_code()),
        relay_domains_reject_code: code(smtpd.relay_domains_reject_code()),
        multi_recipient_bounce_reject_code: code(smtpd.multi_recipient_bounce_reject_code()),
        plaintext_reject_code: code(smtpd.plaintext_reject_code()),
    }
}

/// `smtpd_command_filter`.
fn line_filter(table: &str, types: &Types, source: &events::Source) -> Option<LineFilter> {
    if table.is_empty() {
        return None;
    }
    let (table, trouble) = (types.open_or_broken(table), source.clone());
    Some(Arc::new(move |line: &str| match table.lookup(line) {
        Ok(hit) => Ok(hit.map(|hit| hit.value)),
        Err(error) => {
            trouble.say(&TableTrouble { what: error.to_string() });
            Err(())
        }
    }))
}

fn given(list: &config::value::List) -> bool {
    !list.0.is_empty()
}

fn tempfail(config: &Config, parameter: &str, text: &str) -> Result<Tempfail, Vec<Problem>> {
    match text {
        "defer" => Ok(Tempfail::Defer),
        "defer_if_permit" => Ok(Tempfail::DeferIfPermit),
        other => {
            let problem =
                Problem::of(parameter, format!("bad value {other:?}"), "write defer or defer_if_permit");
            Err(vec![config.placed(parameter, problem)])
        }
    }
}

/// `local_header_rewrite_clients`.
fn rewrite_clients(elements: &[String], types: &Types) -> Vec<RewriteClients> {
    let mut words = elements.iter();
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        match word.to_ascii_lowercase().as_str() {
            "permit_inet_interfaces" => out.push(RewriteClients::InetInterfaces),
            "permit_mynetworks" => out.push(RewriteClients::Mynetworks),
            "permit_sasl_authenticated" => out.push(RewriteClients::LoggedIn),
            "permit_tls_clientcerts" => out.push(RewriteClients::Certified { all: false }),
            "permit_tls_all_clientcerts" => out.push(RewriteClients::Certified { all: true }),
            "check_address_map" => {
                out.extend(words.next().map(|table| RewriteClients::Table(types.open_or_broken(table))));
            }
            other if other.contains(':') => out.push(RewriteClients::Table(types.open_or_broken(word))),
            _ => {}
        }
    }
    out
}
