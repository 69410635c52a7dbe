//! Every declared parameter, by the crate that obeys it.

pub mod cleanup;
pub mod main;
pub mod master;

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
pub const GROUPS: &[&[Declared]] =
    &[main::Main::DECLARED, master::Master::DECLARED, cleanup::Cleanup::DECLARED];

/// The default of `name` before expansion.
pub fn default_of(name: &str) -> Option<String> {
    match name {
        "myhostname" => return Some(sys::host::name()),
        "mydomain" => {
            let host = sys::host::name();
            return Some(host.split_once('.').map_or("localdomain", |(_, d)| d).to_string());
        }
        _ => {}
    }
    GROUPS.iter().flat_map(|g| g.iter()).find(|d| d.name == name).map(|d| d.default.to_string())
}
