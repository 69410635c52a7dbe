//! The C library's allocator.

/// Gives memory that was freed back to the kernel; for the end of a phase that took much more than
/// what follows. Does nothing where the allocator does so by itself.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time from any thread; it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has big blocks mapped and unmapped by themselves, and what is free at an arena's end given back beyond a little. The
/// C library raises both limits to whatever is freed once: a password hash takes 19 MiB, and after some logins
/// each arena (eight for each processor) would keep as much for ever.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    for (what, bytes) in [(libc::M_MMAP_THRESHOLD, 4 << 20), (libc::M_TRIM_THRESHOLD, 2 << 20)] {
        // SAFETY: mallopt(3) with a parameter and a value that it knows, before there is a second thread.
        unsafe {
            libc::mallopt(what, bytes);
        }
    }
}
