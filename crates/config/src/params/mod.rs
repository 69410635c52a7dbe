//! Every declared parameter, by the crate that obeys it.

pub mod bounce;
pub mod cleanup;
pub mod local;
pub mod main;
pub mod master;
pub mod qmgr;
pub mod queue;
pub mod rewrite;
pub mod smtpd;
pub mod submission;
pub mod tables;

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
    smtpd::Smtpd::DECLARED,
    submission::Submission::DECLARED,
    tables::Tables::DECLARED,
    qmgr::Qmgr::DECLARED,
    rewrite::Rewrite::DECLARED,
    bounce::Bounce::DECLARED,
    local::Local::DECLARED,
];

/// The declaration of `name`.
pub fn find(name: &str) -> Option<&'static Declared> {
    GROUPS.iter().flat_map(|g| g.iter()).find(|d| d.name == name)
}

/// The default of `name` before expansion. Defaults that depend on the host (myhostname …) are given
/// by [`crate::Config::raw`]; here is what stands in the declaration.
pub fn default_of(name: &str) -> Option<String> {
    find(name).map(|d| d.default.to_string())
}
