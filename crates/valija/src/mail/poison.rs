//! What to do about messages and peers that this process died of before, or hangs on now.
//!
//! Each step of each task is marked in memory that `master` keeps (`sys::board`). A process that was ended by a
//! fault (a signal that nobody sends: SIGSEGV, SIGABRT …) leaves there what its threads were busy with; its
//! successor counts that, on disk for messages (`Store::blame`), in the same memory for peers. The second time a
//! message is on hold, a client is turned away, a server is not asked, and a file of the maildrop is set aside. If no
//! thread was busy with anything that has a name, the messages under way are counted instead. SIGKILL
//! is nobody's fault. A step that lasts too long is ended the same way.

use super::Queue;
use proto::QueueId;
use queue::Store;
use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;
use sys::board::{self, Peer, Unit};

events::events! {
    /// The process before this one was ended by a fault.
    Died { signal: i32, of: String } Warning "the mail process was ended by signal {signal}; it was busy with {of}"
    /// A message that may be the reason.
    Suspect { } Warning "the mail process died over this message; it is tried again, and put on hold if that happens again"
    /// A peer that may be the reason.
    SuspectPeer { peer: String, count: u32 } Warning "the mail process died {count} times over {peer} (within a day of each other); after the second time it is turned away for a while; stop and start the system to forget it"
    /// A step that does not end.
    Hung { of: String, seconds: u64 } Fatal "watchdog timeout: a step lasts for {seconds}s, busy with {of}; the mail process ends itself and is started again"
    /// A defect of the program that a single task dies of.
    Defect { place: String, what: String, of: String } Panic "{place}: {what}; busy with {of}"
}

/// The longest that one step of a task may take without waiting: far more than any should, even on a bad disk.
const LONGEST_STEP: Duration = Duration::from_secs(300);

/// Takes over the memory of the process before, and counts what that died of, if it was a fault.
pub fn accuse(memory: Option<File>, fault: Option<i32>, queue: &Queue, say: &events::Source) {
    let Some(left) = memory.and_then(|file| board::adopt(&file).ok()) else { return };
    let Some(signal) = fault else { return };
    let (named, peers) = match left.busy.is_empty() {
        false => (left.busy, true),
        true => (left.under_way, false),
    };
    let of: BTreeSet<String> = named.iter().take(20).map(|unit| shown(*unit)).collect();
    let of = if of.is_empty() { "nothing that has a name".into() } else { words(of) };
    say.say(&Died { signal, of });
    let messages: BTreeSet<u64> = named.iter().map(|unit| unit.message).filter(|m| *m != 0).collect();
    for id in messages.into_iter().map(QueueId) {
        // From the second time on the queue says that it is on hold.
        if queue::block_on(queue.blame(id)) == Ok(1) {
            say.say_of(id, &Suspect {});
        }
    }
    if peers {
        let mut seen: Vec<Peer> = Vec::new();
        for peer in named.into_iter().map(|unit| unit.peer).filter(|p| *p != Peer::Nobody) {
            if !seen.contains(&peer) {
                seen.push(peer);
                let count = board::died_of(peer, sys::time::now_micros() / 1_000_000).count;
                say.say(&SuspectPeer { peer: shown(Unit { message: 0, peer }), count });
            }
        }
    }
}

fn words(all: BTreeSet<String>) -> String {
    all.into_iter().collect::<Vec<_>>().join("; ")
}

fn shown(unit: Unit) -> String {
    let message = (unit.message != 0).then(|| format!("message {}", QueueId(unit.message)));
    let peer = match unit.peer {
        Peer::Nobody => None,
        Peer::Host(ip) => Some(format!("[{ip}]")),
        Peer::File(inode) => Some(format!("the maildrop file with inode {inode}")),
    };
    let both: Vec<String> = message.into_iter().chain(peer).collect();
    if both.is_empty() { "nothing that has a name".into() } else { both.join(" and ") }
}

/// Has defects told in the log, and steps that do not end ended. `most`: `daemon_timeout`.
pub fn watch(most: Duration, say: events::Source) {
    let speaker = say.clone();
    std::panic::set_hook(Box::new(move |defect| {
        let place = defect.location().map_or_else(String::new, ToString::to_string);
        let what = defect.payload_as_str().unwrap_or("a defect").replace('\n', " ");
        speaker.say(&Defect { place, what, of: shown(board::now()) });
    }));
    let limit = if most.is_zero() { LONGEST_STEP } else { most.min(LONGEST_STEP) };
    let end = move |unit| {
        say.say(&Hung { of: shown(unit), seconds: limit.as_secs() });
        std::process::abort();
    };
    let builder = std::thread::Builder::new().name("watch".into()).stack_size(128 * 1024);
    let _ = builder.spawn(move || board::watch_over(limit, end));
}
