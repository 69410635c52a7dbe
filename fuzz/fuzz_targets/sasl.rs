//! Challenges of a server, and responses of a client, of every mechanism.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sasl::client::{Client, Credentials, Place};
use sasl::scram::{Hash, Stored};
use sasl::server::{Kept, Server, Step};
use sasl::Mechanism;
use std::num::NonZeroU32;

fuzz_target!(|data: &[u8]| {
    for mechanism in Mechanism::ALL {
        let who = Credentials { user: "user".into(), secret: "secret".into() };
        let place = Place { host: "mx", port: 25 };
        let Ok(mut client) = Client::new(mechanism, who, place, "nonce".into()) else { return };
        for challenge in data.split(|b| *b == b'\n') {
            let _ = client.respond(challenge);
        }
        assert!(!mechanism.name().starts_with("SCRAM") || client.succeed(None).is_err());
        let Some(mut server) = Server::new(mechanism, "mx", "nonce".into()) else { continue };
        for response in data.split(|b| *b == b'\n') {
            match server.respond(response) {
                Ok(Step::Know(_)) if mechanism == Mechanism::CramMd5 => {
                    let _ = server.known(Kept::Secret("other".into()));
                }
                Ok(Step::Know(_)) => {
                    let iterations = NonZeroU32::MIN;
                    let stored = Stored::new(Hash::Sha256, &"other".into(), b"salt", iterations);
                    let _ = server.known(Kept::Stored(stored));
                }
                Ok(Step::Done { .. }) => panic!("nobody knows the secret"),
                _ => {}
            }
        }
    }
    let _ = sasl::decode(&String::from_utf8_lossy(data));
    let _ = net::tls::certificate::Certificate::read(data);
    let _ = net::tls::certificate::read_pem(data);
});
