//! Certificates, and files of them, as clients and administrators send them: any bytes are survived.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::tls::certificate::{Certificate, is_key, read_pem};

fuzz_target!(|bytes: &[u8]| {
    if let Some(certificate) = Certificate::read(bytes) {
        let _ = (certificate.subject_line(), certificate.issuer_line(), certificate.is_self_issued());
        assert!(certificate.subject.chars().count() <= 255);
    }
    let _ = is_key(bytes);
    let _ = read_pem(bytes);
});
