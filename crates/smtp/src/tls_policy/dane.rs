//! TLSA records of hosts: where they are looked for, and when they can be believed. RFC 7672 2.
//!
//! What cannot be found out is never taken for "there are none": then mail waits, for whoever can make
//! a look-up fail could otherwise switch encryption off.

use net::dns::{Failure, Kind, Resolver, Tlsa};
use std::net::IpAddr;

/// A host, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Its name in the MX record, or the next hop.
    pub name: &'a str,
    /// The name that has the address, where that is an alias.
    pub canonical: Option<&'a str>,
    /// The name server vouches for all between name and address.
    pub secure: bool,
    /// The port.
    pub port: u16,
}

/// Records that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name that they were found at, and that the server is asked for.
    pub base: String,
    /// They.
    pub records: Vec<Tlsa>,
}

/// Why it is not known whether there are any; for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

/// Looks for records. `force`: also where the addresses of a host are not signed
/// (`smtp_tls_force_insecure_host_tlsa_lookup`).
pub async fn find(resolver: &Resolver, host: Host<'_>, force: bool) -> Result<Option<Found>, Unknown> {
    if host.name.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    // RFC 7672 2.2.2: the name at the end of a signed alias comes first. Where only the alias itself is
    // signed its own name is all that counts.
    let names: Vec<&str> = match host.canonical {
        Some(canonical) if host.secure => vec![canonical, host.name],
        None if host.secure || force => vec![host.name],
        Some(_) if force || alias_is_signed(resolver, host.name).await? => vec![host.name],
        _ => Vec::new(),
    };
    for name in names {
        let asked = format!("_{}._tcp.{}", host.port, name.trim_end_matches('.'));
        match resolver.tlsa(&asked).await {
            Ok(answer) if answer.secure && !answer.records.is_empty() => {
                return Ok(Some(Found {
                    base: name.trim_end_matches('.').to_string(),
                    records: answer.records,
                }));
            }
            // RFC 7672 2.1.1: what nobody vouches for is as if it were not there.
            Ok(_) | Err(Failure::NotFound | Failure::NoData) => {}
            Err(failure) => return Err(Unknown(failure.words(&asked, Kind::Tlsa))),
        }
    }
    Ok(None)
}

async fn alias_is_signed(resolver: &Resolver, name: &str) -> Result<bool, Unknown> {
    match resolver.cname(name).await {
        Ok(answer) => Ok(answer.secure),
        Err(Failure::NotFound | Failure::NoData) => Ok(false),
        Err(failure) => Err(Unknown(failure.words(name, Kind::Cname))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::dns::Zone;

    const RECORD: &str = "TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn ask(zone: &str, host: Host<'_>, force: bool) -> Result<Option<String>, Unknown> {
        let resolver = Resolver::of_zone(Zone::parse(zone).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(find(&resolver, host, force)).map(|f| f.map(|f| f.base))
    }

    const HOST: Host<'static> = Host { name: "mx.org", canonical: None, secure: true, port: 25 };

    #[test]
    fn records_count_if_all_is_signed() {
        let signed = format!("_25._tcp.mx.org {RECORD}\n_25._tcp.mx.org * !secure\n");
        let unsigned = format!("_25._tcp.mx.org {RECORD}\n");
        let insecure = Host { secure: false, ..HOST };
        assert_eq!(ask(&signed, HOST, false), Ok(Some("mx.org".into())));
        assert_eq!(ask(&unsigned, HOST, false), Ok(None));
        assert_eq!(ask(&signed, insecure, false), Ok(None), "not even asked");
        assert_eq!(ask(&signed, insecure, true), Ok(Some("mx.org".into())));
        assert_eq!(ask(&signed, Host { port: 587, ..HOST }, false), Ok(None));
        assert_eq!(ask(&signed, Host { name: "192.0.2.1", ..HOST }, true), Ok(None));
        assert_eq!(ask("", HOST, false), Ok(None), "no such name");
        assert_eq!(ask("_25._tcp.mx.org A 192.0.2.1\n", HOST, false), Ok(None), "no such data");
    }

    #[test]
    fn what_cannot_be_found_out_is_not_nothing() {
        for trouble in ["!servfail", "!refused", "!silence", "!garbage"] {
            let zone = format!("_25._tcp.mx.org TLSA {trouble}\n");
            assert!(ask(&zone, HOST, false).is_err(), "{trouble}");
            let insecure = Host { secure: false, ..HOST };
            assert_eq!(ask(&zone, insecure, false), Ok(None), "{trouble}: nobody asks");
        }
        // An alias of records that leads nowhere.
        let zone = "_25._tcp.mx.org CNAME a.org\na.org TLSA !servfail\n";
        assert!(ask(zone, HOST, false).is_err());
    }

    #[test]
    fn aliases() {
        let host = Host { canonical: Some("end.org"), ..HOST };
        let at = |name: &str| format!("_25._tcp.{name} {RECORD}\n_25._tcp.{name} * !secure\n");
        assert_eq!(ask(&at("end.org"), host, false), Ok(Some("end.org".into())));
        assert_eq!(ask(&at("mx.org"), host, false), Ok(Some("mx.org".into())), "the name that was written");
        let both = at("mx.org") + &at("end.org");
        assert_eq!(ask(&both, host, false), Ok(Some("end.org".into())));
        let broken = at("mx.org") + "_25._tcp.end.org TLSA !servfail\n";
        assert!(ask(&broken, host, false).is_err(), "a failure at the end is not passed over");
        // The end of the alias is not signed: only its beginning counts, and only if it is.
        let insecure = Host { secure: false, ..host };
        let signed_alias = both.clone() + "mx.org CNAME end.org\nmx.org * !secure\n";
        assert_eq!(ask(&signed_alias, insecure, false), Ok(Some("mx.org".into())));
        let unsigned_alias = both.clone() + "mx.org CNAME end.org\n";
        assert_eq!(ask(&unsigned_alias, insecure, false), Ok(None));
        let broken_alias = both + "mx.org CNAME !servfail\n";
        assert!(ask(&broken_alias, insecure, false).is_err());
    }
}
