//! The settings of finding and reaching other hosts, as the configuration has them: those of SMTP, or
//! those of LMTP.

use super::{Preference, Protocol, Rules, Settings};
use config::params::route::Route;
use config::value::List;
use config::{Config, Problem};
use net::dial::Source;
use net::dns::Completion;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a transport needs to know before it connects.
#[derive(Clone, Debug)]
pub struct Means {
    /// For [`super::find`].
    pub route: Settings,
    /// `smtp_dns_support_level = dnssec`.
    pub dnssec: bool,
    /// `smtp_dns_resolver_options`.
    pub completion: Completion,
    /// `smtp_bind_address` and its like.
    pub source: Source,
    /// `smtp_connect_timeout`.
    pub connect_timeout: Duration,
    /// `smtp_tcp_port`.
    pub port: u16,
    /// `smtp_fallback_relay`, which comes after the places of a next hop.
    pub fallback: Vec<String>,
    /// The parameter's name, for [`super::Circumstances`].
    pub fallback_name: &'static str,
    /// `best_mx_transport`.
    pub best_mx_transport: String,
}

impl Means {
    /// `interfaces`: this host's addresses that `inet_interfaces` means.
    pub fn load(config: &Config, protocol: Protocol, interfaces: &[IpAddr]) -> Result<Means, Vec<Problem>> {
        let params = Route::load(config)?;
        let mut problems = Vec::new();
        let means = read(config, &params, protocol, interfaces, &mut problems);
        if problems.is_empty() { Ok(means) } else { Err(problems) }
    }
}

/// The accessor of SMTP or that of LMTP.
macro_rules! of {
    ($params:expr, $protocol:expr, $smtp:ident, $lmtp:ident) => {
        match $protocol {
            Protocol::Smtp => (stringify!($smtp), $params.$smtp()),
            Protocol::Lmtp => (stringify!($lmtp), $params.$lmtp()),
        }
    };
}

fn read(
    config: &Config,
    params: &Route,
    protocol: Protocol,
    interfaces: &[IpAddr],
    problems: &mut Vec<Problem>,
) -> Means {
    let list = |name: &str| tables::split_list(&config.get(name).unwrap_or_default());
    let protocols = list("inet_protocols");
    let family = |name: &str| protocols.iter().any(|p| p == "all" || p == name);
    let proxies = list("proxy_interfaces");
    let own: Arc<[IpAddr]> =
        interfaces.iter().copied().chain(proxies.iter().filter_map(|p| tables::net::address_of(p))).collect();

    let preference = match of!(params, protocol, smtp_address_preference, lmtp_address_preference) {
        (_, word) if word == "any" => Preference::Any,
        (_, word) if word == "ipv4" => Preference::Ipv4,
        (_, word) if word == "ipv6" => Preference::Ipv6,
        (name, word) => {
            problems.push(unknown(name, word, "write any, ipv4 or ipv6"));
            Preference::Any
        }
    };
    let disabled = *params.disable_dns_lookups();
    let (dns, dnssec) = match of!(params, protocol, smtp_dns_support_level, lmtp_dns_support_level) {
        (_, word) if word.is_empty() => (!disabled, false),
        (_, word) if word == "enabled" => (true, false),
        (_, word) if word == "dnssec" => (true, true),
        (_, word) if word == "disabled" => (false, false),
        (name, word) => {
            problems.push(unknown(name, word, "write disabled, enabled or dnssec"));
            (true, false)
        }
    };
    let lookup = of!(params, protocol, smtp_host_lookup, lmtp_host_lookup);
    let lookup = words(lookup, ["dns", "native"], "write dns, native or both", problems);
    let options = of!(params, protocol, smtp_dns_resolver_options, lmtp_dns_resolver_options);
    let options =
        words(options, ["res_defnames", "res_dnsrch"], "write res_defnames, res_dnsrch or both", problems);
    let bind4 = of!(params, protocol, smtp_bind_address, lmtp_bind_address);
    let bind6 = of!(params, protocol, smtp_bind_address6, lmtp_bind_address6);
    let v4 = address(bind4, "write an IPv4 address of this host", problems);
    let v6 = address(bind6, "write an IPv6 address of this host", problems);
    let enforce = *of!(params, protocol, smtp_bind_address_enforce, lmtp_bind_address_enforce).1;
    let (name, service) = of!(params, protocol, smtp_tcp_port, lmtp_tcp_port);
    let port = sys::services::port(service).filter(|p| *p != 0).unwrap_or_else(|| {
        problems.push(unknown(name, service, "write a port number or a name in /etc/services"));
        25
    });
    let (fallback_name, fallback) = of!(params, protocol, smtp_fallback_relay, lmtp_fallback_relay);
    let limit = *of!(params, protocol, smtp_mx_address_limit, lmtp_mx_address_limit).1;
    Means {
        route: Settings {
            protocol,
            ipv4: family("ipv4"),
            ipv6: family("ipv6") && net::dial::ipv6_works(),
            dns,
            lookup_dns: dns && lookup[0],
            lookup_native: !dns || lookup[1],
            rules: Rules {
                preference,
                randomize: *of!(params, protocol, smtp_randomize_addresses, lmtp_randomize_addresses).1,
                balance: *of!(params, protocol, smtp_balance_inet_protocols, lmtp_balance_inet_protocols).1,
                limit: usize::try_from(limit).unwrap_or(0),
            },
            ignore_mx_lookup_error: *params.ignore_mx_lookup_error(),
            defer_if_no_mx_address_found: *of!(
                params,
                protocol,
                smtp_defer_if_no_mx_address_found,
                lmtp_defer_if_no_mx_address_found
            )
            .1,
            own,
        },
        dnssec,
        completion: Completion { defnames: options[0], dnsrch: options[1] },
        source: Source::new(v4, v6, enforce, interfaces),
        connect_timeout: *of!(params, protocol, smtp_connect_timeout, lmtp_connect_timeout).1,
        port,
        fallback: fallback.0.clone(),
        fallback_name,
        best_mx_transport: params.best_mx_transport().clone(),
    }
}

/// Which of two words a list has.
fn words(
    (name, list): (&str, &List),
    known: [&str; 2],
    remedy: &str,
    problems: &mut Vec<Problem>,
) -> [bool; 2] {
    for word in list.0.iter().filter(|w| !known.contains(&w.as_str())) {
        problems.push(unknown(name, word, remedy));
    }
    known.map(|k| list.0.iter().any(|w| w == k))
}

fn address<A: std::str::FromStr>(
    (name, text): (&str, &String),
    remedy: &str,
    problems: &mut Vec<Problem>,
) -> Option<A> {
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    if inner.is_empty() {
        return None;
    }
    let address = inner.parse().ok();
    if address.is_none() {
        problems.push(unknown(name, text, remedy));
    }
    address
}

fn unknown(name: &str, value: &str, remedy: &str) -> Problem {
    Problem::of(name, format!("bad value {value:?}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn load(text: &str, protocol: Protocol) -> Result<Means, Vec<Problem>> {
        let config = Config::from_text(Path::new("/nowhere"), text).unwrap();
        Means::load(&config, protocol, &["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()])
    }

    #[test]
    fn defaults_of_both() {
        let smtp = load("", Protocol::Smtp).unwrap();
        let expected = Settings { own: smtp.route.own.clone(), ipv6: smtp.route.ipv6, ..Settings::default() };
        assert_eq!(format!("{:?}", smtp.route), format!("{expected:?}"));
        assert_eq!((smtp.port, smtp.connect_timeout), (25, Duration::from_secs(30)));
        assert_eq!((smtp.source, smtp.dnssec), (Source::default(), false));
        let lmtp = load("smtp_tcp_port = 26\nfallback_relay = [a.b]", Protocol::Lmtp).unwrap();
        assert_eq!((lmtp.port, lmtp.connect_timeout, lmtp.fallback.len()), (24, Duration::ZERO, 0));
        assert_eq!(lmtp.fallback_name, "lmtp_fallback_relay");
    }

    #[test]
    fn what_is_written_holds() {
        let of = |text: &str| load(text, Protocol::Smtp).unwrap();
        assert_eq!(of("fallback_relay = [a.b]:26, c.d").fallback, ["[a.b]:26", "c.d"]);
        assert!(of("proxy_interfaces = 203.0.113.9").route.own.contains(&"203.0.113.9".parse().unwrap()));
        let off = of("disable_dns_lookups = yes").route;
        assert!(!off.dns && !off.lookup_dns && off.lookup_native);
        let level = of("disable_dns_lookups = yes\nsmtp_dns_support_level = enabled").route;
        assert!(level.dns && level.lookup_dns && !level.lookup_native);
        assert!(of("smtp_dns_support_level = dnssec").dnssec);
        let both = of("smtp_host_lookup = native, dns").route;
        assert!(both.lookup_dns && both.lookup_native);
        assert_eq!(of("smtp_bind_address = 192.0.2.7").source.v4, "192.0.2.7".parse().ok());
        assert_eq!(of("smtp_bind_address6 = [2001:db8::7]").source.v6, "2001:db8::7".parse().ok());
        let four = of("inet_protocols = ipv4").route;
        assert!(four.ipv4 && !four.ipv6);
        assert!(of("smtp_dns_resolver_options = res_dnsrch").completion.dnsrch);
    }

    #[test]
    fn faults_are_named() {
        let text = "smtp_address_preference = x\nsmtp_dns_support_level = x\nsmtp_host_lookup = x\n\
                    smtp_dns_resolver_options = x\nsmtp_bind_address = ::1\nsmtp_bind_address6 = x\nsmtp_tcp_port = x\n";
        let problems = load(text, Protocol::Smtp).unwrap_err();
        assert_eq!(problems.len(), 7, "{problems:?}");
        assert!(load(text, Protocol::Lmtp).is_ok());
    }
}
