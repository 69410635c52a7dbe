//! `valija setup` and `valija relay` as programs without a terminal: their words, exit codes, and that
//! nothing changes when something is missing or wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let dir = std::env::temp_dir().join(format!("valija-words-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        Root(dir)
    }

    /// Exit code, standard output, standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valija"));
        command.args(words).stdin(Stdio::null()).env_remove("MAIL_CONFIG");
        let out = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code().unwrap(), text(&out.stdout), text(&out.stderr))
    }

    fn setup(&self, words: &[&str]) -> (i32, String, String) {
        let mut all = vec!["setup"];
        all.extend(words);
        let root = self.0.display().to_string();
        all.extend(["--root", &root]);
        self.run(&all)
    }

    fn empty(&self) -> bool {
        std::fs::read_dir(self.0.join("etc")).unwrap().next().is_none()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_missing_or_wrong_changes_nothing() {
    let root = Root::new("missing");
    for (words, code, said) in [
        (&["--mailname", "a.example"][..], 1, "valija setup internet|smarthost|satellite|local|none"),
        (&["smarthost", "--mailname", "a.example"], 1, "still needed: --relayhost HOST"),
        (&["satellite", "--mailname", "a b", "--relayhost", "c.example"], 64, "white space"),
        (&["satellite", "--mailname", "a.example", "--relayhost", "c.example junk"], 64, "white space"),
        (
            &["satellite", "--mailname", "a.example", "--relayhost", "[c.example]:0"],
            64,
            "between 1 and 65535",
        ),
        (&["internet", "--hostname", "bad_name.example", "--mailname", "a.example"], 64, "'_'"),
        (&["internet", "--mailname", "a.example", "--networks", "0.0.0.0/0"], 1, "would not start"),
    ] {
        let (status, out, err) = root.setup(words);
        assert_eq!(status, code, "{words:?}: {out}{err}");
        assert!(err.contains(said), "{words:?}: {err}");
        assert!(root.empty(), "{words:?}");
    }
}

#[test]
fn all_words_given_nothing_is_asked() {
    let root = Root::new("given");
    let words = [
        "satellite",
        "--mailname",
        "a.example",
        "--relayhost",
        "[c.example]:587",
        "--hostname",
        "h.a.example",
    ];
    let mut dry = words.to_vec();
    dry.push("--dry-run");
    let (status, out, _) = root.setup(&dry);
    assert_eq!(status, 0);
    assert!(
        out.contains("+ relayhost = [c.example]:587") && out.ends_with("Nothing was changed (--dry-run).\n"),
        "{out}"
    );
    assert!(root.empty());
    let (status, out, err) = root.setup(&words);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    let main = std::fs::read_to_string(root.0.join("etc/postfix/main.cf")).unwrap();
    assert!(main.contains("\nmyhostname = h.a.example\n"));
    assert!(
        main.contains("\nmydestination = $myhostname, h.a.example, localhost.a.example, localhost\n"),
        "{main}"
    );
    assert!(main.contains("\ninet_interfaces = loopback-only\n"));
    let (status, out, _) = root.setup(&["satellite"]);
    assert_eq!(status, 0);
    assert!(out.contains("nothing was changed"), "{out}");
}

#[test]
fn a_relay_host_needs_a_decision_about_the_login() {
    let root = Root::new("relay");
    let dir = root.0.join("etc");
    std::fs::write(dir.join("main.cf"), "compatibility_level = 3.6\nmyhostname = h.a.example\n").unwrap();
    let config = format!("--config={}", dir.display());
    let before = listing(&dir);
    for (words, code, said) in [
        (&["relay", "set", "[127.0.0.1]:1"][..], 1, "say --user NAME"),
        (&["relay", "set", "[127.0.0.1]:1", "--password", "x"], 64, "seen by every user"),
        (
            &["relay", "set", "[127.0.0.1]:1", "--no-login"],
            1,
            "connect failed: connect to 127.0.0.1[127.0.0.1]:1: Connection refused",
        ),
        (
            &["relay", "set", "[127.0.0.1]:1", "--user", "u", "--password-file", "/nonexistent"],
            1,
            "/nonexistent: No such file",
        ),
        (&["relay", "set", "127.0.0.1", "--no-login"], 64, "brackets"),
        (&["relay", "test"], 1, "names no relay host"),
    ] {
        let mut all = words.to_vec();
        all.push(&config);
        let (status, out, err) = root.run(&all);
        assert_eq!(status, code, "{words:?}: {out}{err}");
        assert!(err.contains(said), "{words:?}: {err}");
        assert_eq!(listing(&dir), before, "{words:?}");
    }
    let (status, out, _) = root.run(&["relay", "show", &config]);
    assert_eq!(
        (status, out.as_str()),
        (0, "There is no relay host; mail for elsewhere is delivered directly.\n")
    );
}

fn listing(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let all = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let mut all: Vec<_> = all
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap_or_default()))
        .collect();
    all.sort();
    all
}
