//! The running program's own pages.

/// Gives the pages of the program's code back that this process has mapped so far: most of them
/// were needed to start, and those that are needed again come from the page cache when they are.
/// For the end of a start. Code only: it is never written to, so nothing is lost.
pub fn forget_start() {
    let Ok(own) = std::fs::read_link("/proc/self/exe") else { return };
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for range in maps.lines().filter_map(|line| code_of(line, &own)) {
        let length = range.end.saturating_sub(range.start);
        // SAFETY: the range is a private mapping of a file, readable and executable but not
        // writable, which the kernel has just named; its pages equal the file's, and what is
        // dropped is read from there again at the next access, whichever thread makes it.
        unsafe {
            libc::madvise(range.start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// The addresses of a line of /proc/PID/maps that maps code of this file. proc(5)
fn code_of(line: &str, own: &std::path::Path) -> Option<std::ops::Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    if words.next()? != "r-xp" || std::path::Path::new(words.nth(3)?) != own {
        return None;
    }
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(number(start)?..number(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_our_own_code() {
        let own = Path::new("/usr/lib/valija");
        let of = |line| code_of(line, own);
        assert_eq!(of("1000-3000 r-xp 00002000 08:01 7 /usr/lib/valija"), Some(0x1000..0x3000));
        for other in [
            "1000-3000 r--p 00002000 08:01 7 /usr/lib/valija",
            "1000-3000 rw-p 00002000 08:01 7 /usr/lib/valija",
            "1000-3000 r-xp 00002000 08:01 7 /usr/lib/libc.so.6",
            "1000-3000 r-xp 00000000 00:00 0 [vdso]",
            "1000-3000 r-xp 00000000 00:00 0",
            "x-y r-xp 0 0 0 /usr/lib/valija",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_goes_on() {
        let sum = |n: u64| (0..n).map(std::hint::black_box).sum::<u64>();
        let before = sum(1000);
        let thread = std::thread::spawn(move || (0..100).map(|_| sum(1000)).collect::<Vec<_>>());
        (0..20).for_each(|_| forget_start());
        assert_eq!(sum(1000), before);
        assert!(thread.join().unwrap().iter().all(|s| *s == before));
    }
}
