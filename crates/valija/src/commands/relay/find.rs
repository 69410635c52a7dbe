//! The hosts behind a relay host's name, found by the SMTP client's own search (`smtp::route`), and what
//! to do when there are none.

use super::advice::Trouble;
use crate::commands::names::RelayHost;
use net::dns::Resolver;
use smtp::route::{self, Hop, NextHop, Random, Settings};

/// The hosts of `relay`, the best first, and a sentence about them.
pub(super) async fn hosts(
    relay: &RelayHost,
    settings: &Settings,
    resolver: &Resolver,
) -> Result<(Vec<Hop>, String), Trouble> {
    let host = relay.bare_host().to_string();
    let hop = NextHop { host, bracketed: relay.brackets, port: relay.port_number(25) };
    let found = route::find(&hop, settings, resolver, &mut Random::new()).await;
    let found = match found {
        Ok(found) => found,
        Err(none) => {
            let remedy = remedy(&hop, &none, settings, resolver).await;
            return Err(Trouble::new("DNS", none.status.text, remedy));
        }
    };
    let how = match (found.by_mx, hop.bracketed) {
        (true, _) => format!("the MX records of {} name: ", hop.host),
        (false, false) => format!("{} has no MX record and is asked itself: ", hop.host),
        (false, true) => String::new(),
    };
    let list: Vec<String> = found.hops.iter().map(|h| format!("{} [{}]", h.host, h.address.ip())).collect();
    let warned: Vec<String> = found.warnings.iter().map(|w| format!(" ({w})")).collect();
    Ok((found.hops, format!("{how}{}{}", list.join(", "), warned.join(""))))
}

async fn remedy(hop: &NextHop, none: &route::NoRoute, settings: &Settings, resolver: &Resolver) -> String {
    if none.loops {
        return "this is the host itself; name another one".into();
    }
    if none.status.text.contains("nullMX") {
        return format!("if it is the relay host nevertheless, write it in brackets: [{}]", hop.host);
    }
    if none.status.code.0 == 4 {
        return "check /etc/resolv.conf and the network, then try again".into();
    }
    if !settings.lookup_native {
        let native = Settings { lookup_dns: false, lookup_native: true, dns: false, ..settings.clone() };
        if route::find(hop, &native, resolver, &mut Random::new()).await.is_ok() {
            return "the name is in /etc/hosts, which mail delivery does not read: write \
                    postconf -e 'smtp_host_lookup = dns, native', or the address in brackets"
                .into();
        }
    }
    "check the spelling; inet_protocols says which kinds of addresses count".into()
}
