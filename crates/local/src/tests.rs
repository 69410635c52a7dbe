//! Whole deliveries. What needs several users runs as root in a mount namespace of its own, with
//! its own /etc/passwd; without root it is left out, loudly.

use crate::{Setup, child};
use config::{Config, master_cf};
use proto::Address;
use proto::envelope::{Client, Notify, Recipient};
use proto::job::{Action, Frame, FrameReader, Job, Report, Target};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

mod together;
mod virtual_mailboxes;

const MESSAGE: &[u8] = b"Received: by mx\r\nSubject: t\r\n\r\nhola\r\nFrom me\r\n.dot\r\n";

/// A system of its own below a directory.
struct World {
    root: PathBuf,
    main_cf: String,
    master_cf: String,
}

struct Delivered {
    report: Report,
    log: Vec<String>,
}

impl World {
    fn new(name: &str) -> World {
        let root = std::env::temp_dir().join(format!("valija-local-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("spool")).unwrap();
        std::fs::create_dir_all(root.join("t")).unwrap();
        std::fs::write(root.join("aliases"), "").unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        let at = root.display();
        let main_cf = format!(
            "export_environment = TZ MAIL_CONFIG LANG=C\nmyhostname = mx.example.org\nmyorigin = example.org\nmydestination = example.org\n\
             recipient_delimiter = +\nqueue_directory = {at}\nalias_maps = hash:{at}/aliases\n\
             mail_spool_directory = {at}/spool\ncompatibility_level = 3.6\n\
             deliver_lock_attempts = 2\ndeliver_lock_delay = 0s\n"
        );
        let master_cf = "local unix - n n - - local\n".to_string();
        World { root, main_cf, master_cf }
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap_or_else(|e| format!("({path}: {e})"))
    }

    fn job(&self, to: &str, settings: &str) -> Job {
        let transport = if settings.is_empty() { "local" } else { settings };
        Job {
            transport: transport.into(),
            nexthop: "example.org".into(),
            queue_id: "ABC123".into(),
            sender: Address::from_internal("sender@example.net"),
            recipients: vec![Target {
                place: 3,
                recipient: Recipient {
                    address: Address::from_internal(to),
                    original: to.into(),
                    ..Recipient::default()
                },
            }],
            client: Client { name: "localhost".into(), address: "127.0.0.1".into(), ..Client::default() },
            length: MESSAGE.len() as u64,
            ..Job::default()
        }
    }

    fn deliver(&self, to: &str) -> Delivered {
        self.deliver_with(to, "")
    }

    fn deliver_with(&self, to: &str, more: &str) -> Delivered {
        self.run(&self.job(to, ""), MESSAGE, more)
    }

    fn run(&self, job: &Job, message: &[u8], more: &str) -> Delivered {
        let config = Config::from_text(&self.root, &format!("{}{more}", self.main_cf)).unwrap();
        let services = master_cf::read("master.cf", &self.master_cf).unwrap();
        let setup = Setup::of(config, services.all);
        let content = sys::memory_file::sealed(message).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let collect = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let job = Job { length: message.len() as u64, ..job.clone() };
        let status = child(&setup, &job.encode().unwrap(), content.into(), writer.into());
        assert_eq!(status, 0);
        let mut frames = FrameReader::default();
        frames.receive(&collect.join().unwrap()).unwrap();
        let (mut report, mut log, mut end) = (None, Vec::new(), false);
        while let Some(frame) = frames.next_frame().unwrap() {
            match frame {
                Frame::Begin { .. } | Frame::About(_) | Frame::Mailbox(_) => {}
                Frame::Log { text, .. } => log.push(text),
                Frame::Report(r) => report = Some(*r),
                Frame::End => end = true,
            }
        }
        assert!(end);
        Delivered { report: report.unwrap(), log }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

impl Delivered {
    /// `to: code text` per line.
    fn lines(&self) -> Vec<String> {
        let show = |l: &proto::job::Line| format!("{}: {} {}", l.to, l.status.code, l.status.text);
        self.report.lines.iter().map(show).collect()
    }

    #[track_caller]
    fn is(&self, expected: &[&str]) -> &Delivered {
        assert_eq!(self.lines(), expected, "log: {:?}", self.log);
        self
    }
}

fn own_name() -> String {
    sys::users::by_id(sys::users::identities().euid).unwrap().unwrap().name
}

#[test]
fn one_identity() {
    let mut w = World::new("one");
    let me = own_name();
    let at = w.root.display().to_string();
    let own = sys::users::identities().euid;
    let file = format!("{at}/t/file");
    w.write(
        "aliases",
        &format!(
            "a: {me}\nself: self\nloop1: loop2\nloop2: loop1\nfar: x@other.example, {me}@other.example\n\
             list: y@other.example\nowner-list: {me}\nrel: :include:srv/x\nincl: :include:{at}/t/list\n\
             gone: :include:{at}/t/gone\ninccmd: :include:{at}/t/cmd\n"
        ),
    );
    w.write("t/list", "# c\nz@other.example,\n\n(x) \"a b\"@other.example\n");
    w.write("t/cmd", "\"|exit 0\"\n");
    // Without .forward, whatever this user's home holds.
    w.main_cf.push_str("forward_path =\n");
    if own == 0 {
        w.main_cf.push_str("default_privs = nobody\n");
        std::fs::set_permissions(w.root.join("t"), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mailbox = format!("{me}@example.org: 2.0.0 delivered to mailbox");
    w.deliver(&format!("{me}@example.org")).is(&[&mailbox]);
    let text = w.read(&format!("spool/{me}"));
    assert!(text.starts_with("From sender@example.net  "), "{text}");
    let rest = text.split_once('\n').unwrap().1;
    assert_eq!(
        rest,
        format!(
            "Return-Path: <sender@example.net>\nX-Original-To: {me}@example.org\nDelivered-To: {me}@example.org\n\
             Received: by mx\nSubject: t\n\nhola\n>From me\n.dot\n\n"
        )
    );
    assert_eq!(std::fs::metadata(w.root.join(format!("spool/{me}"))).unwrap().mode() & 0o777, 0o600);
    assert!(!w.root.join(format!("spool/{me}.lock")).exists());
    w.deliver("a@example.org").is(&[&mailbox]);
    w.deliver("noexiste@example.org").is(&["noexiste@example.org: 5.1.1 unknown user: \"noexiste\""]);
    w.deliver("self@example.org").is(&["self@example.org: 5.1.1 unknown user: \"self\""]);
    let looped = w.deliver("loop1@example.org");
    assert_eq!(looped.report.lines.len(), 1);
    assert!(looped.lines()[0].contains("5.4.6 alias database loop for loop"), "{:?}", looped.lines());
    let far = w.deliver("far@example.org");
    far.is(&["far@example.org: 2.0.0 forwarded as"]);
    let forward = &far.report.forwards[0];
    assert_eq!((far.report.lines[0].forward, far.report.recipient), (Some(0), 3));
    assert_eq!(forward.delivered_to, "far@example.org");
    assert_eq!(forward.sender.to_string(), "sender@example.net");
    assert_eq!(forward.recipients.len(), 2);
    assert_eq!(forward.recipients[0].original, "far@example.org");
    let list = w.deliver("list@example.org");
    assert_eq!(list.report.forwards[0].sender.to_string(), "owner-list@example.org");
    assert_eq!(list.report.forwards[0].recipients[0].original, "y@other.example");
    let expanded = w.deliver_with("list@example.org", "expand_owner_alias = yes\n");
    assert_eq!(expanded.report.forwards[0].sender.to_string(), format!("{me}@example.org"));
    let rel = w.deliver("rel@example.org");
    rel.is(&["rel@example.org: 5.3.5 mail system configuration error"]);
    assert_eq!(rel.log, [":include:srv/x uses a relative path"]);
    let incl = w.deliver("incl@example.org");
    let found: Vec<String> =
        incl.report.forwards[0].recipients.iter().map(|r| r.address.to_string()).collect();
    assert_eq!(found, ["z@other.example", "\"a b\"@other.example"]);
    let gone = w.deliver("gone@example.org");
    gone.is(&["gone@example.org: 5.3.5 mail system configuration error"]);
    assert!(gone.log[0].starts_with("unable to lookup :include: file"), "{:?}", gone.log);
    w.deliver("inccmd@example.org").is(&["inccmd@example.org: 5.7.1 mail to command is restricted"]);
    std::fs::set_permissions(w.root.join("t/list"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let open = w.deliver("incl@example.org");
    open.is(&["incl@example.org: 5.3.5 mail system configuration error"]);
    assert!(open.log[0].ends_with("is world writable"), "{:?}", open.log);

    w.write("aliases", &format!("f: {file}\nc: \"|exit 67\"\nboth: {me}, noexiste\nmd: {at}/t/md/\n"));
    w.deliver("f@example.org").is(&[&format!("f@example.org: 2.0.0 delivered to file: {file}")]);
    w.deliver("f@example.org");
    assert_eq!(w.read("t/file").matches("\n\nhola\n").count(), 2);
    let unknown = w.deliver("c@example.org");
    unknown.is(&["c@example.org: 5.1.1 user unknown"]);
    let diagnostic = &unknown.report.result.remote.as_ref().unwrap().diagnostic;
    assert_eq!(diagnostic, &("x-unix".to_string(), "user unknown".to_string()));
    let both = w.deliver("both@example.org");
    both.is(&[&mailbox, "noexiste@example.org: 5.1.1 unknown user: \"noexiste\""]);
    assert_eq!(both.report.result.code.0, 5);
    w.deliver("md@example.org").is(&["md@example.org: 2.0.0 delivered to maildir"]);
    let new: Vec<_> = std::fs::read_dir(w.root.join("t/md/new")).unwrap().collect();
    assert_eq!((new.len(), std::fs::read_dir(w.root.join("t/md/tmp")).unwrap().count()), (1, 0));
    let text = std::fs::read_to_string(new[0].as_ref().unwrap().path()).unwrap();
    assert!(text.starts_with("Return-Path: <sender@example.net>\nX-Original-To: md@example.org\n"), "{text}");
    assert!(text.ends_with("\nFrom me\n.dot\n"), "{text}");

    // What takes the place of a mailbox.
    let passed = w.deliver_with(&format!("{me}@example.org"), "mailbox_transport = lmtp:unix:x\n");
    let pass = passed.report.passes.first().unwrap();
    assert_eq!((pass.transport.as_str(), pass.nexthop.as_str()), ("lmtp", "unix:x"));
    let fallen = w.deliver_with("noexiste@example.org", "fallback_transport = other\n");
    assert_eq!(fallen.report.passes.first().unwrap().transport, "other");
    let maps = format!("mailbox_transport_maps = inline:{{{me}=uucp:hop}}\n");
    assert!(w.deliver_with(&format!("{me}@example.org"), &maps).report.passes.len() == 1);
    let relayed = w.deliver_with("noexiste+x@example.org", "luser_relay = $local@other.example\n");
    assert_eq!(relayed.report.forwards[0].recipients[0].address.to_string(), "noexiste+x@other.example");
    let discarded = w.deliver("MAILER-DAEMON@example.org");
    discarded.is(&["MAILER-DAEMON@example.org: 2.0.0 discarded"]);
    assert_eq!(discarded.log, ["required alias not found: mailer-daemon"]);

    // Loops, limits, locks.
    let message = format!("Delivered-To: <F@example.org>\r\nDelivered-To:\r\n {me}@example.org\r\n\r\n");
    let looped = w.run(&w.job(&format!("{me}@example.org"), ""), message.as_bytes(), "");
    looped.is(&[&format!("{me}@example.org: 5.4.6 mail forwarding loop for {me}@example.org")]);
    let before = w.read(&format!("spool/{me}"));
    let limit = format!("message_size_limit = 100\nmailbox_size_limit = {}\n", before.len() + 100);
    let full = w.deliver_with(&format!("{me}@example.org"), &limit);
    full.is(&[&format!(
        "{me}@example.org: 5.2.2 cannot update mailbox {at}/spool/{me} for user {me}. error writing message: File too large"
    )]);
    assert_eq!(w.read(&format!("spool/{me}")), before, "a partial write is undone");
    w.write(&format!("spool/{me}.lock"), "");
    let locked = w.deliver(&format!("{me}@example.org"));
    locked.is(&[&format!(
        "{me}@example.org: 4.2.0 cannot update mailbox {at}/spool/{me} for user {me}. unable to create lock file {at}/spool/{me}.lock: File exists"
    )]);

    // Success notices of aliases.
    let mut job = w.job("far@example.org", "");
    w.write("aliases", "far: x@other.example\n");
    job.recipients[0].recipient.notify = Notify { success: true, ..Notify::default() };
    let told = w.run(&job, MESSAGE, "");
    assert_eq!(told.report.expanded.as_ref().unwrap().0, Action::Expanded);
    assert!(told.report.forwards[0].recipients[0].notify.never);
}

#[test]
fn a_probe_delivers_nothing() {
    let mut w = World::new("probe");
    let (me, at) = (own_name(), w.root.display().to_string());
    w.write(
        "aliases",
        &format!(
            "a: {me}, x@other.example\ncmd: \"|touch {at}/t/ran\"\nfile: {at}/t/file\nmd: {at}/t/md/\n\
             list: y@other.example\nowner-list: {me}\n"
        ),
    );
    if sys::users::identities().euid == 0 {
        w.main_cf.push_str("default_privs = nobody\n");
        std::fs::set_permissions(w.root.join("t"), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    w.main_cf.push_str("forward_path =\n");
    w.master_cf.push_str("mypipe unix - n n - - pipe user=nobody argv=/bin/touch t/ran\n");
    let probe = |to: &str, transport: &str, more: &str| {
        let job = Job { probe: true, ..w.job(to, transport) };
        let got = w.run(&job, MESSAGE, more);
        assert!(got.report.forwards.is_empty());
        got
    };
    let mine = format!("{me}@example.org: 2.0.0 delivers to mailbox");
    probe(&format!("{me}@example.org"), "", "").is(&[&mine]);
    probe("a@example.org", "", "").is(&[&mine, "x@other.example: 2.0.0 forwards to x@other.example"]);
    let list = probe("list@example.org", "", "");
    list.is(&["y@other.example: 2.0.0 forwards to y@other.example"]);
    assert_eq!(list.report.lines[0].orig_to, "y@other.example");
    let command = format!("cmd@example.org: 2.0.0 delivers to command: touch {at}/t/ran");
    probe("cmd@example.org", "", "").is(&[&command]);
    probe("file@example.org", "", "")
        .is(&[&format!("file@example.org: 2.0.0 delivers to file: {at}/t/file")]);
    let more = "allow_mail_to_files = alias,forward\n";
    probe("md@example.org", "", more).is(&["md@example.org: 2.0.0 delivers to maildir"]);
    probe("none@example.org", "", "").is(&["none@example.org: 5.1.1 unknown user: \"none\""]);
    let home = format!("{me}@example.org: 2.0.0 delivers to maildir");
    probe(&format!("{me}@example.org"), "", "home_mailbox = valija-probe-Maildir/\n").is(&[&home]);
    let piped = probe("p@example.org", "mypipe", "");
    if sys::users::identities().euid == 0 {
        piped.is(&["p@example.org: 2.0.0 delivers to command: /bin/touch"]);
    }
    for path in ["spool", "t"] {
        assert_eq!(std::fs::read_dir(w.root.join(path)).unwrap().count(), 0, "{path}");
    }
}

#[test]
fn strangers_put_nothing_into_commands() {
    let w = World::new("regexp");
    let at = w.root.display().to_string();
    w.write("patterns", "/^x(.*)$/ |touch $1\n/^y(.*)$/ jose@other.example\n");
    let maps = format!("alias_maps = regexp:{at}/patterns\n");
    let none = w.deliver_with("x;id@example.org", &maps);
    none.is(&["\"x;id\"@example.org: 5.1.1 unknown user: \"x;id\""]);
    w.deliver_with("yes@example.org", &maps).is(&["yes@example.org: 2.0.0 forwarded as"]);
    // An address that comes back to itself is nobody, not nothing.
    let relay = w.deliver_with("noexiste@example.org", "luser_relay = nobody-here\n");
    relay.is(&["nobody-here@example.org: 5.1.1 unknown user: \"nobody-here\""]);
    w.write("empty", "# nobody\n");
    w.write("aliases", &format!("list: :include:{at}/empty\n"));
    let empty = w.deliver_with("list@example.org", "default_privs = nobody\n");
    empty.is(&[]);
    let limits = w.deliver_with("list@example.org", "mailbox_size_limit = 10\n");
    limits.is(&["list@example.org: 4.3.0 mail transport unavailable"]);
}

#[test]
fn broken_tables_and_transports_wait() {
    let mut w = World::new("broken");
    let maps = "alias_maps = hash:/no/such/file\n";
    let waits = w.deliver_with("jose@example.org", maps);
    waits.is(&["jose@example.org: 4.3.0 alias database unavailable"]);
    assert!(!waits.log.is_empty());
    w.master_cf.push_str("p unix - n n - - pipe user=root argv=/bin/true\nsm unix - - n - - smtp\n");
    let refused = w.run(&w.job("x@example.org", "p"), MESSAGE, "");
    refused.is(&["x@example.org: 4.3.0 mail transport unavailable"]);
    assert_eq!(refused.log, ["user= command-line attribute specifies root privileges"]);
    for transport in ["sm", "nope"] {
        let r = w.run(&w.job("x@example.org", transport), MESSAGE, "");
        r.is(&["x@example.org: 4.3.5 mail system configuration error"]);
    }
}

/// Several users: run again as root in a namespace with users of its own.
#[test]
fn several_identities() {
    if sys::users::identities().euid != 0 {
        return untested("root");
    }
    let exe = std::env::current_exe().unwrap();
    let run = Command::new("unshare")
        .args(["-m", exe.to_str().unwrap(), "--exact", "tests::in_a_namespace", "--ignored", "--nocapture"])
        .output();
    let Ok(out) = run else {
        return untested("unshare(1)");
    };
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    if text.contains("unshare failed") {
        return untested("mount namespaces");
    }
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}

/// Says what is missing; where everything must run (`./test`, CI), that is a failure.
fn untested(needs: &str) {
    assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "several users need {needs}");
    eprintln!("NOT TESTED: local delivery to several users needs {needs}");
}

fn sh(command: &str) {
    let status = Command::new("/bin/sh").args(["-ec", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

const JOSE: u32 = 2001;
const ANA: u32 = 2002;
const NOHOME: u32 = 2003;
const MAIL: u32 = 8;

#[test]
#[ignore = "needs root and a mount namespace; several_identities runs it there"]
fn in_a_namespace() {
    let mut w = World::new("ns");
    let at = w.root.display().to_string();
    sh(&format!(
        "mount --make-rprivate /; mount -t tmpfs none {at}; chmod 755 {at}; mkdir -p {at}/spool {at}/t {at}/h/jose {at}/h/ana"
    ));
    w.write(
        "passwd",
        &format!(
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n\
             jose:x:2001:2001:Jose:{at}/h/jose:/bin/sh\nana:x:2002:2002:Ana:{at}/h/ana:/bin/sh\n\
             nohome:x:2003:2003::/nonexistent/nohome:/bin/sh\n"
        ),
    );
    sh(&format!("mount --bind {at}/passwd /etc/passwd"));
    let (spool, t) = (w.root.join("spool"), w.root.join("t"));
    chown(&spool, Some(0), Some(MAIL)).unwrap();
    std::fs::set_permissions(&spool, std::fs::Permissions::from_mode(0o2775)).unwrap();
    std::fs::set_permissions(&t, std::fs::Permissions::from_mode(0o777)).unwrap();
    for (home, uid) in [("h/jose", JOSE), ("h/ana", ANA)] {
        chown(w.root.join(home), Some(uid), Some(uid)).unwrap();
        std::fs::set_permissions(w.root.join(home), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    w.write("aliases", "");
    together::on_a_full_disk(&w);
    let owner = |path: &Path| std::fs::metadata(path).map(|m| (m.uid(), m.gid(), m.mode() & 0o777)).ok();

    // The spool is root's: mailbox and lock are made by root, written by the user.
    w.deliver("Jose+Ext@example.org").is(&["Jose+Ext@example.org: 2.0.0 delivered to mailbox"]);
    assert_eq!(owner(&spool.join("jose")), Some((JOSE, MAIL, 0o600)));
    assert!(!spool.join("jose.lock").exists());
    w.deliver("nohome@example.org").is(&["nohome@example.org: 2.0.0 delivered to mailbox"]);
    let reason = "4.3.0 cannot access home directory /nonexistent/nohome: No such file or directory";
    let waits = w.deliver_with("nohome@example.org", "require_home_directory = yes\n");
    waits.is(&[&format!("nohome@example.org: {reason}")]);
    w.deliver("root@example.org").is(&["root@example.org: 2.0.0 delivered to mailbox"]);
    assert_eq!(owner(&spool.join("root")).map(|o| o.0), Some(0));
    // Somebody else's mailbox, links, directories.
    let text = |user: &str, why: &str| {
        format!("{user}@example.org: {why}")
            .replace("MB", &format!("cannot update mailbox {at}/spool/{user} for user {user}."))
    };
    chown(spool.join("nohome"), Some(ANA), None).unwrap();
    w.deliver("nohome@example.org").is(&[&text("nohome", "5.2.0 MB cannot open file: Permission denied")]);
    std::fs::set_permissions(spool.join("nohome"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let strict = format!("4.2.0 MB destination {at}/spool/nohome is not owned by recipient");
    w.deliver("nohome@example.org").is(&[&text("nohome", &strict)]);
    w.deliver_with("nohome@example.org", "strict_mailbox_ownership = no\n")
        .is(&["nohome@example.org: 2.0.0 delivered to mailbox"]);
    std::fs::remove_file(spool.join("nohome")).unwrap();
    let target = w.write("t/target", "secret");
    chown(&target, Some(NOHOME), None).unwrap();
    std::os::unix::fs::symlink(&target, spool.join("nohome")).unwrap();
    w.deliver("nohome@example.org").is(&[&text("nohome", "5.2.0 MB file is a symbolic link")]);
    assert_eq!(w.read("t/target"), "secret");
    std::fs::remove_file(spool.join("nohome")).unwrap();
    std::fs::create_dir(spool.join("nohome")).unwrap();
    w.deliver("nohome@example.org").is(&[&text("nohome", "5.2.0 MB cannot open file: Is a directory")]);
    std::fs::remove_dir(spool.join("nohome")).unwrap();
    std::fs::hard_link(spool.join("jose"), t.join("link")).unwrap();
    w.deliver("jose@example.org").is(&[&text("jose", "5.2.0 MB file has 2 hard links")]);
    std::fs::remove_file(t.join("link")).unwrap();

    // Commands: of the user, of an alias (nobody), of an alias table that a user owns.
    let env = format!(
        "mailbox_command = id -u > {at}/t/$USER; env >> {at}/t/$USER; pwd >> {at}/t/$USER; cat >> {at}/t/$USER\n"
    );
    let ran = w.deliver_with("ana+a`b@example.org", &env);
    assert!(
        ran.lines()[0].starts_with("ana+a`b@example.org: 2.0.0 delivered to command: id -u"),
        "{:?}",
        ran.lines()
    );
    let saw = w.read("t/ana");
    for line in [
        "2002",
        "EXTENSION=a_b",
        "LOCAL=ana+a_b",
        "USER=ana",
        "LOGNAME=ana",
        "DOMAIN=example.org",
        "SHELL=/bin/sh",
        "SENDER=sender@example.net",
        "RECIPIENT=ana+a_b@example.org",
        "CLIENT_ADDRESS=127.0.0.1",
        "PATH=/usr/bin:/bin",
        "LANG=C",
        &format!("HOME={at}/h/ana"),
        &at,
        "From me",
    ] {
        assert!(saw.lines().any(|l| l == line), "{line} in {saw}");
    }
    let root = w.deliver_with("root@example.org", "mailbox_command = exit $(id -u | cut -c1-2)\n");
    root.is(&["root@example.org: 5.6.0 data format error"]);
    w.write("aliases", &format!("n: \"|id -u > {at}/t/n\"\nfile: {at}/t/byalias\n"));
    w.deliver("n@example.org");
    assert_eq!(w.read("t/n").trim(), "65534");
    w.deliver("file@example.org");
    assert_eq!(owner(&t.join("byalias")), Some((65_534, 65_534, 0o600)));
    chown(w.root.join("aliases"), Some(JOSE), None).unwrap();
    std::fs::remove_file(t.join("n")).unwrap();
    w.deliver("n@example.org");
    assert_eq!(w.read("t/n").trim(), "2001");
    chown(w.root.join("aliases"), Some(0), None).unwrap();

    // :include: files act as their owner.
    let list = w.write("t/list", &format!("\"|id -u > {at}/t/inc\"\nana, \n"));
    std::fs::remove_file(t.join("ana")).unwrap();
    chown(&list, Some(JOSE), None).unwrap();
    w.write("aliases", &format!("inc: :include:{at}/t/list\n"));
    let inc = w.deliver_with("inc@example.org", "allow_mail_to_commands = include\n");
    assert_eq!(inc.report.forwards[0].recipients[0].address.to_string(), "ana@example.org");
    assert_eq!(w.read("t/inc").trim(), "2001");
    std::fs::set_permissions(&list, std::fs::Permissions::from_mode(0o600)).unwrap();
    chown(&list, Some(0), None).unwrap();
    let closed = w.deliver("inc@example.org");
    closed.is(&["inc@example.org: 5.3.5 mail system configuration error"]);
    assert!(closed.log[0].contains("Permission denied"), "{:?}", closed.log);

    // .forward: as the user alone, whatever else could be read.
    let forward = |text: &str| {
        let path = w.write("h/jose/.forward", text);
        chown(&path, Some(JOSE), None).unwrap();
        path
    };
    forward(&format!(
        "\\jose, ana, \"|id -u > {at}/t/fwd; id -G >> {at}/t/fwd\", {at}/h/jose/mbox, Maildir, {at}/h/jose/Md/\n"
    ));
    let fwd = w.deliver("jose@example.org");
    fwd.is(&[
        "jose@example.org: 2.0.0 delivered to mailbox",
        &format!("jose@example.org: 2.0.0 delivered to command: id -u > {at}/t/fwd; id -G >> {at}/t/fwd"),
        &format!("jose@example.org: 2.0.0 delivered to file: {at}/h/jose/mbox"),
        "jose@example.org: 2.0.0 delivered to maildir",
        "jose@example.org: 2.0.0 forwarded as",
    ]);
    assert_eq!(w.read("t/fwd"), "2001\n2001\n");
    let to: Vec<String> = fwd.report.forwards[0].recipients.iter().map(|r| r.address.to_string()).collect();
    assert_eq!(to, ["ana@example.org", "Maildir@example.org"]);
    assert_eq!(fwd.report.forwards[0].delivered_to, "jose@example.org");
    forward("# nothing\n\n");
    w.deliver("jose@example.org").is(&["jose@example.org: 2.0.0 delivered to mailbox"]);
    let extension = w.write("h/jose/.forward+lista", &format!("{at}/h/jose/lista\n"));
    chown(&extension, Some(JOSE), None).unwrap();
    let list = format!("jose+lista@example.org: 2.0.0 delivered to file: {at}/h/jose/lista");
    w.deliver("jose+lista@example.org").is(&[&list]);
    w.deliver("jose+otra@example.org").is(&["jose+otra@example.org: 2.0.0 delivered to mailbox"]);
    forward("ana\n");
    let goes_on = "propagate_unmatched_extensions = forward\n";
    for (to, more, found) in [
        ("jose+otra", "", "ana@example.org"),
        ("jose+otra", goes_on, "ana+otra@example.org"),
        ("jose", goes_on, "ana@example.org"),
    ] {
        let sent = w.deliver_with(&format!("{to}@example.org"), more);
        assert_eq!(sent.report.forwards[0].recipients[0].address.to_string(), found);
    }
    // Files that cannot be trusted, and files that only root could read.
    let path = forward("ana\n");
    chown(&path, Some(ANA), None).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let bad = w.deliver("jose@example.org");
    bad.is(&["jose@example.org: 2.0.0 delivered to mailbox"]);
    assert_eq!(bad.log, [format!("file {at}/h/jose/.forward has bad owner uid 2002")]);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", &path).unwrap();
    let link = w.deliver("jose@example.org");
    assert_eq!(link.log, [format!("file {at}/h/jose/.forward is not a regular file")]);
    std::fs::remove_file(&path).unwrap();
    sh(&format!("mkfifo {at}/h/jose/.forward; chown jose {at}/h/jose/.forward"));
    w.deliver("jose@example.org").is(&["jose@example.org: 2.0.0 delivered to mailbox"]);
    std::fs::remove_file(&path).unwrap();
    forward(":include:/etc/shadow, /etc/passwd, \"|cat /etc/shadow\"\n");
    let greedy = w.deliver("jose@example.org");
    assert!(
        greedy.lines().iter().all(|l| !l.contains("2.0.0") && !l.contains("root:")),
        "{:?}",
        greedy.lines()
    );
    std::fs::remove_file(&path).unwrap();

    // Mailboxes at home, world-writable and root-only spools.
    w.deliver_with("ana@example.org", "home_mailbox = Mail/Dir/\n")
        .is(&["ana@example.org: 2.0.0 delivered to maildir"]);
    assert_eq!(owner(&w.root.join("h/ana/Mail/Dir/new")), Some((ANA, ANA, 0o700)));
    w.deliver_with("ana@example.org", "home_mailbox = mbox\n")
        .is(&["ana@example.org: 2.0.0 delivered to mailbox"]);
    assert_eq!(owner(&w.root.join("h/ana/mbox")), Some((ANA, ANA, 0o600)));
    for (mode, group) in [(0o755, ANA), (0o1777, ANA)] {
        let _ = std::fs::remove_file(spool.join("ana"));
        std::fs::set_permissions(&spool, std::fs::Permissions::from_mode(mode)).unwrap();
        w.deliver("ana@example.org").is(&["ana@example.org: 2.0.0 delivered to mailbox"]);
        assert_eq!(owner(&spool.join("ana")), Some((ANA, group, 0o600)));
    }
    // A full disk: the mail waits, and what was there stays.
    sh(&format!("mount -t tmpfs -o size=8k none {at}/spool; chmod 1777 {at}/spool"));
    let big = [MESSAGE, &b"0123456789\r\n".repeat(2000)].concat();
    let full = w.run(&w.job("ana@example.org", ""), &big, "");
    full.is(&[&text("ana", "4.3.0 MB error writing message: No space left on device")]);
    assert_eq!(std::fs::metadata(spool.join("ana")).unwrap().len(), 0);

    // pipe(8) transports.
    w.master_cf.push_str(&format!(
        "p unix - n n - - pipe flags=DFORXBhqu.> user=ana:mail eol=\\r\\n argv=/bin/sh -c {{id -u >{at}/t/p; \
         id -G >>{at}/t/p; for i; do echo \"[$$i]\" >>{at}/t/p; done; cat >>{at}/t/p; echo hi}} -- $recipient ${{extension}} -f $sender\n\
         p67 unix - n n - - pipe flags=R user=ana argv=/bin/sh -c {{exit 67}}\n\
         own unix - n n - - pipe user=postfixx argv=/bin/true\n"
    ));
    let piped = w.run(&w.job("Ana+X@Example.org", "p"), MESSAGE, "");
    piped.is(&["Ana+X@Example.org: 2.0.0 delivered via p service (hi)"]);
    let saw = w.read("t/p");
    assert!(
        saw.starts_with(
            "2002\n8\n[ana+x@example.org]\n[x]\n[-f]\n[sender@example.net]\nFrom sender@example.net  "
        ),
        "{saw}"
    );
    assert!(saw.ends_with("\r\nhola\r\n>From me\r\n..dot\r\n\r\n"), "{saw}");
    assert!(saw.contains("Delivered-To: Ana+X@Example.org\r\n"), "{saw}");
    assert_eq!(piped.report.lines[0].action, Action::Delivered);
    w.run(&w.job("ana@example.org", "p67"), MESSAGE, "").is(&["ana@example.org: 5.1.1 user unknown"]);
    let unknown = w.run(&w.job("ana@example.org", "own"), MESSAGE, "");
    assert_eq!(unknown.log, ["get_service_attr: unknown username: postfixx"]);
}
