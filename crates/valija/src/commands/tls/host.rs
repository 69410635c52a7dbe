//! One host: its records, its handshake, its certificates, and what follows from them.

use super::{PATIENCE, World};
use crate::commands::relay::wire::Wire;
use net::dial;
use net::tls::certificate::Certificate;
use net::tls::client::{Connected, Wish};
use net::tls::dane::{is_about, usable, written};
use net::tls::digest::Digest;
use net::tls::proof::{Fault, Judgement, Manner, Proof, judge};
use proto::smtp::client::{Features, Keywords};
use rustls::pki_types::UnixTime;
use smtp::route::{Hop, NextHop, Route};
use smtp::sts::{Mode, Policy};
use smtp::tls_policy::dane::{self, Found};
use tokio::net::TcpStream;

/// A host, and all that is known of it beforehand.
pub(super) struct Host<'a> {
    pub world: &'a World,
    pub to: &'a NextHop,
    pub route: &'a Route,
    pub hop: &'a Hop,
    pub policy: Option<&'a Policy>,
}

type Encrypted = Connected<Box<dyn crate::commands::relay::wire::Stream>>;

impl Host<'_> {
    /// Whether it encrypts, and proves what is published about it.
    pub async fn test(&mut self) -> Result<bool, String> {
        let records = self.records().await;
        let connected = self.connect().await?;
        let Some(connected) = connected else {
            println!("  level none, may: mail goes in clear; all other levels: it waits");
            return Ok(false);
        };
        println!("  {}", connected.summary);
        self.tell_chain(&connected);
        let mut good = true;
        if let Ok(Some(found)) = &records {
            good &= self.dane(found, &connected);
        }
        good &= records.is_ok();
        self.levels(&connected, &records).await;
        if let Some(policy) = self.policy.filter(|p| p.mode != Mode::None) {
            good &= self.published(policy, &connected).await;
        }
        Ok(good)
    }

    /// TLSA records, which are believed or not there.
    async fn records(&self) -> Result<Option<Found>, ()> {
        let host = dane::Host {
            name: &self.hop.host,
            canonical: self.hop.canonical.as_deref(),
            secure: self.hop.secure,
            port: self.hop.address.port(),
        };
        match dane::find(&self.world.resolver, host, false).await {
            Ok(Some(found)) => {
                println!(
                    "  TLSA records at _{}._tcp.{}, signed: {}",
                    host.port,
                    found.base,
                    found.records.len()
                );
                Ok(Some(found))
            }
            Ok(None) => {
                let why = if self.hop.secure { "none that are signed" } else { "not looked for" };
                println!("  TLSA records: {why}");
                Ok(None)
            }
            Err(dane::Unknown(why)) => {
                println!("  TLSA records cannot be found out, so that mail waits at dane: {why}");
                Err(())
            }
        }
    }

    /// To the end of the handshake; `None` where the host does not encrypt.
    async fn connect(&self) -> Result<Option<Encrypted>, String> {
        let dialled = dial::tcp(self.hop.address, &dial::Source::default(), PATIENCE).await;
        let stream: TcpStream = dialled.map_err(|e| format!("cannot be reached: {e}"))?.stream;
        let io = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
        if self.hop.address.port() == 465 {
            return self.handshake(Box::new(stream)).await.map(Some);
        }
        let mut wire = Wire::new(Box::new(stream), PATIENCE);
        let greeting = wire.answer().await.map_err(io("greeting"))?;
        if !greeting.is_positive() {
            return Err(format!("it does not talk to us: {}", greeting.one_line()));
        }
        let answer = wire.ask(&format!("EHLO {}", self.world.helo)).await.map_err(io("EHLO"))?;
        if !Features::extended(&answer, &Keywords::default()).starttls {
            println!("  offers no STARTTLS");
            let _ = wire.ask("QUIT").await;
            return Ok(None);
        }
        let answer = wire.ask("STARTTLS").await.map_err(io("STARTTLS"))?;
        if !answer.is_positive() {
            println!("  offers STARTTLS, and refuses it: {}", answer.one_line());
            return Ok(None);
        }
        let stream = wire.into_stream().map_err(io("STARTTLS"))?;
        self.handshake(stream).await.map(Some)
    }

    async fn handshake(
        &self,
        stream: Box<dyn crate::commands::relay::wire::Stream>,
    ) -> Result<Encrypted, String> {
        let proof = Proof::Names(vec![self.hop.host.clone()]);
        let wish = Wish {
            server_name: Some(&self.hop.host),
            proof: &proof,
            observe: true,
            roots: Some(&self.world.roots),
            ..Wish::new("test", PATIENCE)
        };
        let connected = self.world.connector.connect(stream, &wish).await;
        connected.map_err(|e| format!("the handshake fails, so that mail waits: {e}"))
    }

    fn tell_chain(&self, connected: &Encrypted) {
        for (n, der) in connected.chain.iter().take(10).enumerate() {
            let Some(certificate) = Certificate::read(der) else {
                println!("  certificate {n}: it cannot be read");
                continue;
            };
            let names: Vec<String> = certificate
                .names
                .iter()
                .take(10)
                .map(|n| n.chars().filter(|c| !c.is_control()).take(255).collect())
                .collect();
            let names = if names.is_empty() { String::new() } else { format!(", for {}", names.join(", ")) };
            println!(
                "  certificate {n}: {}, issued by {}{names}",
                certificate.subject_line(),
                certificate.issuer_line()
            );
            if n == 0 {
                println!("    fingerprint     {}", Digest::Sha256.shown(der));
                println!("    of its key      {}", Digest::Sha256.shown(&certificate.spki));
            }
        }
        if !connected.signed {
            println!("  its signature cannot be checked: it proves nothing");
        }
    }

    fn proves(&self, proof: &Proof, connected: &Encrypted, anchors: &net::tls::client::Anchors) -> Judgement {
        let mut found = judge(proof, &connected.chain, anchors, Manner::default(), UnixTime::now());
        found.proved &= connected.signed;
        found
    }

    /// Which records count and fit.
    fn dane(&self, found: &Found, connected: &Encrypted) -> bool {
        let digests = [Digest::Sha512, Digest::Sha256];
        let sorted = usable(&found.records, &digests);
        for record in &found.records {
            let fits = |n: usize| {
                let der = connected.chain.get(n)?;
                is_about(record, der, &Certificate::read(der)?).then_some(n)
            };
            let place = (0..connected.chain.len().min(16)).find_map(fits);
            let what = match place {
                _ if sorted.foreign.contains(record) => "its usage is not for mail".to_string(),
                _ if sorted.broken.contains(record) => "it makes no sense".to_string(),
                _ if !sorted.records.contains(record) => "a stronger digest counts".to_string(),
                Some(n) => format!("about certificate {n}"),
                None => "about none of the certificates shown".to_string(),
            };
            println!("    {}: {what}", written(record));
        }
        let verdict = self.proves(&self.dane_proof(found), connected, net::tls::client::Anchors::NONE);
        match (&verdict.fault, sorted.records.is_empty()) {
            (_, true) => {
                println!("  DANE: no record counts; mail goes encrypted, and nobody proves anything")
            }
            (None, _) if verdict.proved => println!("  DANE: proved"),
            (fault, _) => {
                let why = words(fault.as_ref());
                println!("  DANE: NOT proved ({why}); mail waits at dane and dane-only");
            }
        }
        verdict.proved
    }

    fn dane_proof(&self, found: &Found) -> Proof {
        let mut names = vec![found.base.clone(), self.hop.host.clone()];
        if self.route.secure {
            names.push(self.to.host.clone());
            names.extend(self.route.canonical.clone());
        }
        Proof::Dane(usable(&found.records, &[Digest::Sha512, Digest::Sha256]).records, names)
    }

    /// What each level makes of it.
    async fn levels(&self, connected: &Encrypted, records: &Result<Option<Found>, ()>) {
        let (anchors, trouble) = self.world.roots.anchors().await;
        for what in trouble {
            println!("  note: cannot load authorities: {what}");
        }
        println!("  level may, encrypt: mail goes, encrypted");
        let domain = self.to.host.clone();
        let say = |level: &str, names: Vec<String>| {
            let wanted = names.join(" or ");
            let verdict = self.proves(&Proof::Names(names), connected, anchors);
            match verdict.proved {
                true => println!("  level {level}: mail goes; an authority vouches for {wanted}"),
                false => {
                    let why = words(verdict.fault.as_ref());
                    println!("  level {level}: mail waits; nobody vouches for {wanted} ({why})");
                }
            }
        };
        say("verify", vec![self.hop.host.clone()]);
        say("secure", vec![domain.clone(), format!(".{domain}")]);
        let (mx_signed, none) = (!self.route.by_mx || self.route.secure, "mail goes as at may");
        let dane = match records {
            Err(()) => "mail waits",
            Ok(None) => none,
            Ok(Some(found)) => {
                let proof = self.dane_proof(found);
                let counts = matches!(&proof, Proof::Dane(records, _) if !records.is_empty());
                let proved = self.proves(&proof, connected, net::tls::client::Anchors::NONE).proved;
                match (counts, proved) {
                    (false, _) => "mail goes, encrypted",
                    (true, true) => "mail goes; the records vouch for the host",
                    (true, false) => "mail waits",
                }
            }
        };
        println!("  level dane: {dane}");
        let only = match records {
            Ok(Some(_)) if !mx_signed => "mail waits; the MX records are not signed",
            Ok(Some(_)) if dane.contains("vouch") => dane,
            _ => "mail waits",
        };
        println!("  level dane-only: {only}");
    }

    async fn published(&self, policy: &Policy, connected: &Encrypted) -> bool {
        if !policy.names(&self.hop.host) {
            println!("  MTA-STS: NOT named by the policy");
            return false;
        }
        let (anchors, _) = self.world.roots.anchors().await;
        let verdict = self.proves(&Proof::Names(vec![self.hop.host.clone()]), connected, anchors);
        match verdict.proved {
            true => println!("  MTA-STS: as the policy demands"),
            false => println!("  MTA-STS: NOT as the policy demands: its certificate is not good"),
        }
        verdict.proved
    }
}

/// Without the number that the log has.
fn words(fault: Option<&Fault>) -> String {
    let text = fault.map_or_else(|| "its signature cannot be checked".to_string(), ToString::to_string);
    match text.split_once(':') {
        Some((number, what)) if number.starts_with("num=") => what.to_string(),
        _ => text,
    }
}
