//! Files and answers behind logins without Dovecot: no panic on any bytes, and a file of users keeps its other
//! rows when one comes or goes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use login::cyrus::sasldb::Sasldb;
use login::cyrus::{saslauthd, service_file};
use login::hash::Hash;
use login::users::file::{self, Users};

fuzz_target!(|bytes: &[u8]| {
    let _ = Sasldb::read(bytes);
    let _ = saslauthd::answer(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = service_file::read(text);
    let _ = Hash::read(text);
    let users = Users::read(text);
    // With the row for unknown names there is nothing to be hashed.
    let text = format!("{text}\n(unknown):x\n");
    if let Some(without) = file::with(&text, "ana", None) {
        let left = Users::read(&without);
        assert!(left.get("ana").is_none());
        assert!(users.names().into_iter().filter(|n| *n != "ana").all(|n| left.get(n).is_some()));
    }
});
