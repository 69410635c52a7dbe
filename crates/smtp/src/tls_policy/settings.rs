//! The parameters of encryption, of both clients, read into one form.

use super::probe::Probe;
use super::{Level, Published, Tls};
use crate::report::Ledger;
use crate::route::Protocol;
use crate::sts::Sts;
use config::params::client_tls::{ClientTls, LmtpTls, SmtpTls};
use config::params::master::Master;
use config::params::qmgr::Qmgr;
use config::params::tls::Tls as Common;
use config::value::List;
use config::{Config, Problem};
use net::tls::Protocols;
use net::tls::client::{Authorities, Connector, Roots};
use net::tls::digest::Digest;
use net::tls::names;
use net::tls::proof::Manner;
use net::tls::server::Identity;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tables::{Maps, Types};

/// What either group says.
struct Values {
    level: String,
    use_tls: bool,
    enforce: bool,
    peername: bool,
    per_site: List,
    policy_maps: List,
    limit: Duration,
    loglevel: i64,
    file: String,
    path: String,
    anchors: List,
    depth: i64,
    verify_match: List,
    secure_match: List,
    fingerprints: List,
    digest: String,
    protocols: List,
    mandatory_protocols: List,
    grade: String,
    mandatory_grade: String,
    excluded: List,
    mandatory_excluded: List,
    server_name: String,
    note_offer: bool,
    wrapped: bool,
    reuse: bool,
    cert: String,
    key: String,
    eccert: String,
    eckey: String,
    chains: List,
    block_early: bool,
    force: bool,
}

macro_rules! values {
    ($p:expr, $($field:ident = $name:ident),* $(,)?) => { Values { $($field: $p.$name().clone()),* } };
}

fn smtp(p: &SmtpTls) -> Values {
    values!(
        p,
        level = smtp_tls_security_level,
        use_tls = smtp_use_tls,
        enforce = smtp_enforce_tls,
        peername = smtp_tls_enforce_peername,
        per_site = smtp_tls_per_site,
        policy_maps = smtp_tls_policy_maps,
        limit = smtp_starttls_timeout,
        loglevel = smtp_tls_loglevel,
        file = smtp_tls_ca_file,
        path = smtp_tls_ca_path,
        anchors = smtp_tls_trust_anchor_file,
        depth = smtp_tls_scert_verifydepth,
        verify_match = smtp_tls_verify_cert_match,
        secure_match = smtp_tls_secure_cert_match,
        fingerprints = smtp_tls_fingerprint_cert_match,
        digest = smtp_tls_fingerprint_digest,
        protocols = smtp_tls_protocols,
        mandatory_protocols = smtp_tls_mandatory_protocols,
        grade = smtp_tls_ciphers,
        mandatory_grade = smtp_tls_mandatory_ciphers,
        excluded = smtp_tls_exclude_ciphers,
        mandatory_excluded = smtp_tls_mandatory_exclude_ciphers,
        server_name = smtp_tls_servername,
        note_offer = smtp_tls_note_starttls_offer,
        wrapped = smtp_tls_wrappermode,
        reuse = smtp_tls_connection_reuse,
        cert = smtp_tls_cert_file,
        key = smtp_tls_key_file,
        eccert = smtp_tls_eccert_file,
        eckey = smtp_tls_eckey_file,
        chains = smtp_tls_chain_files,
        block_early = smtp_tls_block_early_mail_reply,
        force = smtp_tls_force_insecure_host_tlsa_lookup,
    )
}

fn lmtp(p: &LmtpTls) -> Values {
    values!(
        p,
        level = lmtp_tls_security_level,
        use_tls = lmtp_use_tls,
        enforce = lmtp_enforce_tls,
        peername = lmtp_tls_enforce_peername,
        per_site = lmtp_tls_per_site,
        policy_maps = lmtp_tls_policy_maps,
        limit = lmtp_starttls_timeout,
        loglevel = lmtp_tls_loglevel,
        file = lmtp_tls_ca_file,
        path = lmtp_tls_ca_path,
        anchors = lmtp_tls_trust_anchor_file,
        depth = lmtp_tls_scert_verifydepth,
        verify_match = lmtp_tls_verify_cert_match,
        secure_match = lmtp_tls_secure_cert_match,
        fingerprints = lmtp_tls_fingerprint_cert_match,
        digest = lmtp_tls_fingerprint_digest,
        protocols = lmtp_tls_protocols,
        mandatory_protocols = lmtp_tls_mandatory_protocols,
        grade = lmtp_tls_ciphers,
        mandatory_grade = lmtp_tls_mandatory_ciphers,
        excluded = lmtp_tls_exclude_ciphers,
        mandatory_excluded = lmtp_tls_mandatory_exclude_ciphers,
        server_name = lmtp_tls_servername,
        note_offer = lmtp_tls_note_starttls_offer,
        wrapped = lmtp_tls_wrappermode,
        reuse = lmtp_tls_connection_reuse,
        cert = lmtp_tls_cert_file,
        key = lmtp_tls_key_file,
        eccert = lmtp_tls_eccert_file,
        eckey = lmtp_tls_eckey_file,
        chains = lmtp_tls_chain_files,
        block_early = lmtp_tls_block_early_mail_reply,
        force = lmtp_tls_force_insecure_host_tlsa_lookup,
    )
}

/// Elements of a list that is separated by `|` or `:`, too.
fn split(list: &List, also: char) -> Vec<String> {
    list.0.iter().flat_map(|e| e.split(also)).filter(|e| !e.is_empty()).map(String::from).collect()
}

impl Tls {
    /// Reads it. `config` has the settings of the service's line; `dnssec`: what name servers vouch for
    /// is believed (`smtp_dns_support_level`).
    pub fn load(
        config: &Config,
        types: &Types,
        protocol: Protocol,
        dnssec: bool,
    ) -> Result<Tls, Vec<Problem>> {
        let (prefix, values) = match protocol {
            Protocol::Smtp => ("smtp", smtp(&SmtpTls::load(config)?)),
            Protocol::Lmtp => ("lmtp", lmtp(&LmtpTls::load(config)?)),
        };
        let bad = |suffix: &str, what: String, remedy: &str| {
            let name = match suffix {
                "tls_dane_digests" | "dnssec_probe" => suffix.to_string(),
                _ => format!("{prefix}_tls_{suffix}"),
            };
            vec![config.placed(&name, Problem::of(&name, what, remedy))]
        };
        let named = |suffix: &str, word: &str| {
            let what = || format!("bad value {word:?}");
            let remedy = "write none, may, encrypt, dane, dane-only, fingerprint, verify or secure";
            Level::named(word).ok_or_else(|| bad(suffix, what(), remedy))
        };
        let level = match values.level.as_str() {
            // The old way to say encrypt says verify, unless names do not count.
            "" if values.enforce && values.peername => Level::Verify,
            "" if values.enforce => Level::Encrypt,
            "" if values.use_tls => Level::May,
            "" => Level::None,
            word => named("security_level", word)?,
        };
        // LMTP knows no MX records.
        let insecure_mx = match protocol {
            Protocol::Smtp => {
                match named(
                    "dane_insecure_mx_policy",
                    SmtpTls::load(config)?.smtp_tls_dane_insecure_mx_policy(),
                )? {
                    ok @ (Level::May | Level::Encrypt) => ok,
                    Level::Dane => Level::HalfDane,
                    other => {
                        let what = format!("bad value {:?}", other.to_string());
                        return Err(bad("dane_insecure_mx_policy", what, "write dane, encrypt or may"));
                    }
                }
            }
            Protocol::Lmtp => Level::HalfDane,
        };
        for (suffix, words) in
            [("protocols", &values.protocols), ("mandatory_protocols", &values.mandatory_protocols)]
        {
            Protocols::parse(&words.0).map_err(|word| {
                let remedy = "write >=TLSv1.2, or names such as TLSv1.3";
                bad(suffix, format!("unknown protocol {word:?}"), remedy)
            })?;
        }
        let digest = Digest::named(&values.digest).ok_or_else(|| {
            bad("fingerprint_digest", format!("unknown digest {:?}", values.digest), "write sha256")
        })?;
        let all = ClientTls::load(config)?;
        let mut digests = Vec::new();
        let probe = Probe::read(all.dnssec_probe()).map_err(|what| {
            bad("dnssec_probe", what, "write a type and a name that is signed, such as ns:., or nothing")
        })?;
        for word in &all.tls_dane_digests().0 {
            match Digest::named(word) {
                Some(known @ (Digest::Sha256 | Digest::Sha512)) => digests.push(known),
                _ => {
                    let what = format!("{word:?} is no digest of TLSA records");
                    return Err(bad("tls_dane_digests", what, "write sha512 sha256"));
                }
            }
        }
        let file = |text: String| Some(PathBuf::from(text)).filter(|p| !p.as_os_str().is_empty());
        // As for OpenSSL: nothing that is set means nothing that is trusted, unless all of the system's is.
        let system = *Common::load(config)?.tls_append_default_ca();
        let authorities = Authorities {
            file: file(values.file),
            path: file(values.path),
            system,
            ..Authorities::default()
        };
        let only: Vec<PathBuf> = values.anchors.0.iter().map(PathBuf::from).collect();
        let anchors =
            (!only.is_empty()).then(|| Arc::new(Roots::of(Authorities { only, ..Authorities::default() })));
        let data = PathBuf::from(Master::load(config)?.data_directory());
        let wanted = protocol == Protocol::Smtp && *all.valija_mta_sts();
        // For the web as for mail exchangers: those that the system trusts, and those that are set.
        let roots = || Roots::of(Authorities { system: true, ..authorities.clone() });
        let published = wanted.then(|| Published {
            sts: Sts::of(&data.join("mta-sts")),
            connector: Connector::new(Authorities::default()),
            roots: Arc::new(roots()),
        });
        let mut identities = Vec::new();
        if !values.chains.0.is_empty() {
            identities.push(Identity::Chains(values.chains.0.iter().map(PathBuf::from).collect()));
        } else {
            for (kind, certificate, key) in
                [("RSA", values.cert, values.key), ("ECDSA", values.eccert, values.eckey)]
            {
                if !certificate.is_empty() && certificate != "none" {
                    identities.push(Identity::Pair {
                        kind,
                        certificate: certificate.into(),
                        key: key.into(),
                    });
                }
            }
        }
        let opener = types.clone();
        let open = Arc::new(move |path: &Path| opener.open_file(path));
        let ledger = Ledger::of(&data.join("tls-reports"));
        let many_labels = *all.tls_wildcard_matches_multiple_labels();
        Ok(Tls {
            level,
            policy_maps: Maps::of(types, &format!("{prefix}_tls_policy_maps"), &values.policy_maps.0),
            per_site: Maps::of(types, &format!("{prefix}_tls_per_site"), &values.per_site.0),
            loglevel: values.loglevel,
            limit: values.limit,
            note_offer: values.note_offer,
            wrapped: values.wrapped,
            reuse: values.reuse,
            block_early: values.block_early,
            server_name: values.server_name,
            protocols: values.protocols.0,
            mandatory_protocols: values.mandatory_protocols.0,
            grade: values.grade,
            mandatory_grade: values.mandatory_grade,
            excluded: split(&values.excluded, ':'),
            mandatory_excluded: split(&values.mandatory_excluded, ':'),
            verify_match: split(&values.verify_match, ':'),
            secure_match: split(&values.secure_match, ':'),
            fingerprints: split(&values.fingerprints, '|'),
            digest,
            digests,
            manner: Manner {
                names: names::Manner { many_labels },
                depth: usize::try_from(values.depth).unwrap_or(usize::MAX),
            },
            anchors,
            known_anchors: Mutex::default(),
            insecure_mx,
            force: values.force,
            dnssec,
            probe,
            service: prefix,
            patience: *Qmgr::load(config)?.minimal_backoff_time(),
            published,
            ledger,
            families: {
                let spoken = &Master::load(config)?.inet_protocols().0.clone();
                let speaks = |name: &str| spoken.iter().any(|p| p == name || p == "all");
                (speaks("ipv4"), speaks("ipv6"))
            },
            connector: Connector::new(authorities).showing(identities, open),
            doubts: Vec::new(),
        })
    }
}
