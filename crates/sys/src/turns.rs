//! One thread of a process that has its turn before the others: it does little at a time, and others wait for it.
//!
//! Only who has the right may ask for such turns, the mail role has none. So master gives them to the whole process when it starts it,
//! and the process, before it does anything else, leaves them to one spare thread: giving them up needs no right.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// The nice value of such a thread. setpriority(2)
pub const HASTE: i32 = -15;

/// What the thread will do.
type Work = Box<dyn FnOnce() + Send>;

/// The thread that waits for its work.
static SPARE: Mutex<Option<(Sender<Work>, JoinHandle<()>)>> = Mutex::new(None);

/// The nice value of the calling thread, or of a process.
fn nice(of: i32) -> i32 {
    // SAFETY: a plain system call. It fails only for a process that is not there, and -1 is a harmless answer then.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, of as libc::id_t) }
}

/// Gives the calling thread this nice value, if it may have it.
pub(crate) fn take(nice: i32) {
    // SAFETY: a plain system call, which on Linux concerns the calling thread alone; async-signal-safe.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

/// Leaves this thread's haste, if it was given any, to a spare thread `name`; the caller and all threads that it makes from
/// now on have the turns of its parent process. The spare one is confined like the caller: to be called after
/// [`crate::sandbox::confine`].
pub fn leave_to(name: &str) -> io::Result<()> {
    // A parent outside this namespace has no number here.
    let parent = nix::unistd::getppid().as_raw();
    let usual = if parent == 0 { 0 } else { nice(parent) };
    if nice(0) >= usual {
        return Ok(());
    }
    let (give, get) = channel::<Work>();
    let wait = move || get.recv().map_or((), |work| work());
    let thread = Builder::new().name(name.into()).stack_size(256 * 1024).spawn(wait)?;
    *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some((give, thread));
    take(usual);
    Ok(())
}

/// Does `work` on the spare thread, or on a new one `name` like all others where there is none (any more).
pub fn first(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((give, thread)) = spare else {
        return Builder::new().name(name.into()).stack_size(256 * 1024).spawn(work);
    };
    // It waits for nothing else.
    let _ = give.send(Box::new(work));
    Ok(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_hasty_and_the_others_are_not() {
        let before = nice(0);
        // A thread of its own: the test's other threads keep theirs.
        let seen = std::thread::spawn(move || {
            take(HASTE);
            let given = nice(0);
            leave_to("hasty").unwrap();
            let (tell, hear) = channel();
            let again = tell.clone();
            first("hasty", move || tell.send(nice(0)).unwrap()).unwrap().join().unwrap();
            first("late", move || again.send(nice(0)).unwrap()).unwrap().join().unwrap();
            (given, nice(0), hear.recv().unwrap(), hear.recv().unwrap())
        });
        let (given, me, spare, next) = seen.join().unwrap();
        // Who may not take it has ordinary threads.
        assert!(given == HASTE || !nix::unistd::geteuid().is_root(), "{given}");
        assert_eq!((spare, me, next), (given, before, before));
    }
}
