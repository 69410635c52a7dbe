//! Every declared parameter, by the crate that obeys it.

pub mod auth;
pub mod bounce;
pub mod cleanup;
pub mod client_tls;
pub mod filter;
pub mod local;
pub mod main;
pub mod master;
pub mod milter;
pub mod outgoing;
pub mod policy;
pub mod qmgr;
pub mod queue;
pub mod rewrite;
pub mod smtp;
pub mod smtpd;
pub mod submission;
pub mod tables;
pub mod tls;
pub mod users;
pub mod verify;
pub mod virtual_mailbox;

/// One declaration.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Its public name.
    pub name: &'static str,
    /// Its type: boolean, number, time, list, text.
    pub kind: &'static str,
    /// Its default before expansion.
    pub default: &'static str,
    /// One sentence, or a few.
    pub doc: &'static str,
}

/// All groups.
pub const GROUPS: &[&[Declared]] = &[
    main::Main::DECLARED,
    master::Master::DECLARED,
    cleanup::Cleanup::DECLARED,
    queue::Queue::DECLARED,
    smtp::Smtp::DECLARED,
    smtp::Lmtp::DECLARED,
    smtpd::Smtpd::DECLARED,
    auth::SmtpdSasl::DECLARED,
    filter::Proxy::DECLARED,
    policy::Policy::DECLARED,
    verify::Verify::DECLARED,
    submission::Submission::DECLARED,
    tables::Tables::DECLARED,
    qmgr::Qmgr::DECLARED,
    rewrite::Rewrite::DECLARED,
    outgoing::Outgoing::DECLARED,
    bounce::Bounce::DECLARED,
    local::Local::DECLARED,
    virtual_mailbox::VirtualMailbox::DECLARED,
    tls::SmtpdTls::DECLARED,
    client_tls::SmtpTls::DECLARED,
    client_tls::LmtpTls::DECLARED,
    client_tls::ClientTls::DECLARED,
    tls::SmtpSasl::DECLARED,
    tls::LmtpSasl::DECLARED,
    tls::Tls::DECLARED,
    users::Users::DECLARED,
    milter::Milter::DECLARED,
];

/// What is wrong with the value of any declared parameter, whoever obeys it: so that a start or a
/// reload is refused before anything was changed.
pub fn problems(config: &crate::Config) -> Vec<crate::Problem> {
    let mut all = Vec::new();
    all.extend(main::Main::load(config).err());
    all.extend(master::Master::load(config).err());
    all.extend(cleanup::Cleanup::load(config).err());
    all.extend(filter::Proxy::load(config).err());
    all.extend(queue::Queue::load(config).err());
    all.extend(smtp::Smtp::load(config).err());
    all.extend(smtp::Lmtp::load(config).err());
    all.extend(smtpd::Smtpd::load(config).err());
    all.extend(policy::Policy::load(config).err());
    all.extend(auth::SmtpdSasl::load(config).err());
    all.extend(verify::Verify::load(config).err());
    all.extend(submission::Submission::load(config).err());
    all.extend(tables::Tables::load(config).err());
    all.extend(qmgr::Qmgr::load(config).err());
    all.extend(rewrite::Rewrite::load(config).err());
    all.extend(outgoing::Outgoing::load(config).err());
    all.extend(bounce::Bounce::load(config).err());
    all.extend(local::Local::load(config).err());
    all.extend(virtual_mailbox::VirtualMailbox::load(config).err());
    all.extend(tls::SmtpdTls::load(config).err());
    all.extend(client_tls::SmtpTls::load(config).err());
    all.extend(client_tls::LmtpTls::load(config).err());
    all.extend(client_tls::ClientTls::load(config).err());
    all.extend(tls::SmtpSasl::load(config).err());
    all.extend(tls::LmtpSasl::load(config).err());
    all.extend(tls::Tls::load(config).err());
    all.extend(users::Users::load(config).err());
    all.extend(milter::Milter::load(config).err());
    all.into_iter().flatten().collect()
}

/// The declaration of `name`.
pub fn find(name: &str) -> Option<&'static Declared> {
    GROUPS.iter().flat_map(|g| g.iter()).find(|d| d.name == name)
}

/// The default of `name` before expansion. Defaults that depend on the host (myhostname …) are given
/// by [`crate::Config::raw`]; here is what stands in the declaration.
pub fn default_of(name: &str) -> Option<String> {
    find(name).map(|d| d.default.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_of_any_group_is_found() {
        let of = |text: &str| {
            problems(&crate::Config::from_text(std::path::Path::new("/nowhere"), text).unwrap()).len()
        };
        assert_eq!(of(""), 0);
        assert_eq!(of("message_size_limit = abc\nmailbox_size_limit = x\n"), 2);
    }
}
