//! `postmap`, `postalias` and `newaliases` against those of an installed Postfix: same answers, same
//! words, same exit codes. The order of
//! rows is the text's here, and a missing `hash:` table is missing its text, not its `.db`: neither is
//! compared.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MAP: &str = "  leading x\nk1 v1\n# c\n   cont\n\n  cont2\n\"a \\\"b\" v2\n\"unterminated v3\n\
    \"x\"y v4\nk5\t\tv5  \n\"k6\" v6\nMÁ v9\n\"\" v10\n:k v11\nk12:v12\nk13 : v13\n k\ndup 1\nDUP 2\nlast v";
const ALIAS: &str = "  leading: x\nk1: v1\n# c\n   cont\n\n  cont2\n\"a \\\"b\": v2\n\"unterminated: v3\n\
    k5  :\tv5  \n\"k6\": v6\nMÁ: v9\n:k v11\nk12:v12\nk13 v13\nk14:\n\
    k15: \"a b\" , c d, \"|cmd x, y\", :include:/x\nk16@dom: x\na b: x\n\
    k17: (comment) v, <u@d>, Name <x@y>\nk19: g:a,b;\nK20: v20 # foo\nk21: a:b\n\
    owner-x: \"/file name\"\nk23: a,,b\nk24: \\a\ndup: 1\nDup: 2\nlast:v";
const REGEXP: &str = "/^a(b)c$/  x$1y${1}z$(1)$$\n/foo/i  case\n!/bar/ notbar\nif /bar/\n/barx/ inner\n\
    if !/q/\n/bary/x bary\nendif\nendif\nbad\n/nores/\n/bar$/z flag\n%ab%m  pct\n\
    /(x)?b/ opt${1}\n/n/ $2\nendif\n/ok/ $1x\n/p\\/q/ sl\nif /x\n";
const CIDR: &str = "10.0.0.0/8 ten\n10.1.0.0/8 badbits\n!192.168.0.0/16 notprivate\nif 192.168.1.0/24\n\
    192.168.1.7 seven\nendif\n2001:db8::/32 six\n[::1] lo\n300.1.1.1 bad\n1.2.3.4/33 bad\nfoo bar\n10.2\n\
    ::/0 any6\n0.0.0.0/0 any\nendif\nif 1.2.3.4\n";

struct Case<'a> {
    words: &'a [&'a str],
    input: &'static str,
}

const fn case(words: &'static [&'static str]) -> Case<'static> {
    Case { words, input: "" }
}

/// In this order, because later ones need what these make.
const BUILDS: &[Case] = &[
    case(&["postmap", "hash:map"]),
    case(&["postmap", "btree:map"]),
    case(&["postmap", "cdb:map"]),
    case(&["postmap", "lmdb:map"]),
    case(&["postmap", "map"]),
    case(&["postalias", "hash:alias"]),
    case(&["postalias", "cdb:alias"]),
];

/// All at once: Postfix sleeps for a second before it gives up.
const QUESTIONS: &[Case] = &[
    case(&["postmap", "texthash:map"]),
    case(&["postmap", "regexp:map"]),
    case(&["postmap", "nosuch:map"]),
    case(&["postmap", "hash:missing"]),
    case(&["postmap"]),
    case(&["postmap", "-Z", "x"]),
    case(&["postmap", "-q"]),
    case(&["postmap", "-q", "x"]),
    case(&["postmap", "-q", "a", "-d", "b", "hash:map"]),
    case(&["postmap", "-hq", "x", "static:a"]),
    case(&["postmap", "-q", "k1", "cdb:map"]),
    case(&["postmap", "-q", "K1", "cdb:map"]),
    case(&["postmap", "-f", "-q", "K1", "cdb:map"]),
    case(&["postmap", "-q", "absent", "cdb:map", "static:found"]),
    case(&["postmap", "-q", "", "cdb:map"]),
    Case { words: &["postmap", "-q", "-", "cdb:map"], input: "K1\nabsent\ndup\nMÁ\n\"a \\\"b\"\n:k\nk13\n" },
    Case { words: &["postmap", "-q", "-", "texthash:map"], input: "K1\nabsent\ndup\n" },
    Case { words: &["postmap", "-q", "-", "cdb:map"], input: "absent\n" },
    case(&["postmap", "-q", "x", "nosuch:map"]),
    case(&["postmap", "-q", "x", "regexp:missing"]),
    case(&["postmap", "-q", "x", "texthash:missing"]),
    case(&["postmap", "-q", "x", "static:foo"]),
    case(&["postmap", "-q", "x", "static:{ a b }"]),
    case(&["postmap", "-q", "x", "static:"]),
    case(&["postmap", "-q", "c", "inline:{a=b, { c = d e }}"]),
    case(&["postmap", "-q", "c", "inline:{a}"]),
    case(&["postmap", "-q", "c", "inline:{}"]),
    case(&["postmap", "-q", "x", "unionmap:{static:a,static:b,inline:{y=z}}"]),
    case(&["postmap", "-q", "x", "pipemap:{inline:{x=y},inline:{y=z}}"]),
    case(&["postmap", "-q", "x", "randmap:{a,a}"]),
    case(&["postmap", "-q", "x", "randmap:{}"]),
    case(&["postmap", "-q", "x", "fail:x"]),
    case(&["postmap", "-q", "ROOT", "unix:passwd.byname"]),
    case(&["postmap", "-q", "root", "unix:group.byname"]),
    case(&["postmap", "-q", "root", "unix:foo"]),
    Case {
        words: &["postmap", "-q", "-", "regexp:regexp"],
        input: "abc\nFOO\nxbarx\nbary\nbarb\nbarw\nbar12\np/q bar\nbarn\n",
    },
    Case { words: &["postmap", "-q", "-", "pcre:regexp"], input: "abc\nFOO\nxbarx\nbary\nbarb\n" },
    Case {
        words: &["postmap", "-q", "-", "cidr:cidr"],
        input: "10.3.4.5\n192.168.1.7\n192.168.1.8\n2001:db8::1\n::1\nfoo\n1.1.1.1\n",
    },
    case(&["postmap", "-s", "static:a"]),
    case(&["postmap", "-d", "k1", "texthash:map"]),
    case(&["postmap", "-d", "k1", "cdb:map"]),
    Case { words: &["postmap", "-i", "cdb:map"], input: "a b\n" },
    Case {
        words: &["postmap", "-h", "-q", "-", "regexp:{{/(.*)/ [$1]}}"],
        input: "A: x\n  y\nB: z\n\nbody\n",
    },
    Case {
        words: &["postmap", "-b", "-q", "-", "regexp:{{/(.*)/ [$1]}}"],
        input: "A: x\n  y\nB: z\n\nbody\n",
    },
    Case {
        words: &["postalias", "-q", "-", "cdb:alias"],
        input: "K1\na \"b\nk5\nk6\nMÁ\nk12\nk15\na b\nk17\nk19\nk20\nk21\nowner-x\nk23\nk24\ndup\nlast\n",
    },
    case(&["postalias", "-q", "last", "cdb:alias"]),
    case(&["postalias", "-b", "cdb:alias"]),
    case(&["postalias", "hash:missing"]),
];

/// In this order.
const EDITS: &[Case] = &[
    case(&["postmap", "hash:edit"]),
    Case { words: &["postmap", "-i", "hash:edit"], input: "new row\nK1 again\nbad\n" },
    Case { words: &["postmap", "-i", "-r", "hash:edit"], input: "k1 replaced\n" },
    Case { words: &["postmap", "-i", "-w", "hash:edit"], input: "k1 ignored\n" },
    Case { words: &["postmap", "-q", "-", "hash:edit"], input: "k1\nnew\nk2\n" },
    case(&["postmap", "-d", "K2", "hash:edit"]),
    case(&["postmap", "-d", "k2", "hash:edit"]),
    Case { words: &["postmap", "-q", "-", "hash:edit"], input: "k1\nnew\nk2\n" },
    case(&["newaliases"]),
];

fn run(program: &Path, name: &str, dir: &Path, case: &Case) -> (String, String, Option<i32>) {
    let mut command = Command::new(program);
    if program.ends_with("valija") {
        command.arg(name);
    }
    let mut child = command
        .args(&case.words[1..])
        .current_dir(dir)
        .env("MAIL_CONFIG", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(case.input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).replace(&dir.display().to_string(), "DIR");
    (text(out.stdout), text(out.stderr), out.status.code())
}

fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("valija-postmap-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("queue")).unwrap();
    let path = dir.display();
    let main = format!(
        "compatibility_level = 3.7\nqueue_directory = {path}/queue\nalias_database = hash:{path}/alias\n\
         maillog_file = {path}/log\nmaillog_file_prefixes = {path}\nmyhostname = host.example\n"
    );
    std::fs::write(dir.join("main.cf"), main).unwrap();
    let _ = std::fs::copy("/etc/postfix/dynamicmaps.cf", dir.join("dynamicmaps.cf"));
    let _ = std::fs::copy("/etc/postfix/master.cf", dir.join("master.cf"));
    let edit = "# comment\nk1 v1\nk2 v2\n  more\nk3 v3";
    for (file, text) in [("map", MAP), ("alias", ALIAS), ("regexp", REGEXP), ("cidr", CIDR), ("edit", edit)] {
        std::fs::write(dir.join(file), text).unwrap();
    }
    dir
}

#[test]
fn as_postfix_answers() {
    let real = Path::new("/usr/sbin/postmap");
    let is_ours = std::fs::canonicalize(real).is_ok_and(|p| p.ends_with("valija"));
    if !real.exists() || is_ours {
        assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "this test needs the package postfix");
        eprintln!(
            "\n*** NOT TESTED: this test compares with a real Postfix; install the package postfix ***\n"
        );
        return;
    }
    let (here, there) = (directory("here"), directory("there"));
    let compare = |case: &Case| {
        let name = case.words[0];
        let program = match name {
            "newaliases" => PathBuf::from("/usr/bin/newaliases"),
            name => Path::new("/usr/sbin").join(name),
        };
        let theirs = run(&program, name, &there, case);
        if theirs.1.contains("package installed?") && !case.words[1].starts_with("nosuch") {
            assert!(
                std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(),
                "install postfix-cdb, -lmdb and -pcre"
            );
            eprintln!("\n*** NOT TESTED: {:?}: install postfix-cdb, -lmdb and -pcre ***\n", case.words);
            return String::new();
        }
        let ours = run(Path::new(env!("CARGO_BIN_EXE_valija")), name, &here, case);
        if ours == theirs {
            return String::new();
        }
        format!("{:?}\n ours   {ours:?}\n theirs {theirs:?}\n", case.words)
    };
    let mut differences: String = BUILDS.iter().map(compare).collect();
    differences.extend(std::thread::scope(|scope| {
        let all: Vec<_> = QUESTIONS.iter().map(|case| scope.spawn(|| compare(case))).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    }));
    differences.extend(EDITS.iter().map(compare));
    assert!(differences.is_empty(), "\n{differences}");
    // Postfix finds in the compiled files what it finds in its own.
    for (program, table) in [("postmap", "hash:map"), ("postmap", "btree:map"), ("postalias", "hash:alias")] {
        // Both kinds of `map` have one compiled file: it is made anew for each.
        let build = Case { words: &[program, table], input: "" };
        for (dir, binary) in [
            (&here, PathBuf::from(env!("CARGO_BIN_EXE_valija"))),
            (&there, Path::new("/usr/sbin").join(program)),
        ] {
            run(&binary, program, dir, &build);
        }
        let rows = |dir: &Path| {
            let list = Case { words: &[program, "-s", table], input: "" };
            let (said, _, status) = run(&Path::new("/usr/sbin").join(program), program, dir, &list);
            let mut rows: Vec<String> =
                said.lines().filter(|l| !l.starts_with("YP_LAST_MODIFIED")).map(str::to_string).collect();
            rows.sort();
            (rows, status)
        };
        let (ours, theirs) = (rows(&here), rows(&there));
        assert!(ours.0.len() > 5 && ours == theirs, "{table}\n ours   {ours:?}\n theirs {theirs:?}");
        let find = Case { words: &[program, "-q", "dup", table], input: "" };
        assert_eq!(run(&Path::new("/usr/sbin").join(program), program, &here, &find).0, "1\n", "{table}");
    }
    let edited = std::fs::read_to_string(here.join("edit")).unwrap();
    assert_eq!(edited, "# comment\nk1\treplaced\nk3 v3\nnew\trow\n");
    for dir in [here, there] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}
