//! Several messages that go to the same mailbox together.

use super::{JOSE, MESSAGE, World, own_name, sh, virtual_mailboxes};
use crate::{Setup, child};
use config::{Config, master_cf};
use proto::job::{Frame, FrameReader, Job, write_jobs};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::sync::atomic::{AtomicBool, Ordering};

/// What came of messages that came together.
struct All {
    /// `code text` of each; nothing of those that were not tried.
    lines: Vec<Option<String>>,
    mailbox: Option<bool>,
    log: Vec<String>,
}

/// Delivers messages, each with its sender, recipient and content.
fn deliver(w: &World, messages: &[(&str, &str, &[u8])], transport: &str, more: &str) -> All {
    let config = Config::from_text(&w.root, &format!("{}{more}", w.main_cf)).unwrap();
    let services = master_cf::read("master.cf", &w.master_cf).unwrap();
    let setup = Setup::of(config, services.all);
    let mut offset = 0;
    let job = |(from, to, content): &(&str, &str, &[u8])| {
        let mut job = w.job(to, transport);
        job.sender = proto::Address::from_internal(from);
        (job.offset, job.length) = (offset, content.len() as u64);
        offset += job.length;
        job
    };
    let jobs: Vec<Job> = messages.iter().map(job).collect();
    let contents: Vec<&[u8]> = messages.iter().map(|m| m.2).collect();
    let content = sys::memory_file::sealed_pieces(&contents).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let collect = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(child(&setup, &write_jobs(&jobs).unwrap(), content.into(), writer.into()), 0);
    let mut frames = FrameReader::default();
    frames.receive(&collect.join().unwrap()).unwrap();
    let mut all = All { lines: vec![None; messages.len()], mailbox: None, log: Vec::new() };
    let (mut about, mut end) = (0, false);
    while let Some(frame) = frames.next_frame().unwrap() {
        match frame {
            Frame::Begin { .. } => {}
            Frame::About(n) => about = n as usize,
            Frame::Mailbox(yes) => all.mailbox = Some(yes),
            Frame::Log { text, .. } => all.log.push(text),
            Frame::Report(r) => {
                assert!(all.lines[about].is_none(), "two reports of message {about}");
                assert!(r.lines.len() == 1 || !r.passes.is_empty());
                assert!(r.lines.iter().all(|l| l.orig_to == messages[about].1));
                all.lines[about] = Some(format!("{} {}", r.result.code, r.result.text));
            }
            Frame::End => end = true,
        }
    }
    assert!(end);
    all
}

const DELIVERED: &str = "2.0.0 delivered to mailbox";

/// The senders of the messages in a mailbox, in their order.
fn senders(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.strip_prefix("From ")?.split(' ').next()).collect()
}

#[test]
fn each_is_as_if_it_had_come_alone() {
    let mut w = World::new("together-mbox");
    w.main_cf.push_str("forward_path =\n");
    let me = own_name();
    let (to, upper) = (format!("{me}@example.org"), format!("{}@example.org", me.to_uppercase()));
    let looping = format!("Delivered-To: {to}\r\n\r\nhola\r\n");
    let messages: [(&str, &str, &[u8]); 4] = [
        ("a@x.org", &to, MESSAGE),
        ("b@x.org", &upper, b"Subject: b\r\n\r\nFrom b"),
        ("c@x.org", &to, looping.as_bytes()),
        ("", &to, MESSAGE),
    ];
    let all = deliver(&w, &messages, "", "");
    let some = || Some(DELIVERED.to_string());
    assert_eq!(all.lines, [some(), some(), None, some()], "{:?}", all.log);
    assert_eq!(all.mailbox, Some(true));
    let together = w.read(&format!("spool/{me}"));
    assert!(!w.root.join(format!("spool/{me}.lock")).exists());
    std::fs::remove_file(w.root.join(format!("spool/{me}"))).unwrap();
    for message in &messages {
        deliver(&w, &[*message], "", "");
    }
    // But for the second in which it was.
    let lines = |text: &str| -> Vec<String> {
        let cut = |l: &str| {
            l.strip_prefix("From ")
                .and_then(|l| l.split_once(' '))
                .map_or(l.to_string(), |(from, _)| format!("From {from}"))
        };
        text.lines().map(cut).collect()
    };
    assert_eq!(lines(&together), lines(&w.read(&format!("spool/{me}"))));
    assert!(
        together.contains(&format!("Delivered-To: {upper}\nSubject: b\n\n>From b\n\nFrom MAILER-DAEMON ")),
        "{together}"
    );
    let maildir = deliver(&w, &messages, "", "mail_spool_directory = $queue_directory/t/\n");
    let some = || Some("2.0.0 delivered to maildir".to_string());
    assert_eq!(maildir.lines, [some(), some(), None, some()], "{:?}", maildir.log);
    let count = |part: &str| std::fs::read_dir(w.root.join(format!("t/{me}/{part}"))).unwrap().count();
    assert_eq!((count("new"), count("tmp"), count("cur")), (3, 0, 0));
}

#[test]
fn what_is_no_mailbox_gets_one_at_a_time() {
    let mut w = World::new("together-other");
    w.main_cf.push_str("forward_path =\n");
    let me = own_name();
    w.write("aliases", &format!("a: {me}\n"));
    let to = format!("{me}@example.org");
    for (to, more, first) in [
        ("a@example.org", "", DELIVERED),
        ("noexiste@example.org", "", "5.1.1 unknown user: \"noexiste\""),
        (&to, "mailbox_transport = lmtp:unix:x\n", ""),
    ] {
        let all = deliver(&w, &[("s@x.org", to, MESSAGE), ("t@x.org", to, MESSAGE)], "", more);
        // What is passed on has no line.
        if !first.is_empty() {
            assert_eq!(all.lines, [Some(first.to_string()), None]);
        }
        assert_eq!(all.mailbox, Some(false), "{to}");
    }
    assert_eq!(senders(&w.read(&format!("spool/{me}"))), ["s@x.org"]);
}

#[test]
fn the_limit_counts_for_each_and_half_a_line_swallows_nobody() {
    let mut w = World::new("together-limit");
    w.main_cf.push_str("forward_path =\n");
    let me = own_name();
    let to = format!("{me}@example.org");
    let mailbox = w.write(&format!("spool/{me}"), "From x@x.org  Fri Nov 20 15:18:56 2026\n\nhalf a li");
    chown(&mailbox, Some(sys::users::identities().euid), None).unwrap();
    let long = [b"Subject: long\r\n\r\n".as_slice(), &[b'x'; 3000]].concat();
    let messages: [(&str, &str, &[u8]); 3] =
        [("a@x.org", &to, MESSAGE), ("b@x.org", &to, &long), ("c@x.org", &to, MESSAGE)];
    let all = deliver(&w, &messages, "", "mailbox_size_limit = 2000\nmessage_size_limit = 2000\n");
    let full = format!(
        "5.2.2 cannot update mailbox {} for user {me}. error writing message: File too large",
        mailbox.display()
    );
    assert_eq!(all.lines, [Some(DELIVERED.into()), Some(full), Some(DELIVERED.into())], "{:?}", all.log);
    let text = w.read(&format!("spool/{me}"));
    assert_eq!(senders(&text), ["x@x.org", "a@x.org", "c@x.org"]);
    assert!(text.contains("\nhalf a li\n\nFrom a@x.org ") && text.ends_with("\n.dot\n\n"), "{text}");
}

#[test]
fn a_lock_of_another_program_delays_all_and_they_wait() {
    let mut w = World::new("together-locked");
    w.main_cf.push_str("forward_path =\n");
    let me = own_name();
    let to = format!("{me}@example.org");
    let messages: [(&str, &str, &[u8]); 2] = [("a@x.org", &to, MESSAGE), ("b@x.org", &to, MESSAGE)];
    deliver(&w, &messages[..1], "", "");
    let path = w.root.join(format!("spool/{me}"));
    let before = std::fs::metadata(&path).unwrap().len();
    let held = File::options().append(true).open(&path).unwrap();
    assert!(sys::locks::try_fcntl(&held).unwrap());
    let all = deliver(&w, &messages, "", "");
    let why = format!(
        "4.2.0 cannot update mailbox {} for user {me}. unable to lock for exclusive access: Resource temporarily unavailable",
        path.display()
    );
    assert_eq!(all.lines, [Some(why.clone()), Some(why)], "{:?}", all.log);
    drop(held);
    // A dot lock, as mail(1) or Dovecot makes it.
    let dot = w.write(&format!("spool/{me}.lock"), "");
    let all = deliver(&w, &messages, "", "");
    let why = format!(
        "4.2.0 cannot update mailbox {0} for user {me}. unable to create lock file {0}.lock: File exists",
        path.display()
    );
    assert_eq!(all.lines, [Some(why.clone()), Some(why)], "{:?}", all.log);
    assert_eq!((std::fs::metadata(&path).unwrap().len(), all.mailbox), (before, Some(true)));
    // One that goes away once the delivery is there, which has made its own dot lock by then.
    std::fs::remove_file(&dot).unwrap();
    let held = File::options().append(true).open(&path).unwrap();
    assert!(sys::locks::try_fcntl(&held).unwrap());
    let over = AtomicBool::new(false);
    let begun = std::time::Instant::now();
    let all = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !dot.exists() && !over.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            drop(held);
        });
        let all = deliver(&w, &messages, "", "deliver_lock_attempts = 20\ndeliver_lock_delay = 60s\n");
        over.store(true, Ordering::Relaxed);
        all
    });
    assert_eq!(all.lines, [Some(DELIVERED.to_string()), Some(DELIVERED.into())], "{:?}", all.log);
    assert!(begun.elapsed().as_secs() < 60, "a lock of a moment costs deliver_lock_delay");
}

#[test]
fn virtual_mailboxes_of_one_owner_do_not_wait_for_each_other() {
    let w = virtual_mailboxes::world("together", "a@v.org=a, b@v.org=b/, c@v.org=c");
    let messages: [(&str, &str, &[u8]); 6] = [
        ("1@x.org", "a@v.org", MESSAGE),
        ("2@x.org", "b@v.org", MESSAGE),
        ("3@x.org", "c@v.org", MESSAGE),
        ("4@x.org", "no@v.org", MESSAGE),
        ("5@x.org", "a@v.org", b"Subject: 5\r\n\r\n"),
        ("6@x.org", "b@v.org", MESSAGE),
    ];
    let all = deliver(&w, &messages, "virtual", "");
    let some = |what: &str| Some(format!("2.0.0 delivered to {what}"));
    let unknown = Some("5.1.1 unknown user: \"no@v.org\"".to_string());
    let (mbox, dir) = (some("mailbox"), some("maildir"));
    assert_eq!(
        all.lines,
        [mbox.clone(), dir.clone(), mbox.clone(), unknown, mbox.clone(), dir.clone()],
        "{:?}",
        all.log
    );
    assert_eq!(all.mailbox, Some(true));
    assert_eq!(senders(&w.read("v/a")), ["1@x.org", "5@x.org"]);
    assert_eq!(std::fs::read_dir(w.root.join("v/b/new")).unwrap().count(), 2);
    // Somebody reads c: its mail goes back, to be tried on its own.
    let held = File::options().append(true).open(w.root.join("v/c")).unwrap();
    assert!(sys::locks::try_fcntl(&held).unwrap());
    let all = deliver(&w, &messages[..3], "virtual", "deliver_lock_attempts = 20\ndeliver_lock_delay = 1s\n");
    assert_eq!(all.lines, [mbox, dir, None], "{:?}", all.log);
    let alone = deliver(&w, &messages[2..3], "virtual", "");
    assert!(alone.lines[0].as_ref().is_some_and(|l| l.starts_with("4.2.0 delivery failed to mailbox")));
}

#[test]
fn owners_get_their_own_and_see_nothing_else() {
    let rows = "a@v.org=a/, b@v.org=b/, c@v.org=c";
    if sys::users::identities().euid == 0 {
        let w = virtual_mailboxes::world("together-owners", rows);
        std::fs::set_permissions(w.root.join("v"), std::fs::Permissions::from_mode(0o777)).unwrap();
        let one: &[u8] = b"Subject: 1\r\n\r\nfor a\r\n";
        let messages: [(&str, &str, &[u8]); 5] = [
            ("1@x.org", "a@v.org", one),
            ("2@x.org", "b@v.org", b"Subject: 2\r\n\r\nfor b\r\n"),
            ("3@x.org", "a@v.org", MESSAGE),
            ("4@x.org", "c@v.org", b"Subject: 4\r\n\r\nfor c"),
            ("5@x.org", "b@v.org", MESSAGE),
        ];
        let uids = "virtual_uid_maps = inline:{a@v.org=4242, b@v.org=4243, c@v.org=4244}\n";
        let all = deliver(&w, &messages, "virtual", uids);
        let lines: Vec<&str> = all.lines.iter().flatten().map(|l| l.get(..5).unwrap()).collect();
        assert_eq!(lines, ["2.0.0"; 5], "{:?} {:?}", all.lines, all.log);
        for (name, uid, text) in [("a", 4242, "for a"), ("b", 4243, "for b")] {
            let files = std::fs::read_dir(w.root.join(format!("v/{name}/new"))).unwrap();
            let files: Vec<_> = files.map(|f| f.unwrap().path()).collect();
            assert!(files.iter().all(|f| std::fs::metadata(f).unwrap().uid() == uid));
            let texts: Vec<String> = files.iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
            assert_eq!((texts.len(), texts.iter().filter(|t| t.contains(text)).count()), (2, 1));
        }
        let c = w.read("v/c");
        assert!(c.starts_with("From 4@x.org ") && c.ends_with("\nfor c\n\n"), "{c}");
    }
    let file = sys::memory_file::sealed(b"onetwothree").unwrap();
    let apart = crate::content::Content::new(file, 0, 11).apart(&[(0, 3), (6, 5)]).unwrap();
    let mut all = String::new();
    std::io::Read::read_to_string(&mut apart.file(), &mut all).unwrap();
    assert_eq!(all, "onethree");
}

/// In a namespace: `h/jose` is a disk of 64 KiB.
pub(super) fn on_a_full_disk(w: &World) {
    let home = w.root.join("h/jose");
    sh(&format!("mount -t tmpfs -o size=64k,mode=700,uid={JOSE},gid={JOSE} none {}", home.display()));
    let content = [b"Subject: t\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(2000)].concat();
    let to = "jose@example.org";
    let messages: Vec<(&str, &str, &[u8])> = vec![
        ("a@x.org", to, &content),
        ("b@x.org", to, &content),
        ("c@x.org", to, &content),
        ("d@x.org", to, b"Subject: small\r\n\r\n"),
    ];
    let all = deliver(w, &messages, "", "home_mailbox = mbox\n");
    let full = format!(
        "4.3.0 cannot update mailbox {}/mbox for user jose. error writing message: No space left on device",
        home.display()
    );
    let some = || Some(DELIVERED.to_string());
    assert_eq!(all.lines, [some(), some(), Some(full), some()], "{:?}", all.log);
    let text = w.read("h/jose/mbox");
    assert_eq!(senders(&text), ["a@x.org", "b@x.org", "d@x.org"]);
    assert!(text.ends_with("\nSubject: small\n\n\n"));
    assert_eq!(std::fs::metadata(home.join("mbox")).unwrap().uid(), JOSE);
    std::fs::remove_file(home.join("mbox")).unwrap();
    let all = deliver(w, &messages, "", "home_mailbox = Maildir/\n");
    let lines: Vec<&str> = all.lines.iter().flatten().map(|l| l.get(..5).unwrap()).collect();
    assert_eq!(lines, ["2.0.0", "2.0.0", "4.3.0", "2.0.0"], "{:?}", all.lines);
    let count = |part: &str| std::fs::read_dir(home.join("Maildir").join(part)).unwrap().count();
    assert_eq!((count("new"), count("tmp")), (3, 0));
    sh(&format!("umount {}", home.display()));
}
