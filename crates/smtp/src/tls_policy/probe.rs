//! Whether the name server validates at all (`dnssec_probe`). One that does not makes DANE mean nothing,
//! silently; so when an answer is not vouched for and none was before, something is asked for that
//! should be, once, and the log is told.

use net::dns::{Failure, Kind, Resolver};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is asked, and whether there is still need to.
#[derive(Debug)]
pub(super) struct Probe {
    text: String,
    what: Option<(Kind, String)>,
    settled: AtomicBool,
}

impl Probe {
    /// Reads `type:name`; without a text nothing is ever asked.
    pub fn read(text: &str) -> Result<Probe, String> {
        let what = match text.split_once(':') {
            _ if text.is_empty() => None,
            None => return Err("it has the form type:name".into()),
            Some((_, "")) => return Err("it has no name".into()),
            Some((kind, name)) => {
                let kind = match kind.to_ascii_lowercase().as_str() {
                    "ns" => Kind::Ns,
                    "a" => Kind::A,
                    "aaaa" => Kind::Aaaa,
                    "mx" => Kind::Mx,
                    "txt" => Kind::Txt,
                    "tlsa" => Kind::Tlsa,
                    _ => return Err(format!("{kind} is not ns, a, aaaa, mx, txt or tlsa")),
                };
                Some((kind, name.to_string()))
            }
        };
        Ok(Probe { text: text.to_string(), what, settled: AtomicBool::new(false) })
    }

    /// An answer came, vouched for or not. What is to be said of it.
    pub async fn heard(&self, vouched: bool, resolver: &Resolver) -> Vec<String> {
        // What was settled once stays so, until the settings are read anew.
        if self.settled.load(Ordering::Relaxed) || !vouched && self.what.is_none() {
            return Vec::new();
        }
        if self.settled.swap(true, Ordering::Relaxed) || vouched {
            return Vec::new();
        }
        let Some((kind, name)) = &self.what else { return Vec::new() };
        let secure = match kind {
            Kind::A => resolver.a(name).await.map(|a| a.secure),
            Kind::Aaaa => resolver.aaaa(name).await.map(|a| a.secure),
            Kind::Mx => resolver.mx(name).await.map(|a| a.secure),
            Kind::Txt => resolver.txt(name).await.map(|a| a.secure),
            Kind::Tlsa => resolver.tlsa(name).await.map(|a| a.secure),
            _ => resolver.ns(name).await.map(|a| a.secure),
        };
        let why = match secure {
            Ok(true) => return Vec::new(),
            Ok(false) | Err(Failure::NotFound | Failure::NoData) => {
                "received a response that is not DNSSEC validated".to_string()
            }
            Err(failure) => format!("received no response: {}", failure.words(name, *kind)),
        };
        vec![
            "DNSSEC validation may be unavailable".into(),
            format!("reason: dnssec_probe '{}' {why}", self.text),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::dns::Zone;

    fn heard(probe: &Probe, zone: &str, vouched: bool) -> Vec<String> {
        let resolver = Resolver::of_zone(Zone::parse(zone).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(probe.heard(vouched, &resolver))
    }

    #[test]
    fn asked_once_and_only_where_nothing_was_vouched_for() {
        let probe = || Probe::read("ns:test").unwrap();
        let one = probe();
        let said = heard(&one, "test NS a.test\n", false);
        let reason = "reason: dnssec_probe 'ns:test' received a response that is not DNSSEC validated";
        assert_eq!(said, ["DNSSEC validation may be unavailable", reason]);
        assert!(heard(&one, "test NS a.test\n", false).is_empty(), "once");
        assert!(heard(&probe(), "test NS a.test\ntest * !secure\n", false).is_empty(), "it validates");
        let root = Probe::read("ns:.").unwrap();
        assert!(heard(&root, ". NS a.test\n. * !secure\n", false).is_empty(), "the root can be asked");
        let two = probe();
        assert!(heard(&two, "", true).is_empty());
        assert!(heard(&two, "test NS a.test\n", false).is_empty(), "it was seen to validate");
        assert!(heard(&probe(), "test NS !servfail\n", false)[1].contains("received no response: "));
        assert!(heard(&Probe::read("").unwrap(), "test NS a.test\n", false).is_empty());
    }

    #[test]
    fn what_is_no_probe() {
        for text in ["ns", "ns:", "soa:.", ":."] {
            assert!(Probe::read(text).is_err(), "{text}");
        }
        assert!(Probe::read("TXT:example.org").is_ok());
    }
}
