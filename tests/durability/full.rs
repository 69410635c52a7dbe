//! The whole program on a full disk, and on a queue that cannot be written: clients are told to come again, deliveries
//! and deletions go on, and mail is taken again without anybody restarting anything.
//!
//! Both need root: for a small file system in a mount namespace of their own, and because the system must be somebody
//! else's than the one who takes its rights away.

use crate::load::{body, received, send};
use crate::system::{Role, System, wait};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// Longer messages are not taken, so that little room is kept free.
const LIMIT: &str = "message_size_limit = 2000000\n";

fn root(what: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "{what} needs root");
    eprintln!("\n*** NOT RUN, it needs root: {what} ***\n");
    false
}

/// Runs a test in a mount namespace of its own, on a file system of 24 MiB at `folder/disk`.
fn on_a_small_disk(folder: &Path, test: impl FnOnce(&Path) + Send) {
    let disk = folder.with_extension("disk");
    fs::create_dir(&disk).expect("a folder");
    // The thread moves, and ends with the test; the others stay where they are.
    let result = std::thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            mount(none, "/", none, private, none).expect("mounts of our own");
            mount(Some("valija-test"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=24m"))
                .expect("a small file system");
            test(&disk);
        };
        scope.spawn(run).join()
    });
    let _ = fs::remove_dir(&disk);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn empty(system: &System) -> bool {
    String::from_utf8_lossy(&system.command("mailq", &[]).stdout).contains("Mail queue is empty")
}

/// Takes a line out of main.cf and has it read.
fn without(system: &System, line: &str) {
    let path = system.folder.join("etc/main.cf");
    let text = fs::read_to_string(&path).expect("main.cf");
    assert!(text.contains(line));
    fs::write(&path, text.replace(line, "")).expect("main.cf");
    assert!(system.command("postfix", &["reload"]).status.success(), "{}", system.log_tail());
}

#[test]
fn a_full_disk_stops_new_mail_and_nothing_else() {
    if !root("a full disk with the whole program") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("valija-full-{}", std::process::id()));
    on_a_small_disk(&folder, |disk| {
        let defer = "defer_transports = local\n";
        let spool = disk.join("spool");
        let system = System::make(&folder, Some(&spool), &format!("{LIMIT}{defer}"));
        let (uid, gid) = (system.user.uid.as_raw(), system.user.gid.as_raw());
        chown(disk, Some(uid), Some(gid)).expect("the disk is the system's");
        system.start();
        let name = system.user.name.clone();
        // Small ones, and two with a file of their own.
        let numbers = [101, 202, 1, 2, 10, 20, 30, 40, 50, 60];
        for number in numbers {
            let reply = send(system.address, &name, number).expect("a reply");
            assert!(reply.starts_with("250 "), "{number}: {reply}");
        }
        let before = system.process(Role::Mail);

        let ballast = disk.join("ballast");
        fill(&ballast);
        let reply = send(system.address, &name, 3).expect("a reply");
        assert!(reply.starts_with("452 4.3.1 "), "{reply}");

        // Deletion goes on, of one that is there: the first of the listing.
        let listing = system.command("postqueue", &["-j"]).stdout;
        let listing = String::from_utf8(listing).expect("a listing");
        assert_eq!(listing.lines().count(), numbers.len(), "{listing}");
        let first = listing.lines().next().expect("messages wait");
        let id = first.split("\"queue_id\": \"").nth(1).and_then(|r| r.split('"').next()).expect("a name");
        let deleted = system.command("postsuper", &["-d", id]);
        assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));

        // Delivery goes on, and what was refused is not there.
        without(&system, defer);
        assert!(system.command("postqueue", &["-f"]).status.success());
        wait("everything to be delivered on a full disk", &system, || empty(&system));
        let there = received(&system.mailbox());
        assert!(!there.contains_key(&3), "what got 452 was delivered");
        assert_eq!(there.len(), numbers.len() - 1, "{there:?}\n{}", system.log_tail());
        assert!(there.values().all(|n| *n == 1), "{there:?}");

        // Full again, as far as it made room; then there is room, and nobody restarts anything.
        fill(&ballast);
        assert!(send(system.address, &name, 3).is_ok_and(|r| r.starts_with("452 4.3.1 ")));
        fs::remove_file(&ballast).expect("room");
        let mut reply = String::new();
        wait("mail to be taken again", &system, || {
            reply = send(system.address, &name, 4).unwrap_or_default();
            !reply.starts_with("452")
        });
        assert!(reply.starts_with("250 "), "{reply}");
        wait("the new mail", &system, || received(&system.mailbox()).contains_key(&4));
        assert_eq!(system.process(Role::Mail), before, "somebody restarted it");
        system.stop();
    });
}

fn fill(ballast: &Path) {
    let mut file = fs::File::options().create(true).append(true).open(ballast).expect("a file");
    for size in [1 << 20, 4096, 1] {
        let zeros = vec![0; size];
        while file.write_all(&zeros).is_ok() {}
    }
}

#[test]
fn a_queue_that_cannot_be_written_loses_nothing() {
    if !root("a queue that cannot be written, with the whole program") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("valija-unwritable-{}", std::process::id()));
    let system = System::make(&folder, None, LIMIT);
    system.start();
    let name = system.user.name.clone();
    let queue = folder.join("spool/valija");
    let rights = |what: &str, mode| {
        fs::set_permissions(queue.join(what), fs::Permissions::from_mode(mode)).expect("root may");
    };
    let before = system.process(Role::Mail);
    assert!(send(system.address, &name, 1).is_ok_and(|r| r.starts_with("250 ")));
    rights("big", 0o500);
    let reply = send(system.address, &name, 101).expect("a reply");
    assert!(body(101).len() > 1 << 20 && reply.starts_with("451 4.3.0 "), "{reply}");
    // What needs no new file is taken and delivered as ever.
    assert!(send(system.address, &name, 2).is_ok_and(|r| r.starts_with("250 ")));
    wait("a delivery", &system, || received(&system.mailbox()).contains_key(&2));
    rights("big", 0o700);
    let reply = send(system.address, &name, 101).expect("a reply");
    assert!(reply.starts_with("250 "), "{reply}");
    wait("an empty queue", &system, || empty(&system));
    assert_eq!(system.process(Role::Mail), before, "somebody restarted it");
    system.stop();
    let there = received(&system.mailbox());
    assert_eq!(there.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (101, 1)]);

    // A start that cannot work says which file and what to do.
    chown(&queue, Some(0), Some(0)).expect("root may");
    let output = system.command("postfix", &["start"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &system.log_tail();
    assert!(!output.status.success() && said.contains("spool/valija"), "{said}");
    assert!(said.contains("mail_owner"), "{said}");
}
