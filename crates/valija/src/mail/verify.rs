//! Address verification: probes enter the queue by the door of all mail, and the queue manager tells
//! the verifier what became of them.

use super::Queue;
use super::snapshot::join;
use cleanup::{Intake, Origin, Source};
use config::Config;
use config::params::rewrite::Rewrite;
use config::params::verify::Verify;
use proto::envelope::{Notify, Trace};
use proto::status::Status;
use proto::{Address, QueueId};
use rewrite::Rewriter;
use smtpd::verify::cache::Standing;
use smtpd::verify::{Prober, Verifier};
use std::net::IpAddr;
use std::sync::Arc;
use tables::Types;

/// Sends probes through the doors of a snapshot.
pub struct Probes {
    intake: Intake<Queue>,
    verifier: Arc<Verifier>,
}

impl Probes {
    /// The verifier is told the queue ids.
    pub fn new(intake: Intake<Queue>, verifier: Arc<Verifier>) -> Probes {
        Probes { intake, verifier }
    }
}

impl Prober for Probes {
    fn probe(&self, sender: Address, address: Address) {
        let mut origin = Origin::new(Source::Internal, sender, sys::time::now_micros());
        origin.trace = Trace::Probe;
        // Addresses beyond ASCII are asked about as such.
        origin.smtputf8 = !address.local().is_ascii() || !address.domain().is_none_or(str::is_ascii);
        let mut message = self.intake.begin(origin);
        let id = message.id().to_string();
        let verifier = self.verifier.clone();
        verifier.sent(&id, &address);
        let never = Notify { never: true, ..Notify::default() };
        message.recipient(address.clone(), None, never);
        tokio::spawn(async move {
            message.write(b"Subject: Address verification probe\r\n\r\n").await;
            if let Err(refused) = message.finish().await {
                verifier.not_sent(&id, &address, refused.text);
            }
        });
    }
}

/// What the queue manager tells.
pub struct Ear(pub Arc<Verifier>);

impl qmgr::verification::Listener for Ear {
    fn verified(&self, id: QueueId, asked: &Address, status: &Status) {
        let standing = match status.code.0 {
            2 => Standing::Deliverable,
            4 => Standing::Deferred,
            _ => Standing::Undeliverable,
        };
        self.0.heard(&id.to_string(), asked, standing, &status.text);
    }

    fn remembers_failures(&self) -> bool {
        self.0.remembers_failures()
    }
}

/// Where probes go: like mail, unless parameters say otherwise.
pub fn router(
    config: &Config,
    types: &Types,
    own: &[IpAddr],
    of_mail: &Arc<Rewriter>,
) -> Result<Arc<Rewriter>, String> {
    let verify = Verify::load(config).map_err(join)?;
    let list = |l: &config::value::List| l.0.join(", ");
    let values = [
        ("relayhost", verify.address_verify_relayhost().clone()),
        ("transport_maps", list(verify.address_verify_transport_maps())),
        ("local_transport", verify.address_verify_local_transport().clone()),
        ("virtual_transport", verify.address_verify_virtual_transport().clone()),
        ("relay_transport", verify.address_verify_relay_transport().clone()),
        ("default_transport", verify.address_verify_default_transport().clone()),
        ("sender_dependent_relayhost_maps", list(verify.address_verify_sender_dependent_relayhost_maps())),
        (
            "sender_dependent_default_transport_maps",
            list(verify.address_verify_sender_dependent_default_transport_maps()),
        ),
    ];
    let split = |text: &str| config::value::split_list(text);
    let differs = |(name, value): &(&str, String)| {
        config.get(name).is_ok_and(|present| split(&present) != split(value))
    };
    if !values.iter().any(differs) {
        return Ok(of_mail.clone());
    }
    let changed = config.with(values.iter().map(|(name, value)| (*name, value.as_str())));
    // A value that cannot be used is told of under its own name.
    Rewrite::load(&changed).map_err(join)?;
    Ok(Arc::new(Rewriter::open(&changed, types, own).map_err(join)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn probes_go_elsewhere_only_where_it_is_said() {
        let of = |text: &str| {
            let text = format!("myhostname = h.example.org\nrelayhost = [relay.example.org]\n{text}");
            let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
            let types = Types::for_config(&config).build();
            let mail = Arc::new(Rewriter::open(&config, &types, &[]).unwrap());
            let probes = router(&config, &types, &[], &mail).unwrap();
            let far = Address::from_internal("a@far.org");
            let resolved = probes.resolve(&far, &Address::null()).unwrap();
            (Arc::ptr_eq(&mail, &probes), resolved.transport, resolved.nexthop)
        };
        let relay = "[relay.example.org]".to_string();
        assert_eq!(of(""), (true, "smtp".into(), relay.clone()));
        assert_eq!(of("address_verify_relayhost =\n"), (false, "smtp".into(), "far.org".into()));
        assert_eq!(
            of("address_verify_default_transport = direct\n"),
            (false, "direct".into(), relay.clone())
        );
        let maps = "address_verify_transport_maps = inline:{ { far.org = x:[h] } }\n";
        assert_eq!(of(maps), (false, "x".into(), "[h]".into()));
        let maps = "transport_maps = inline:{ { far.org = x:[h] } }\naddress_verify_transport_maps =\n";
        assert_eq!(of(maps), (false, "smtp".into(), relay));
    }
}
