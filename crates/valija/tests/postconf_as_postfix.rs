//! Our `postconf` against the real one: same output, exit status and messages on many inputs.
//!
//! It needs Debian's postfix package and fails without it, rather than pass without having looked.
//! Compared are standard output, the exit status, and the *set* of messages: the real program repeats
//! some warnings many times and lists unused names in the order of a hash table.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const REAL: &str = "/usr/sbin/postconf";
const OURS: &str = env!("CARGO_BIN_EXE_valija");

struct World {
    root: PathBuf,
    cases: RefCell<Vec<Case>>,
}

/// main.cf, master.cf, arguments.
type Case = (String, String, Vec<String>);

/// What a program did: output, messages, status, and the two files afterwards.
#[derive(Debug, PartialEq)]
struct Outcome {
    output: String,
    messages: BTreeSet<String>,
    status: Option<i32>,
    files: [Option<String>; 2],
}

impl World {
    fn new(name: &str) -> World {
        assert!(
            Path::new(REAL).exists(),
            "{REAL} is missing: this test compares with the real postconf; install the postfix package"
        );
        let root = std::env::temp_dir().join(format!("valija-postconf-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("c")).unwrap();
        World { root, cases: RefCell::new(Vec::new()) }
    }

    fn both(&self, main: &str, master: &str, args: &[&str]) -> (Outcome, Outcome) {
        let real = run(&self.root, Path::new(REAL), main, master, args);
        let _ = std::fs::remove_file(self.root.join("c/master.cf.tmp")); // it leaves its own behind
        (real, run(&self.root, Path::new(OURS), main, master, args))
    }

    /// Notes a case; all are compared when the world ends.
    fn check(&self, main: &str, master: &str, args: &[&str]) {
        let args = args.iter().map(|a| a.to_string()).collect();
        self.cases.borrow_mut().push((main.to_string(), master.to_string(), args));
    }
}

fn run(root: &Path, program: &Path, main: &str, master: &str, args: &[&str]) -> Outcome {
    let files = ["main.cf", "master.cf"].map(|f| root.join("c").join(f));
    std::fs::write(&files[0], main).unwrap();
    std::fs::write(&files[1], master).unwrap();
    // Both show the name they were called by.
    let done = Command::new(program)
        .arg0("postconf")
        .args(["-c", "c"])
        .args(args)
        .current_dir(root)
        .env_remove("MAIL_CONFIG")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        output: text(&done.stdout),
        messages: text(&done.stderr).lines().map(str::to_string).collect(),
        status: done.status.code(),
        files: files.map(|f| std::fs::read_to_string(f).ok()),
    }
}

/// The difference, if there is one.
fn compare(root: &Path, (main, master, args): &Case) -> Option<String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut real = run(root, Path::new(REAL), main, master, &words);
    let _ = std::fs::remove_file(root.join("c/master.cf.tmp"));
    let mut ours = run(root, Path::new(OURS), main, master, &words);
    // Shown by all commands without -n, and different by decision; `defaults` compares them.
    let differing: BTreeSet<&str> = differs().into_iter().map(|(name, _)| name).collect();
    let set = |name: &str| main.lines().any(|l| l.split(['=', ' ']).next() == Some(name));
    for outcome in [&mut real, &mut ours] {
        let keep = |l: &&str| {
            let name = l.split(' ').next().unwrap_or_default();
            (set(name) || !differing.contains(name)) && !l.contains("debugger_command")
        };
        // It reads the file again and again, and then finds the earlier entry later.
        outcome.messages.retain(|m| !m.contains("line 1: overriding earlier entry"));
        outcome.output = outcome.output.lines().filter(keep).map(|l| format!("{l}\n")).collect();
    }
    let text = || {
        format!("postconf {args:?}\nmain.cf:\n{main}\nmaster.cf:\n{master}\nreal {real:#?}\nours {ours:#?}\n")
    };
    (ours != real).then(text)
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl World {
    /// Compares all cases, many at a time: the real program sleeps a second after each error.
    fn finish(&self) {
        let cases = self.cases.take();
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..24 {
                let root = self.root.join(thread.to_string());
                let (cases, next, failures) = (&cases, &next, &failures);
                scope.spawn(move || {
                    std::fs::create_dir_all(root.join("c")).unwrap();
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let failure = compare(&root, case);
                        failures.lock().unwrap().extend(failure);
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap();
        assert!(
            failures.is_empty(),
            "{} of {} cases differ:\n{}",
            failures.len(),
            cases.len(),
            failures.join("\n")
        );
    }
}

/// Names whose line of `postconf -d` differs, with the reason.
fn differs() -> Vec<(&'static str, &'static str)> {
    let text = include_str!("../src/commands/postconf/differs.tsv");
    text.lines().map(|l| l.split_once('\t').expect("name, tab, reason")).collect()
}

#[test]
fn defaults_differ_only_where_listed() {
    let world = World::new("defaults");
    let debian = std::fs::read_to_string("/etc/postfix/master.cf.proto").unwrap();
    for args in [&["-d"][..], &["-df"], &["-dx"], &["-dh"], &["-dH"]] {
        let (real, ours) = world.both("", &debian, args);
        assert_eq!((ours.status, &ours.messages), (real.status, &real.messages), "{args:?}");
        if args != ["-d"] {
            continue;
        }
        let lines = |o: &Outcome| o.output.lines().map(str::to_string).collect::<BTreeSet<String>>();
        let (real, ours) = (lines(&real), lines(&ours));
        let name = |l: &str| l.split(' ').next().unwrap_or_default().to_string();
        let found: BTreeSet<String> = real.symmetric_difference(&ours).map(|l| name(l)).collect();
        let listed: BTreeSet<String> = differs().iter().map(|(n, _)| n.to_string()).collect();
        let unlisted: Vec<&String> =
            real.symmetric_difference(&ours).filter(|l| !listed.contains(&name(l))).collect();
        assert!(unlisted.is_empty(), "not in postconf/differs.tsv: {unlisted:#?}");
        let stale: Vec<&String> = listed.difference(&found).collect();
        assert!(stale.is_empty(), "in postconf/differs.tsv, but the same: {stale:?}");
        assert!(differs().iter().all(|(_, reason)| reason.len() > 10));
    }
}

const MASTER: &str = "smtp inet n - y - - smtpd -v\n  -o a=b -o { c = d e }\n# mid\n  -o e=f\npickup unix n - y 60 1 pickup\n\
smtp unix - - y - - smtp\nmaildrop  unix  -       n       n       -       -       pipe\n  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}\n";

#[test]
fn main_cf_is_shown_alike() {
    let world = World::new("main");
    let long = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let numbers: String = (1..60).map(|n| format!("{n} ")).collect();
    let texts = [
        "".to_string(),
        "myorigin = x\n# c\n\n  y\n   # d\n\tz   \n".into(),
        "myorigin = x\r\nmydomain=z\r\n".into(),
        "relay-domains = juntadeandalucia.es\n".into(),
        "myorigin=x\nmyorigin = y\n".into(),
        "  myorigin = x\nmydomain = y\n".into(),
        "foo\n".into(),
        "= y\n".into(),
        "a b = y\n".into(),
        "relay_domains = $foo-bar ${zork?a}\nfoo=1\n".into(),
        "x=1\ny=$x\nmyorigin=$y\nunused=2\n".into(),
        "smtpd_restriction_classes = a b\na = permit\nb=c\nc=1\n".into(),
        "compatibility_level = 3.6\nsmtputf8_enable = no\n".into(),
        "compatibility_level = abc\n".into(),
        "myhostname = foo\n".into(),
        "mydomain = example.org\n".into(),
        "fallback_relay = x\nvirtual_maps = y\n".into(),
        format!("relayhost={long}{long}\nmydestination=a b {long} c d\nmynetworks={numbers}\n"),
        "alias_maps = mysql:foo, proxy:ldap:bar, mysql:$baz\nfoo_hosts=1\nbar_server_host = 2\nbar_hosts=3\n\
         foo_query=4\nbaz=q\nq_dbname=z\nx_y=z\n"
            .into(),
        "smtp_destination_concurrency_limit = 3\nmaildrop_time_limit=4\nsmtp_time_limit=4\n".into(),
        "inet_interfaces = 127.0.0.1\nmynetworks_style = host\n".into(),
        "mynetworks_style = class\ninet_protocols = ipv4\n".into(),
        std::fs::read_to_string("/usr/share/postfix/main.cf.dist").unwrap(),
        std::fs::read_to_string("/usr/share/postfix/main.cf.debian").unwrap(),
        std::fs::read_to_string("/usr/share/postfix/main.cf.tls").unwrap(),
    ];
    for text in &texts {
        for args in [
            &["-n"][..],
            &["-nf"],
            &["-nx"],
            &["-nh"],
            &["-nH"],
            &["-C", "user"],
            &["-C", "service"],
            &["-n", "-C", "builtin,user"],
            &["mydomain", "myhostname", "nosuch", "mynetworks"],
            &["-x", "mydestination", "myorigin", "smtpd_relay_restrictions", "mynetworks"],
            &["-xo", "mydomain=q.example", "mydestination", "myhostname"],
            &["-fh", "mynetworks", "relayhost"],
        ] {
            world.check(text, MASTER, args);
        }
    }
    for args in [
        &["-n", "-d"][..],
        &["-h", "-H"],
        &["-Z"],
        &["-c"],
        &["-C", "foo"],
        &["-o", "x"],
        &["-d", "-o", "a=b"],
        &["-l"],
    ] {
        world.check("", "", args);
    }
    world.finish();
}

/// Each expression alone, because an error stops the program.
#[test]
fn expressions_mean_the_same() {
    let world = World::new("expand");
    for text in [
        "a${b}c",
        "$$ $$$$",
        "a$",
        "a${",
        "a${}",
        "a$-b",
        "a$(myhostname)b",
        "a$(myhostname}b",
        "${myhostname?yes}",
        "${nosuch?yes} ${nosuch:no} ${myhostname:no}|",
        "${myhostname?{a}:{b}} ${nosuch?{a}:b} ${myhostname?a:b}",
        "${ myhostname ? { a } : { b }  }",
        "${nosuch? { a b } : c d }|",
        "${nosuch:{c}:{d}}",
        "${myhostname?{a}:{b}junk}",
        "${myhostname?{a}junk}",
        "${{1} == {1}?{a}:{b}} ${{1}=={1}?a} ${{1}=={2}:a} ${{10a}<{9}?{y}:{n}}",
        "${{1} == {1}}|${{1} == {2}}|",
        "${{1} === {1}?a}|",
        "${{1} = {1}?a}|",
        "${{3.10} <level {3.9}?{y}:{n}}",
        "${{3.6} >=level {3}?{y}:{n}}${{3.6} ==level {3.6.0}?{y}:{n}}",
        "${{abc} <level {2}?{y}:{n}}",
        "${{} == {}?{empty}:{set}}",
        "${{ a } == {a}?{y}:{n}}",
        "$relayhost",
        "${a-b}|",
        "${a.b}|",
        "$a.b|",
        "$a-b|",
        "${b?yes}|${c?yes}",
        "${myhostname?}",
        "${{1} == {1} junk ? {y}}",
        "${{01} == {1} ? {y}:{n}}",
        "${a${b}?x}",
        "$(a?b) $(myhostname?b)",
        "${myhostname?${nosuch?a}b}",
        "${a?b?c}|${myhostname?b?c}|${a:b:c}",
        "${myhostname x}",
        "${{a}}",
        "${{a} == b?x}",
        "${{1.2.3.4} <level {1.2}?x:y}",
        "${{$nosuch} == {}?{x:y}:{z}}",
        "${ myhostname}|",
    ] {
        world.check(&format!("relayhost = {text}\na = 1\nb = $c\nc =\n"), "", &["-xh", "relayhost"]);
    }
    world.finish();
}

#[test]
fn master_cf_is_shown_alike() {
    let world = World::new("master");
    let debian = std::fs::read_to_string("/etc/postfix/master.cf.proto").unwrap();
    let texts = [
        MASTER,
        &debian,
        "",
        " smtp inet n - y 1? 1 smtpd\n",
        "smtp inet n - y - -\n",
        "smtp foo n - y - - smtpd\n",
        "smtp inet x - y - - smtpd\n",
        "smtp inet n - y z - smtpd\n",
        "smtp inet n - y 1? z smtpd\n",
        "smtp inet n - y - - smtpd -o\n",
        "smtp inet n - y - - smtpd -o a\n",
        "smtp inet n - y - - smtpd -o {a b}\n",
        "smtp inet n - y - - smtpd\nsmtp inet n - y - - smtpd -v\nsmtp unix - - y - - smtp\n",
        "a unix-dgram - - - - - x\nb fifo n - n 60 1 y\nc pass - - n - - z\n",
        "smtp inet n - y - - smtpd -o relayhost=$myhostname -o a=$b -o {mynetworks=$foo x}\n",
        "a inet n - y - - smtpd -v -D -o x=y -v -n foo -D -o c=d -i 5\n",
        "a inet n - y - - smtpd -ox=y -o{x=y} -vo x=y -v\n",
        "a inet n - y - - smtpd b -o x=y b c d {a b} {c d}\n",
        "01234567890 unix n - y 1000000000 10000000 smtpd\n",
        "x inet n - - - - smtpd -o smtpd_restriction_classes=f,g -o f=permit -o h=x\n",
        "a unix - - - - - spawn\nb inet n - - - - smtp\nc unix - - - - - discard\nd unix - - - - - error\n\
         e unix - - - - - /x/pipe\nf unix - - - - - local -v\ng fifo - - - - - virtual\ni pass - - - - - pipe\n",
    ];
    for text in texts {
        for args in [
            &["-M"][..],
            &["-Mf"],
            &["-Mx"],
            &["-F"],
            &["-Ff"],
            &["-Fh", "smtp"],
            &["-FH"],
            &["-P"],
            &["-Px"],
            &["-Ph"],
            &["-PH"],
            &["-M", "smtp", "nosuch"],
            &["-M", "smtp/inet"],
            &["-M", "a/b/c"],
            &["-F", "*/unix/command", "smtp/inet"],
            &["-F", "smtp/inet/foo"],
            &["-P", "*/*/a", "smtp/foo/b"],
            &["-n"],
            &["-C", "service"],
        ] {
            world.check("", text, args);
        }
    }
    for args in
        [&["-M", "-h"][..], &["-F", "-X", "a/b"], &["-P", "-#", "a/b/c"], &["-M", "-d"], &["-F", "-P"]]
    {
        world.check("", MASTER, args);
    }
    world.finish();
}

#[test]
fn edits_are_alike() {
    let world = World::new("edit");
    let main = "# top\na = 1\n  2\n# mid\n\n # in\n  3\n\nb=2\n# end\n";
    for text in [main, "", "a=1\na=2\nb = 3\n", "a=1\nfoo\nb = 3\n", "  a=1\n  b=3\nc = 1\n"] {
        for args in [
            &["-e", "a=x  y "][..],
            &["b = ", "b=3"],
            &["-X", "a"],
            &["-#", "a", "nosuch"],
            &["-e", "a b=1"],
            &["-e", "=1"],
            &["-e", "a=1\nb"],
            &["-e", "#a=1"],
            &["a=$x"],
            &["a=4", "b"],
            &["-X", "a="],
            &["-#", "a=1"],
            &["-e"],
            &["-X"],
            &["-e", "-X", "a"],
            &["-e", "{a = 5 }"],
        ] {
            world.check(text, "", args);
        }
    }
    for text in [
        MASTER,
        "smtp inet n - y - - smtpd\n",
        "# a\n\n\nsmtp inet n - y - - smtpd\n# b\n",
        "smtp inet n - y - - smtpd -o a=b -v -o a=c x\n",
    ] {
        for args in [
            &["-M", "-e", "smtp/inet=smtp inet n - n - - smtpd -o x=y -o {z = w v}"][..],
            &["-M", "new/unix=new unix - - n - - foo"],
            &["-M", "new/unix=other unix - - n - - foo -o d=e f"],
            &["-M", "new=old unix - - n - - foo"],
            &["-MX", "smtp/inet"],
            &["-MX", "*/inet"],
            &["-M#", "smtp/inet"],
            &["-M#", "smtp"],
            &["-F", "smtp/inet/chroot=n"],
            &["-F", "*/*/chroot=-", "smtp/inet/private=-"],
            &["-F", "smtp/inet/command=foo -o a=b -o {q = r s} x"],
            &["-F", "nosuch/inet/chroot=n"],
            &["-F", "smtp/inet/service=smtp2"],
            &["-P", "smtp/inet/a=new", "smtp/inet/g=h"],
            &["-P", "smtp/inet/g=has space"],
            &["-PX", "smtp/inet/a"],
            &["-PX", "smtp/inet/nosuch"],
            &["-P", "*/unix/zz=1"],
            &["-P", "smtp/inet="],
        ] {
            world.check("", text, args);
        }
    }
    world.finish();
    // A refused request leaves its temporary file behind there; here nothing changes.
    for args in [&["-M", "n/unix=n foo - - n - - x"][..], &["-F", "smtp/inet/chroot=z"]] {
        let (real, ours) = world.both("", MASTER, args);
        assert_eq!((ours.status, &ours.messages), (real.status, &real.messages));
        assert_eq!(ours.files, real.files);
        assert!(!world.root.join("c/master.cf.tmp").exists());
    }
}

#[test]
fn mode_and_symbolic_link_stay() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new("mode");
    let (main, real) = (world.root.join("c/main.cf"), world.root.join("real.cf"));
    std::fs::write(&real, "a = 1\n").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &main).unwrap();
    let done = Command::new(OURS)
        .arg0("postconf")
        .args(["-c", "c", "a=2"])
        .current_dir(&world.root)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "a = 2\n");
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(main.is_symlink());
    assert!(!world.root.join("real.cf.tmp").exists());
}
