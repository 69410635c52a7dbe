//! Doors for the fuzz targets alone; no other build has them.

use crate::route::Protocol;
use crate::session::{Peer, Session};
use crate::settings::{Around, Settings};
use crate::transfer::{self, Content};
use config::Config;
use proto::Address;
use proto::smtp::client::{Fate, Handshake, Mail, Rcpt};
use queue::store::Body;
use rewrite::Rewriter;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub use crate::sts::fuzz as sts;
pub use crate::tls_policy::fuzz as tls_policy;

fn settings(protocol: Protocol) -> Option<Settings> {
    let main = "myhostname = me.test\nsmtp_host_lookup = native\nsmtp_tls_security_level = none\n";
    let config = Config::from_text(Path::new("/nowhere"), main).ok()?;
    let types = tables::Types::for_config(&config).build();
    let rewriter = Arc::new(Rewriter::open(&config, &types, &[]).ok()?);
    Settings::load(&config, protocol, &Around { types: &types, rewriter, own: &[] }).ok()
}

/// A server that says all this, whatever it hears: each recipient has one result, only a message that was sent
/// whole is called delivered, and nothing but the end of the message ends it.
pub fn conversation(said: &[u8], content: &[u8], lmtp: bool) {
    static BOTH: OnceLock<[Option<Settings>; 2]> = OnceLock::new();
    let both = BOTH.get_or_init(|| [Protocol::Smtp, Protocol::Lmtp].map(settings));
    let Some(settings) = &both[usize::from(lmtp)] else { panic!("no settings") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (outcome, heard) = runtime.expect("a runtime").block_on(async {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (mut reading, mut writing) = theirs.into_split();
        let mut heard = Vec::new();
        let say = async move {
            let _ = writing.write_all(said).await;
            let _ = writing.shutdown().await;
        };
        let (outcome, (), _) =
            tokio::join!(client(ours, settings, content), say, reading.read_to_end(&mut heard));
        (outcome, heard)
    });
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.fates.len(), 2);
    let ends = heard.windows(5).filter(|w| w == b"\r\n.\r\n").count();
    assert!(ends <= 1, "{}", String::from_utf8_lossy(&heard));
    let sent = outcome.fates.iter().any(|f| matches!(f, Fate::Sent(_)));
    assert!(!sent || ends == 1, "delivered, but not sent: {}", String::from_utf8_lossy(&heard));
    assert!(heard.len() <= 2000 + 2 * content.len(), "it says more and more");
}

async fn client(socket: UnixStream, settings: &Settings, content: &[u8]) -> Option<transfer::Outcome> {
    let peer = Peer::socket("unix:/x", "/x".into(), "me.test");
    let mut session = Session::open(socket.into(), peer, settings);
    let mut handshake = Handshake::new(settings.manner.clone());
    session.greet(&mut handshake).await.ok()?;
    let rcpts =
        ["a@x", "b@x"].map(|a| Rcpt { address: Address::from_internal(a), ..Rcpt::default() }).to_vec();
    let body = Body::Memory(content.to_vec().into());
    let content = Content { body: &body, filter: None };
    Some(transfer::run(&mut session, &Mail::default(), &rcpts, content, settings, true).await)
}
