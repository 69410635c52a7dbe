//! Whole sessions, with everything that is behind them: restrictions, cleanup, a queue in memory.

use crate::{first, text, two};
use cleanup::{Door, Intake};
use config::Config;
use net::dns::{Resolver, Zone};
use proto::Address;
use queue::{MemoryStore, Store};
use rewrite::Rewriter;
use smtpd::limits::Limits;
use smtpd::restrictions::facts::Wanted;
use smtpd::world::{Looking, Resolved, Trouble, ask};
use smtpd::{Parts, Peer, Service, World};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tables::Types;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MAIN: &str = "compatibility_level = 3.6\nmyhostname = mx.example.org\nmyorigin = example.org\n\
    mydestination = $myhostname, example.org, localhost\nmynetworks = 127.0.0.0/8\n\
    local_recipient_maps = inline:{usuario=1,jose=1}\nrecipient_delimiter = +\n\
    smtpd_peername_lookup = no\nsmtpd_error_sleep_time = 0\nmessage_size_limit = 4000\n\
    smtpd_recipient_limit = 5\nsmtpd_hard_error_limit = 50\n";

/// Further settings, chosen by the first byte.
const KINDS: [&str; 4] = [
    "",
    "smtpd_helo_required = yes\nstrict_rfc821_envelopes = yes\n\
     smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_unknown_helo_hostname\n\
     smtpd_sender_restrictions = reject_non_fqdn_sender, reject_unknown_sender_domain\n\
     smtpd_data_restrictions = reject_unauth_pipelining\n",
    "smtpd_authorized_xclient_hosts = 127.0.0.0/8, 192.0.2.0/24\nsmtpd_authorized_xforward_hosts = 127.0.0.0/8\n\
     smtpd_reject_footer = \\c. For help $client_address $server_name\n\
     smtpd_client_restrictions = check_client_access inline:{{unknown = permit}}, reject_rbl_client rbl.test\n\
     smtpd_recipient_restrictions = check_recipient_access inline:{{jose@example.org = PREPEND X-A: b}}, \
     reject_unauth_destination, reject_unverified_recipient\n",
    "smtputf8_enable = yes\nheader_checks = regexp:{{/^subject: *no/ REJECT}, {/^x-(.*)/ REPLACE Y-$1}}\n\
     body_checks = regexp:{{/bad/ DISCARD}}\nalways_add_missing_headers = yes\n\
     virtual_alias_maps = inline:{{jose@example.org = usuario@example.org, other@example.com}}\n\
     smtpd_discard_ehlo_keywords = silent-discard, dsn\nallow_untrusted_routing = yes\n",
];

const ZONE: &str = "example.com MX 10 mail.example.com\nmail.example.com A 192.0.2.1\n\
    *.rbl.test A 127.0.0.2\n";

struct Faked(Arc<Rewriter>, Resolver);

impl World for Faked {
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble> {
        World::resolve(&*self.0, address)
    }

    fn existence(&self, address: &Address) -> Result<rewrite::Existence, Trouble> {
        World::existence(&*self.0, address)
    }

    fn owners(&self, maps: &tables::Maps, sender: &Address) -> Result<Option<tables::Hit>, Trouble> {
        World::owners(&*self.0, maps, sender)
    }

    fn look_up<'a>(&'a self, wanted: &'a Wanted) -> Looking<'a> {
        Box::pin(ask(&self.1, wanted))
    }
}

type Made = (MemoryStore, Arc<Service<Intake<MemoryStore>>>);

fn service(kind: u8) -> Made {
    let settings = format!("{MAIN}{}", KINDS[usize::from(kind) % KINDS.len()]);
    let config = Config::from_text(Path::new("/nowhere"), &settings).expect("settings");
    let types = Types::for_config(&config).build();
    let rewriter = Arc::new(Rewriter::open(&config, &types, &[]).expect("a rewriter"));
    let door = Door::load(&config, &types, rewriter.clone()).expect("a door");
    let store = MemoryStore::new();
    let resolver = Resolver::of_zone(Zone::parse(ZONE).expect("a zone"));
    let parts = Parts {
        backend: Intake::new(Arc::new(store.clone()), door, BTreeMap::new()),
        world: Arc::new(Faked(rewriter, resolver)),
        types,
        limits: Arc::new(Limits::new(Duration::from_secs(60))),
        logins: Arc::default(),
        chroot: false,
        name: "smtp".into(),
        own_addresses: HashSet::from([IpAddr::from([127, 0, 0, 1])]),
    };
    (store, Arc::new(Service::load(&config, parts).expect("a service")))
}

/// A client that says all this at once: every message that was acknowledged is in the queue, none else is, and
/// none is for a stranger's recipient elsewhere.
pub fn smtpd(bytes: &[u8]) {
    let (kind, said) = first(bytes);
    let (store, service) = service(kind & 3);
    let stranger = kind & 4 != 0;
    let from: [u8; 4] = if stranger { [192, 0, 2, 9] } else { [127, 0, 0, 1] };
    let _quiet = events::memory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let out = runtime.block_on(async {
        let (client, server) = tokio::io::duplex(1 << 16);
        let peer = Peer { ip: Some(from.into()), port: 4711, here: None };
        let (mut reading, mut writing) = tokio::io::split(client);
        let say = async move {
            let _ = writing.write_all(said).await;
            let _ = writing.shutdown().await;
        };
        let mut out = Vec::new();
        let _ = tokio::join!(say, reading.read_to_end(&mut out), smtpd::serve(server, peer, service));
        out
    });
    let mut acknowledged = 0;
    for line in out.split_inclusive(|b| *b == b'\n') {
        let shown = text(line);
        assert!(line.ends_with(b"\r\n") && line.len() >= 5, "{shown}");
        assert!(line[..3].iter().all(u8::is_ascii_digit) && b" -\r".contains(&line[3]), "{shown}");
        acknowledged += usize::from(shown.contains(" queued as "));
    }
    let counts = store.counts();
    // Some orders throw a message away that was acknowledged.
    assert!(counts.total() as usize <= acknowledged, "{counts:?}: {}", text(&out));
    if kind & 3 != 3 {
        assert_eq!(counts.total() as usize, acknowledged, "{}", text(&out));
    }
    if stranger && kind & 3 < 2 {
        let listed = queue::block_on(store.list(None, 100)).unwrap_or_default();
        let here = ["mx.example.org", "example.org", "localhost"];
        for recipient in listed.iter().flat_map(|m| &m.envelope.recipients) {
            let domain = recipient.address.domain().unwrap_or("localhost").to_ascii_lowercase();
            assert!(here.contains(&domain.as_str()), "relayed to {}", recipient.address);
        }
    }
}

/// A server, of SMTP or LMTP, that says all this at once to a client with a message.
pub fn smtp(bytes: &[u8]) {
    let (kind, rest) = first(bytes);
    let (said, content) = two(rest);
    let _quiet = events::memory();
    smtp::fuzz::conversation(said, content, kind & 1 != 0);
}
