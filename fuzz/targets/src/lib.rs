//! What is fuzzed. Each target is a function that takes any bytes and panics when something that must hold
//! does not: that what is read can be written and read again, that it makes no difference in which pieces
//! bytes come, that nobody is both accepted and rejected, that nothing grows without bound.
//!
//! `fuzz/fuzz_targets` gives each to libFuzzer, on the nightly compiler (`docs/fuzzing.md`); `tests/replay.rs` runs
//! all of them on their seeds, and on what was once found, with every `cargo test`. The first byte of an
//! input often says in which pieces the rest arrives or which settings hold, so that seeds are texts.

mod disk;
mod local_mail;
mod mail;
mod network;
mod peers;
mod session;
mod settings;
mod smtp_machines;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: &[(&str, Target)] = &[
    // Facing the network.
    ("smtp_server", smtp_machines::server),
    ("smtp_data", smtp_machines::data),
    ("smtp_chunks", smtp_machines::chunks),
    ("smtp_client", smtp_machines::client),
    ("smtpd_session", session::smtpd),
    ("smtp_session", session::smtp),
    ("address", mail::address),
    ("address_list", mail::address_list),
    ("header", mail::header),
    ("headers", mail::headers),
    ("mime", mail::mime),
    ("body_lines", mail::body_lines),
    ("milter_content", mail::milter_content),
    ("notice", mail::notice),
    ("dns_answer", network::dns_answer),
    ("proxy_header", network::proxy_header),
    ("certificate", network::certificate),
    ("tlsa", network::tlsa),
    ("web_page", network::web_page),
    ("mta_sts", network::mta_sts),
    ("sasl", peers::sasl),
    // Programs beside the mail system.
    ("milter", peers::milter),
    ("policy", peers::policy),
    ("proxy_filter", peers::proxy_filter),
    ("dovecot", peers::dovecot),
    ("login_files", peers::login_files),
    // What users and administrators write.
    ("main_cf", settings::main_cf),
    ("master_cf", settings::master_cf),
    ("tables", settings::tables),
    ("lists", settings::lists),
    ("tls_policy", settings::tls_policy),
    ("nexthop", settings::nexthop),
    ("resolv_conf", settings::resolv_conf),
    ("bounce_template", settings::bounce_template),
    ("mbox", local_mail::mbox),
    ("forward", local_mail::forward),
    // What programs of ours say to each other, and what is on disk.
    ("record", disk::record),
    ("job", disk::job),
    ("control", disk::control),
    ("queue_record", disk::queue_record),
    ("state_log", disk::state_log),
    ("kept_files", disk::kept_files),
];

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => target(bytes),
        None => panic!("no target is named {name}"),
    }
}

/// The first byte, a switch or a length, and the rest.
fn first(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}

/// Two parts, divided by a line `%%`.
fn two(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mark = b"\n%%\n";
    match bytes.windows(mark.len()).position(|w| w == mark) {
        Some(at) => (&bytes[..at], &bytes[at + mark.len()..]),
        None => (bytes, b""),
    }
}

/// Pieces of a length of 1 to 255; 0 is all in one.
fn pieces(bytes: &[u8], length: u8) -> impl Iterator<Item = &[u8]> {
    let length = if length == 0 { bytes.len() } else { usize::from(length) };
    bytes.chunks(length.max(1))
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
