//! The running program's own pages.

use std::ops::Range;

/// Gives the pages of code and constants back that this process has mapped so far, the program's and
/// its libraries': most of them were needed to start (three quarters of a megabyte tell the loader
/// what to adjust), and those that are needed again come from the page cache when they are. For the
/// end of a start. Only what is never written to, so nothing is lost.
pub fn forget_start() {
    for range in unwritten() {
        // SAFETY: a loader maps such a range privately from a file and nobody may write to it, so its
        // pages equal the file's, and what is dropped is read from there again at the next access,
        // whichever thread makes it.
        unsafe {
            libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Whole pages of what was loaded from files and is not written to, not even by the loader.
fn unwritten() -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // SAFETY: `gather` gets the pointer that is handed over here, and ends before the call does.
    unsafe {
        libc::dl_iterate_phdr(Some(gather), (&raw mut found).cast());
    }
    found
}

/// Notes the segments of one loaded object. dl_iterate_phdr(3)
unsafe extern "C" fn gather(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the C library passes an object that lasts until we return, and the pointer that
    // `unwritten` gave it, which nobody else uses meanwhile.
    let (object, found) = unsafe { (&*object, &mut *found.cast::<Vec<Range<usize>>>()) };
    // The kernel's own object is no file's.
    // SAFETY: getauxval(3) may always be asked.
    let kernels = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    let base = object.dlpi_addr as usize;
    if object.dlpi_phdr.is_null() || (kernels != 0 && base == kernels) {
        return 0;
    }
    // SAFETY: sysconf(3) may always be asked.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(usize::MAX);
    // SAFETY: so many headers are there.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD) {
        let (start, length) = (header.p_vaddr as usize, header.p_filesz as usize);
        found.extend(pages(header.p_flags, base.wrapping_add(start), length, page));
    }
    0
}

/// The whole pages of a segment that nobody may write to.
fn pages(flags: u32, start: usize, length: usize, page: usize) -> Option<Range<usize>> {
    if flags & libc::PF_W != 0 {
        return None;
    }
    let end = start.checked_add(length)? / page * page;
    let start = start.checked_next_multiple_of(page)?;
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_to() {
        let (r, w, x) = (libc::PF_R, libc::PF_W, libc::PF_X);
        assert_eq!(pages(r | x, 0x10, 0x3000, 0x1000), Some(0x1000..0x3000));
        assert_eq!(pages(r, 0x1000, 0x2000, 0x1000), Some(0x1000..0x3000));
        assert_eq!(pages(r | w, 0x1000, 0x2000, 0x1000), None);
        assert_eq!(pages(r, 0x1010, 0x800, 0x1000), None, "no whole page");
        assert_eq!(pages(r, usize::MAX - 5, 10, 0x1000), None);
        // Our own code is among it, what the loader adjusted (a table of pointers) and data are not.
        static TABLE: [fn(); 1] = [forget_start];
        static DATA: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
        let within = |address: usize| unwritten().iter().any(|r| r.contains(&address));
        assert!(within(forget_start as fn() as usize));
        assert!(!within(TABLE.as_ptr() as usize) && !within((&raw const DATA) as usize));
    }

    #[test]
    fn the_program_goes_on() {
        let sum = |n: u64| (0..n).map(std::hint::black_box).sum::<u64>();
        let before = sum(1000);
        let words = || format!("{:?} {}", std::env::temp_dir(), 1.5f64.sin());
        let said = words();
        let thread = std::thread::spawn(move || (0..100).map(|_| sum(1000)).collect::<Vec<_>>());
        (0..20).for_each(|_| forget_start());
        assert_eq!((sum(1000), words()), (before, said));
        assert!(thread.join().unwrap().iter().all(|s| *s == before));
    }
}
