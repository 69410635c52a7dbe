//! The whole program on a full disk (no space, no inodes; the queue's, the mailboxes', the log's), and on a queue that cannot
//! be written: clients are told to come again, deliveries
//! and deletions go on, and mail is taken again without anybody restarting anything.
//!
//! Both need root: for a small file system in a mount namespace of their own, and because the system must be somebody
//! else's than the one who takes its rights away.

use crate::load::{body, received, send};
use crate::system::{Role, System, wait};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

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

/// A small file system, and what there is too little of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// In memory: 24 MiB.
    Memory,
    /// The same with few inodes.
    MemoryFewFiles,
    /// ext4 in a file: 40 MiB.
    Ext4,
    /// The same with few inodes.
    Ext4FewFiles,
}

impl Kind {
    fn few_files(self) -> bool {
        matches!(self, Kind::MemoryFewFiles | Kind::Ext4FewFiles)
    }

    fn mount(self, at: &Path) {
        let none = MsFlags::empty();
        let memory = |options| mount(Some("valija-test"), at, Some("tmpfs"), none, Some(options));
        match self {
            Kind::Memory => memory("size=24m").expect("a small file system"),
            Kind::MemoryFewFiles => memory("size=64m,nr_inodes=150").expect("a small file system"),
            Kind::Ext4 | Kind::Ext4FewFiles => {
                let image = at.with_extension("image");
                let file = fs::File::create(&image).expect("a file");
                file.set_len(if self.few_files() { 100 << 20 } else { 40 << 20 }).expect("its length");
                let files = if self.few_files() { "160" } else { "2000" };
                run("mkfs.ext4", &["-q", "-F", "-N", files], &image, None);
                // The kernel chooses a free loop device, which goes with the mount.
                run("mount", &["-t", "ext4", "-o", "loop"], &image, Some(at));
                // It lives as long as it is mounted.
                fs::remove_file(&image).expect("its name");
            }
        }
    }

    /// Uses up what there is little of.
    fn fill(self, disk: &Path) {
        if !self.few_files() {
            return fill(&disk.join("ballast"));
        }
        let folder = disk.join("ballast");
        fs::create_dir_all(&folder).expect("a folder");
        let there = fs::read_dir(&folder).expect("the folder").count();
        let mut n = there;
        while fs::File::create_new(folder.join(n.to_string())).is_ok() {
            n += 1;
        }
        assert!(n < 5000, "these were not few");
    }

    /// Makes room.
    fn clear(self, disk: &Path) {
        let ballast = disk.join("ballast");
        if self.few_files() { fs::remove_dir_all(ballast) } else { fs::remove_file(ballast) }.expect("room");
    }
}

fn run(program: &str, words: &[&str], file: &Path, at: Option<&Path>) {
    let output = Command::new(program).args(words).arg(file).args(at).output().expect("the program is there");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a test in a mount namespace of its own, on a small file system at `folder.disk`.
fn on_a_small_disk(kind: Kind, folder: &Path, test: impl FnOnce(&Path) + Send) {
    let disk = folder.with_extension("disk");
    fs::create_dir(&disk).expect("a folder");
    // The thread moves, and ends with the test; the others stay where they are.
    let result = std::thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            mount(none, "/", none, private, none).expect("mounts of our own");
            kind.mount(&disk);
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
    full_queue(Kind::Memory);
    full_queue(Kind::Ext4);
}

#[test]
fn a_disk_without_inodes_stops_new_mail_and_nothing_else() {
    full_queue(Kind::MemoryFewFiles);
    full_queue(Kind::Ext4FewFiles);
}

/// What Postfix says, too.
const FULL: &str = "452 4.3.1 Insufficient system storage";

/// The queue's file system is full while mail is received, deferred, delivered and deleted.
fn full_queue(kind: Kind) {
    if !root("a full disk with the whole program") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("valija-full-{kind:?}-{}", std::process::id()));
    on_a_small_disk(kind, &folder, |disk| {
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

        kind.fill(disk);
        let reply = send(system.address, &name, 3).expect("a reply");
        assert!(reply.starts_with(FULL), "{reply}");

        // Whoever cannot be delivered to is tried and deferred again and again; that is written down, too.
        let deferred = || system.log().matches("status=deferred").count();
        let until_now = deferred();
        let enough = until_now + 2 * numbers.len();
        wait("mail to be deferred on a full disk", &system, || deferred() >= enough);

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
        kind.fill(disk);
        let reply = send(system.address, &name, 3);
        assert!(reply.as_ref().is_ok_and(|r| r.starts_with(FULL)), "{reply:?}");
        kind.clear(disk);
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

/// What became of mail for a mailbox on a full file system: deferred, kept, and delivered once when there is room.
fn full_mailbox(kind: Kind, folders: bool) {
    if !root("a full mailbox with the whole program") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("valija-box-{kind:?}-{}", std::process::id()));
    on_a_small_disk(kind, &folder, |disk| {
        let slash = if folders { "/" } else { "" };
        let more = format!("{LIMIT}mail_spool_directory = {}{slash}\n", disk.display());
        let system = System::make(&folder, None, &more);
        let (uid, gid) = (system.user.uid.as_raw(), system.user.gid.as_raw());
        chown(disk, Some(uid), Some(gid)).expect("the disk is the system's");
        system.start();
        let name = system.user.name.clone();
        let there = || if folders { filed(&disk.join(&name)) } else { received(&disk.join(&name)) };
        assert!(send(system.address, &name, 1).is_ok_and(|r| r.starts_with("250 ")));
        wait("a delivery", &system, || there().contains_key(&1));
        kind.fill(disk);
        let bytes = || fs::read(disk.join(&name)).unwrap_or_default();
        let (before, begins) = (there(), bytes());
        for number in [20, 30] {
            let reply = send(system.address, &name, number);
            assert!(reply.as_ref().is_ok_and(|r| r.starts_with("250 ")), "{reply:?}");
        }
        let tries = || {
            let mut tries = BTreeMap::<String, usize>::new();
            let log = system.log();
            let said = log.lines().filter(|l| l.contains("status=deferred") && l.contains("No space left"));
            said.filter_map(|l| l.split(": ").nth(1))
                .for_each(|id| *tries.entry(id.into()).or_default() += 1);
            tries
        };
        wait("both to be deferred", &system, || tries().len() == 2);
        // Also at the next attempts; nobody gets half a message, and nothing that was there is gone.
        wait("both to be tried twice more", &system, || tries().values().all(|times| *times >= 3));
        // (The mbox is not locked for this, so somebody may be writing just now.)
        assert!(if folders { there() == before } else { bytes().starts_with(&begins) });
        assert!(!empty(&system) && !system.log().contains("status=bounced"), "{}", system.log_tail());
        kind.clear(disk);
        wait("the mail to be delivered", &system, || empty(&system));
        assert_eq!(there().len(), 3, "{:?}", there());
        assert!(there().values().all(|n| *n == 1), "{:?}", there());
        system.stop();
    });
}

#[test]
fn a_full_mailbox_defers_and_keeps() {
    full_mailbox(Kind::Memory, false);
    full_mailbox(Kind::Ext4, false);
}

#[test]
fn a_maildir_without_inodes_defers_and_keeps() {
    full_mailbox(Kind::MemoryFewFiles, true);
}

/// The numbers in a Maildir, where nothing is left in `tmp`.
fn filed(folder: &Path) -> BTreeMap<u64, usize> {
    let names = |part: &str| {
        let entries = fs::read_dir(folder.join(part)).into_iter().flatten().flatten();
        entries.map(|e| e.path()).collect::<Vec<_>>()
    };
    let mut found = BTreeMap::new();
    for path in names("new") {
        for (number, times) in received(&path) {
            *found.entry(number).or_insert(0) += times;
        }
    }
    found
}

#[test]
fn a_full_log_stops_nothing() {
    if !root("a full log with the whole program") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("valija-log-{}", std::process::id()));
    on_a_small_disk(Kind::Memory, &folder, |disk| {
        let more =
            format!("{LIMIT}maillog_file = {0}/mail.log\nmaillog_file_prefixes = {0}\n", disk.display());
        let system = System::make(&folder, None, &more);
        let (uid, gid) = (system.user.uid.as_raw(), system.user.gid.as_raw());
        chown(disk, Some(uid), Some(gid)).expect("the disk is the system's");
        system.start();
        let name = system.user.name.clone();
        let log = || fs::read_to_string(disk.join("mail.log")).unwrap_or_default();
        assert!(send(system.address, &name, 1).is_ok_and(|r| r.starts_with("250 ")));
        wait("a line in the log", &system, || log().contains("status=sent"));
        let before = system.process(Role::Mail);
        Kind::Memory.fill(disk);
        // More than fits into what is left of the log's last block.
        for number in 2..40 {
            let reply = send(system.address, &name, number);
            assert!(reply.as_ref().is_ok_and(|r| r.starts_with("250 ")), "{reply:?}");
        }
        wait("all to be delivered", &system, || received(&system.mailbox()).len() == 39);
        Kind::Memory.clear(disk);
        let length = log().len();
        assert!(send(system.address, &name, 40).is_ok_and(|r| r.starts_with("250 ")));
        wait("the log to go on", &system, || log()[length..].contains("status=sent"));
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
