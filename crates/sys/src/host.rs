//! Facts about this host.

/// The host's name as gethostname(2) gives it; `localhost` when it has none.
pub fn name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "localhost".to_string())
}

/// For `OpenOptionsExt::custom_flags`: a symbolic link in the last place is an error.
pub const O_NOFOLLOW: i32 = libc::O_NOFOLLOW;
