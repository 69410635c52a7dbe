//! What one client service obeys: main.cf with the `-o` settings of its line in master.cf.

use crate::login::Login;
use crate::route::{self, Preference, Protocol, Rules};
use crate::tls_policy::Tls;
use cleanup::outgoing::{self, Outgoing};
use config::params::main::Main;
use config::params::master::Master;
use config::params::smtp::{Lmtp, Smtp};
use config::value::List;
use config::{Config, Problem};
use net::dial::Source;
use proto::smtp::client::{Keywords, Manner, Stage};
use rewrite::Rewriter;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tables::matchlist::StringList;
use tables::{Maps, Types};

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Times {
    pub connect: Duration,
    pub helo: Duration,
    pub xforward: Duration,
    pub mail: Duration,
    pub rcpt: Duration,
    pub data_init: Duration,
    pub data_xfer: Duration,
    pub data_done: Duration,
    pub rset: Duration,
    pub quit: Duration,
    /// Of a message on a connection, and of getting ready for it (`daemon_timeout`).
    pub most: Duration,
    /// The times are for a whole request.
    pub whole: bool,
    /// Bytes for which content may take a second more, when they are.
    pub rate: u64,
}

impl Times {
    /// Of the answer to a step.
    pub fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::Lhlo => self.helo,
            Stage::Starttls | Stage::Auth => self.helo,
            Stage::ForwardClient | Stage::ForwardSession => self.xforward,
            Stage::Mail => self.mail,
            Stage::Rcpt(_) => self.rcpt,
            Stage::Data => self.data_init,
            Stage::Content => self.data_xfer,
            Stage::Dot(_) => self.data_done,
            Stage::Rset => self.rset,
            Stage::Quit => self.quit,
        }
    }
}

/// Which connections are kept for the next message.
pub struct Reuse {
    /// While there is more mail for the destination.
    pub on_demand: bool,
    /// Always for these.
    pub destinations: StringList,
    /// How long one may stay without use.
    pub idle: Duration,
    /// How long one may be used.
    pub age: Duration,
    /// For how many messages; 0: any number.
    pub uses: u32,
}

/// All of it.
pub struct Settings {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// The snapshot, with the overrides of the service.
    pub config: Config,
    /// `postfix/smtp`.
    pub voice: events::Source,
    /// To know ourselves by.
    pub myhostname: String,
    /// How servers are greeted.
    pub manner: Manner,
    /// More that is not to be noticed, by the server's address.
    pub ignored_by_address: Maps,
    /// What servers say instead of what they say, line by line.
    pub reply_filter: Option<Arc<Maps>>,
    /// Time limits.
    pub times: Times,
    /// The port where none is written.
    pub port: u16,
    /// The longest line; 0: any.
    pub line_limit: usize,
    /// The most sessions of a delivery; 0: any number.
    pub session_limit: usize,
    /// Connections that are kept.
    pub reuse: Reuse,
    /// XFORWARD.
    pub xforward: bool,
    /// QUIT is not waited for.
    pub skip_quit: bool,
    /// Addresses are not quoted.
    pub unquoted: bool,
    /// `AUTH=<>` in MAIL.
    pub dummy_auth: bool,
    /// LMTP: taken is delivered.
    pub assume_final: bool,
    /// Where mail goes when its destination fails.
    pub fallback: Vec<String>,
    /// The parameter that says so.
    pub fallback_name: &'static str,
    /// `relayhost`.
    pub relayhost: String,
    /// `best_mx_transport`.
    pub best_mx_transport: String,
    /// From which address.
    pub source: Source,
    /// How addresses are found.
    pub route: route::Settings,
    /// `smtp_dns_resolver_options`.
    pub completion: net::dns::Completion,
    /// Relative sockets are below it.
    pub queue_directory: PathBuf,
    /// What happens to content.
    pub outgoing: Outgoing,
    /// Encryption.
    pub tls: Tls,
    /// Logging in.
    pub login: Option<Login>,
}

/// What settings need from the rest of the program.
pub struct Around<'a> {
    /// Table types.
    pub types: &'a Types,
    /// For generic addresses.
    pub rewriter: Arc<Rewriter>,
    /// `inet_interfaces`.
    pub own: &'a [IpAddr],
}

/// What is read of either group.
struct Params {
    helo_name: String,
    times: Times,
    always_ehlo: bool,
    never_ehlo: bool,
    skip_5xx: bool,
    skip_quit: bool,
    port: String,
    line_limit: i64,
    address_limit: i64,
    session_limit: i64,
    on_demand: bool,
    destinations: String,
    idle: Duration,
    age: Duration,
    uses: i64,
    xforward: bool,
    ignored: List,
    ignored_maps: List,
    fallback: String,
    bind: String,
    bind6: String,
    bind_enforce: bool,
    preference: String,
    randomize: bool,
    balance: bool,
    lookup: String,
    support: String,
    options: List,
    defer_no_address: bool,
    quote: bool,
    dummy_auth: bool,
    reply_filter: String,
}

/// Fills `Params` from one of the groups.
macro_rules! params {
    ($p:ident, $always:expr, $never:expr, $($field:ident = .$name:ident()),* ; $($time:ident = .$timed:ident()),*) => {
        Params {
            $($field: $p.$name().clone(),)*
            times: Times { $($time: $p.$timed().clone()),*, rate: 0, most: Duration::ZERO },
            always_ehlo: $always,
            never_ehlo: $never,
        }
    };
}

fn smtp(config: &Config) -> Result<Params, Vec<Problem>> {
    let p = Smtp::load(config)?;
    let mut params = params!(p, *p.smtp_always_send_ehlo(), *p.smtp_never_send_ehlo(),
        helo_name = .smtp_helo_name(), skip_5xx = .smtp_skip_5xx_greeting(), skip_quit = .smtp_skip_quit_response(),
        port = .smtp_tcp_port(), line_limit = .smtp_line_length_limit(), address_limit = .smtp_mx_address_limit(),
        session_limit = .smtp_mx_session_limit(), on_demand = .smtp_connection_cache_on_demand(),
        destinations = .smtp_connection_cache_destinations(), idle = .smtp_connection_cache_time_limit(),
        age = .smtp_connection_reuse_time_limit(), uses = .smtp_connection_reuse_count_limit(),
        xforward = .smtp_send_xforward_command(), ignored = .smtp_discard_ehlo_keywords(),
        ignored_maps = .smtp_discard_ehlo_keyword_address_maps(), fallback = .smtp_fallback_relay(),
        bind = .smtp_bind_address(), bind6 = .smtp_bind_address6(), bind_enforce = .smtp_bind_address_enforce(),
        preference = .smtp_address_preference(), randomize = .smtp_randomize_addresses(),
        balance = .smtp_balance_inet_protocols(), lookup = .smtp_host_lookup(), support = .smtp_dns_support_level(),
        options = .smtp_dns_resolver_options(), defer_no_address = .smtp_defer_if_no_mx_address_found(),
        quote = .smtp_quote_rfc821_envelope(), dummy_auth = .smtp_send_dummy_mail_auth(), reply_filter = .smtp_reply_filter();
        connect = .smtp_connect_timeout(), helo = .smtp_helo_timeout(), xforward = .smtp_xforward_timeout(),
        mail = .smtp_mail_timeout(), rcpt = .smtp_rcpt_timeout(), data_init = .smtp_data_init_timeout(),
        data_xfer = .smtp_data_xfer_timeout(), data_done = .smtp_data_done_timeout(), rset = .smtp_rset_timeout(),
        quit = .smtp_quit_timeout(), whole = .smtp_per_request_deadline()
    );
    params.times.rate = u64::try_from(*p.smtp_min_data_rate()).unwrap_or(0);
    Ok(params)
}

fn lmtp(config: &Config) -> Result<Params, Vec<Problem>> {
    let p = Lmtp::load(config)?;
    let mut params = params!(p, true, false,
        helo_name = .lmtp_lhlo_name(), skip_5xx = .lmtp_skip_5xx_greeting(), skip_quit = .lmtp_skip_quit_response(),
        port = .lmtp_tcp_port(), line_limit = .lmtp_line_length_limit(), address_limit = .lmtp_mx_address_limit(),
        session_limit = .lmtp_mx_session_limit(), on_demand = .lmtp_connection_cache_on_demand(),
        destinations = .lmtp_connection_cache_destinations(), idle = .lmtp_connection_cache_time_limit(),
        age = .lmtp_connection_reuse_time_limit(), uses = .lmtp_connection_reuse_count_limit(),
        xforward = .lmtp_send_xforward_command(), ignored = .lmtp_discard_lhlo_keywords(),
        ignored_maps = .lmtp_discard_lhlo_keyword_address_maps(), fallback = .lmtp_fallback_relay(),
        bind = .lmtp_bind_address(), bind6 = .lmtp_bind_address6(), bind_enforce = .lmtp_bind_address_enforce(),
        preference = .lmtp_address_preference(), randomize = .lmtp_randomize_addresses(),
        balance = .lmtp_balance_inet_protocols(), lookup = .lmtp_host_lookup(), support = .lmtp_dns_support_level(),
        options = .lmtp_dns_resolver_options(), defer_no_address = .lmtp_defer_if_no_mx_address_found(),
        quote = .lmtp_quote_rfc821_envelope(), dummy_auth = .lmtp_send_dummy_mail_auth(), reply_filter = .lmtp_reply_filter();
        connect = .lmtp_connect_timeout(), helo = .lmtp_lhlo_timeout(), xforward = .lmtp_xforward_timeout(),
        mail = .lmtp_mail_timeout(), rcpt = .lmtp_rcpt_timeout(), data_init = .lmtp_data_init_timeout(),
        data_xfer = .lmtp_data_xfer_timeout(), data_done = .lmtp_data_done_timeout(), rset = .lmtp_rset_timeout(),
        quit = .lmtp_quit_timeout(), whole = .lmtp_per_request_deadline()
    );
    params.times.rate = u64::try_from(*p.lmtp_min_data_rate()).unwrap_or(0);
    Ok(params)
}

impl Settings {
    /// Reads them. `config` has the overrides of the service's line; every fault is reported.
    pub fn load(config: &Config, protocol: Protocol, around: &Around<'_>) -> Result<Settings, Vec<Problem>> {
        let (prefix, daemon) = match protocol {
            Protocol::Smtp => ("smtp", "smtp"),
            Protocol::Lmtp => ("lmtp", "lmtp"),
        };
        let mut params = match protocol {
            Protocol::Smtp => smtp(config)?,
            Protocol::Lmtp => lmtp(config)?,
        };
        let (main, master, both) = (Main::load(config)?, Master::load(config)?, Smtp::load(config)?);
        let month = Duration::from_secs(30 * 86_400);
        params.times.most =
            Some(*master.daemon_timeout()).filter(|t| !t.is_zero()).unwrap_or(month).min(month);
        let assume_final = protocol == Protocol::Lmtp && *Lmtp::load(config)?.lmtp_assume_final();
        let mut problems = Vec::new();
        let mut wrong = |suffix: &str, what: String, remedy: &str| {
            let name = format!("{prefix}_{suffix}");
            problems.push(config.placed(&name, Problem::of(&name, what, remedy)));
        };
        let port = match sys::services::port(&params.port) {
            Some(port) if port != 0 => port,
            _ => {
                let what = format!("unknown service {:?}", params.port);
                wrong("tcp_port", what, "write a port, or a name of /etc/services");
                0
            }
        };
        let bind4 = match params.bind.as_str() {
            "" => None,
            text => text
                .parse()
                .map_err(|_| wrong("bind_address", format!("bad address {text:?}"), "write an IPv4 address"))
                .ok(),
        };
        let bind6 = match params.bind6.trim_start_matches('[').trim_end_matches(']') {
            "" => None,
            text => text
                .parse()
                .map_err(|_| wrong("bind_address6", format!("bad address {text:?}"), "write an IPv6 address"))
                .ok(),
        };
        let preference = match params.preference.as_str() {
            "any" => Preference::Any,
            "ipv4" => Preference::Ipv4,
            "ipv6" => Preference::Ipv6,
            text => {
                wrong("address_preference", format!("bad value {text:?}"), "write any, ipv4 or ipv6");
                Preference::Any
            }
        };
        let dnssec = params.support == "dnssec";
        let dns = match params.support.as_str() {
            "" => !both.disable_dns_lookups(),
            "disabled" => false,
            "enabled" | "dnssec" => true,
            text => {
                wrong(
                    "dns_support_level",
                    format!("bad value {text:?}"),
                    "write disabled, enabled or dnssec",
                );
                true
            }
        };
        let words = |text: &str| -> Vec<String> { tables::split_list(text) };
        let lookup = words(&params.lookup);
        if let Some(odd) = lookup.iter().find(|l| !matches!(l.as_str(), "dns" | "native")) {
            wrong("host_lookup", format!("bad value {odd:?}"), "write dns or native, or both");
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let side = match protocol {
            Protocol::Smtp => outgoing::Protocol::Smtp,
            Protocol::Lmtp => outgoing::Protocol::Lmtp,
        };
        let outgoing = Outgoing::load(config, around.types, around.rewriter.clone(), side)?;
        let protocols = &master.inet_protocols().0;
        let speaks = |name: &str| protocols.iter().any(|p| p == name || p == "all");
        let size = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
        let option = |name: &str| params.options.0.iter().any(|o| o == name);
        let proxies = rewrite_proxies(config);
        let own: Vec<IpAddr> = around.own.iter().copied().chain(proxies).collect();
        let names = [
            format!("{prefix}_connection_cache_destinations"),
            format!("{prefix}_discard_ehlo_keyword_address_maps"),
        ];
        Ok(Settings {
            protocol,
            voice: events::Source::new(main.syslog_name(), daemon, std::process::id()),
            myhostname: main.myhostname().clone(),
            manner: Manner {
                lmtp: protocol == Protocol::Lmtp,
                name: params.helo_name.clone(),
                always_ehlo: params.always_ehlo,
                never_ehlo: params.never_ehlo,
                skip_5xx: params.skip_5xx,
                ignored: Keywords::new(params.ignored.0.iter().map(String::as_str)),
            },
            ignored_by_address: Maps::of(around.types, &names[1], &params.ignored_maps.0),
            reply_filter: (!params.reply_filter.is_empty()).then(|| {
                Arc::new(Maps::open(around.types, &format!("{prefix}_reply_filter"), &params.reply_filter))
            }),
            times: params.times,
            port,
            line_limit: size(params.line_limit),
            session_limit: size(params.session_limit),
            reuse: Reuse {
                on_demand: params.on_demand,
                destinations: StringList::open(around.types, &names[0], &words(&params.destinations)),
                idle: params.idle,
                age: params.age,
                uses: u32::try_from(params.uses).unwrap_or(u32::MAX),
            },
            xforward: params.xforward,
            skip_quit: params.skip_quit,
            unquoted: !params.quote,
            dummy_auth: params.dummy_auth,
            assume_final,
            fallback: route::list(&params.fallback).map(str::to_string).collect(),
            fallback_name: match protocol {
                Protocol::Smtp => "smtp_fallback_relay",
                Protocol::Lmtp => "lmtp_fallback_relay",
            },
            relayhost: config.get("relayhost").unwrap_or_default(),
            best_mx_transport: both.best_mx_transport().clone(),
            source: Source::new(bind4, bind6, params.bind_enforce, around.own),
            route: route::Settings {
                protocol,
                ipv4: speaks("ipv4"),
                ipv6: speaks("ipv6"),
                dns,
                lookup_dns: dns && lookup.iter().any(|l| l == "dns"),
                lookup_native: !dns || lookup.iter().any(|l| l == "native"),
                rules: Rules {
                    preference,
                    randomize: params.randomize,
                    balance: params.balance,
                    limit: size(params.address_limit),
                },
                ignore_mx_lookup_error: *both.ignore_mx_lookup_error(),
                defer_if_no_mx_address_found: params.defer_no_address,
                own: own.into(),
            },
            completion: net::dns::Completion {
                defnames: option("res_defnames"),
                dnsrch: option("res_dnsrch"),
            },
            queue_directory: PathBuf::from(main.queue_directory()),
            outgoing,
            tls: Tls::load(config, around.types, protocol, dnssec)?,
            login: Login::load(config, around.types, protocol)?,
            config: config.clone(),
        })
    }
}

/// `proxy_interfaces`: addresses behind which we are, too.
fn rewrite_proxies(config: &Config) -> Vec<IpAddr> {
    let text = config.get("proxy_interfaces").unwrap_or_default();
    tables::split_list(&text)
        .iter()
        .filter_map(|a| a.trim_start_matches('[').trim_end_matches(']').parse().ok())
        .collect()
}
