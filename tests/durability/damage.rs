//! The whole program on a damaged queue: it starts, says which message is lost and where its remains are, and delivers
//! all others, whole.

use crate::load::{received, send};
use crate::system::{System, wait};
use std::fs;
use std::path::{Path, PathBuf};

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(directory).expect("a queue").map(|e| e.expect("a name").path()).collect();
    all.sort();
    all
}

/// Changes one byte of a file.
fn spoil(path: &Path, at: impl FnOnce(&[u8]) -> usize) {
    let mut bytes = fs::read(path).expect("a file of the queue");
    let at = at(&bytes);
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("a file of the queue");
}

#[test]
fn a_damaged_queue_costs_only_what_was_hit() {
    let folder = std::env::temp_dir().join(format!("valija-damage-{}", std::process::id()));
    let defer = "defer_transports = local\n";
    let system = System::make(&folder, None, defer);
    system.start();
    let name = system.user.name.clone();
    // 101 and 202 have files of their own.
    let numbers = [1, 2, 3, 10, 20, 101, 202];
    for number in numbers {
        let reply = send(system.address, &name, number).expect("a reply");
        assert!(reply.starts_with("250 "), "{number}: {reply}");
    }
    system.stop();

    // The content of one, in the segment; the content of a big one; the state log; the format; and what
    // is no file of the queue at all.
    let queue = folder.join("spool/valija");
    let segments = files(&queue.join("seg"));
    let segment = segments.iter().find(|p| p.extension().is_some_and(|e| e == "seg")).expect("a segment");
    let needle = b"line 1 of message 3,";
    spoil(segment, |bytes| bytes.windows(needle.len()).position(|w| w == needle).expect("message 3"));
    let needle = b"message 202,";
    let holds = |path: &&PathBuf| fs::read(path).is_ok_and(|b| b.windows(needle.len()).any(|w| w == needle));
    let bodies = files(&queue.join("big"));
    spoil(bodies.iter().find(holds).expect("message 202"), |bytes| bytes.len() / 2);
    spoil(&segment.with_extension("st"), |_| 40);
    fs::write(queue.join("format"), "no longer").expect("the format");
    fs::write(queue.join("seg/ffff.seg"), "what is this").expect("a file");
    let copy = segment.with_file_name("7fffff00.seg");
    fs::copy(segment, &copy).expect("a copy");
    for path in [copy, queue.join("seg/ffff.seg")] {
        let (uid, gid) = (system.user.uid.as_raw(), system.user.gid.as_raw());
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("it is the system's");
    }

    let main = folder.join("etc/main.cf");
    let text = fs::read_to_string(&main).expect("main.cf");
    fs::write(&main, text.replace(defer, "")).expect("main.cf");
    system.start();
    wait("the others to be delivered", &system, || {
        String::from_utf8_lossy(&system.command("mailq", &[]).stdout).contains("Mail queue is empty")
    });
    wait("the last delivery", &system, || received(&system.mailbox()).len() == numbers.len() - 2);
    let there: Vec<u64> = received(&system.mailbox()).into_keys().collect();
    assert_eq!(there, [1, 2, 10, 20, 101], "{}", system.log_tail());

    // Both are named, and set aside: a record each, and the big body; and the segment that is none.
    let aside: Vec<String> = files(&queue.join("corrupt"))
        .iter()
        .filter_map(|p| p.file_name()?.to_str().map(String::from))
        .collect();
    assert_eq!(aside.len(), 4, "{aside:?}\n{}", system.log_tail());
    assert!(aside.contains(&"7fffff00.seg".to_string()), "{aside:?}");
    let log = fs::read_to_string(folder.join("mail.log")).expect("a log");
    let told: Vec<&str> = log.lines().filter(|l| l.contains("damaged in the queue: ")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for file in aside.iter().filter(|f| !f.contains('.')) {
        assert!(told.iter().any(|l| l.contains(&format!("valija/corrupt/{file}"))), "{file}: {told:?}");
    }
    assert!(log.contains("the file valija/format was damaged or missing; restored"), "{}", system.log_tail());

    // It takes mail, and the next start finds nothing wrong.
    assert!(send(system.address, &name, 4).is_ok_and(|r| r.starts_with("250 ")));
    wait("new mail", &system, || received(&system.mailbox()).contains_key(&4));
    system.stop();
    system.start();
    assert!(send(system.address, &name, 5).is_ok_and(|r| r.starts_with("250 ")));
    wait("newer mail", &system, || received(&system.mailbox()).contains_key(&5));
    system.stop();
    let again = fs::read_to_string(folder.join("mail.log")).expect("a log");
    assert_eq!(again.lines().filter(|l| l.contains("damaged in the queue: ")).count(), 2);
}
