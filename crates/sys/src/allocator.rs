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
