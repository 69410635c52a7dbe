//! Facts about this host.

/// The host's name as gethostname(2) gives it; `localhost` when it has none.
pub fn name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "localhost".to_string())
}
