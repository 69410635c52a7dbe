//! What master.cf lines mean.

use super::*;
use proptest::prelude::*;

fn one(text: &str) -> Service {
    read("master.cf", text).unwrap().all.pop().unwrap()
}

#[test]
fn columns_settings_and_arguments() {
    let s = one("127.0.0.1:smtp inet n - y 60? 5 smtpd -v -o a=b -o { c = d e }\n  # x\n  -o x=$y\n");
    assert_eq!((s.name.as_str(), s.kind, s.command(), s.line), ("127.0.0.1:smtp", Kind::Inet, "smtpd", 1));
    assert_eq!(s.argv, ["smtpd", "-v"]);
    let pair = |n: &str, v: &str| (n.to_string(), v.to_string());
    assert_eq!(s.overrides, [pair("a", "b"), pair("c", "d e"), pair("x", "$y")]);
    assert!(!s.private() && s.unprivileged());
    assert_eq!((s.wakeup(), s.process_limit()), ((60, true), Some(5)));
    assert_eq!(s.listen(), Some(Listen { host: Some("127.0.0.1".into()), port: "smtp".into() }));
}

#[test]
fn commands_keep_their_own_options_and_macros() {
    let s = one(
        "dovecot unix - n n - - pipe\n  flags=DRhu user=email:email argv=/usr/lib/deliver -o x=y -d ${recipient} {a b}\n",
    );
    assert_eq!(
        s.argv,
        [
            "pipe",
            "flags=DRhu",
            "user=email:email",
            "argv=/usr/lib/deliver",
            "-o",
            "x=y",
            "-d",
            "${recipient}",
            "a b"
        ]
    );
    assert_eq!((s.process_limit(), s.wakeup(), s.private()), (None, (0, false), true));
    assert!(s.overrides.is_empty() && s.listen().is_none());
}

#[test]
fn addresses() {
    for (name, host, port) in [
        ("25", None, "25"),
        ("[::1]:smtp", Some("::1"), "smtp"),
        ("::1:25", Some("::1"), "25"),
        (":25", None, "25"),
    ] {
        let expected = Listen { host: host.map(str::to_string), port: port.to_string() };
        assert_eq!(listen(name), Some(expected), "{name}");
    }
    assert_eq!(listen("[::1"), None);
    assert_eq!(listen("host:"), None);
}

#[test]
fn errors_name_file_line_and_remedy() {
    let text = "a unix\nb unix - - - - -\nc foo - - - - - x\nd inet y - - - - x\ne unix x - - - - x\n\
                f unix - - - z - x\ng unix - - - - -1 x\n";
    let errors = read("/etc/postfix/master.cf", text).unwrap_err();
    assert_eq!(errors.len(), 7);
    let lines: Vec<usize> = errors.iter().filter_map(|p| p.place.as_ref().map(|(_, l)| *l)).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7]);
    let third = errors[2].to_string();
    assert!(third.starts_with("/etc/postfix/master.cf, line 3: "), "{third}");
    assert!(third.contains("invalid type field \"foo\"") && third.contains("unix-dgram"), "{third}");
}

#[test]
fn odd_lines_are_warnings_and_the_last_entry_counts() {
    let text =
        "  x unix - - - - - y\na unix - - - - - b -o\nc unix - - - - - d -o {e f}\na unix - - - - - z\n";
    // The first line begins with white space and continues nothing; it has no effect.
    let services = read("master.cf", text).unwrap();
    let names: Vec<(&str, &str)> = services.all.iter().map(|s| (s.name.as_str(), s.command())).collect();
    assert_eq!(names, [("c", "d"), ("a", "z")]);
    assert_eq!(services.warnings.len(), 4, "{:?}", services.warnings);
}

#[test]
fn settings_lie_over_main_cf() {
    let main = Config::from_text(Path::new("/nowhere"), "relayhost = a\nmua = reject\n").unwrap();
    let s = one("sub inet n - y - - smtpd -o syslog_name=postfix/$service_name -o relayhost=$mua\n");
    let own = s.config(&main);
    assert_eq!(own.get("syslog_name").unwrap(), "postfix/sub");
    assert_eq!(own.get("relayhost").unwrap(), "reject");
    assert_eq!(own.get("process_name").unwrap(), "smtpd");
    assert!(s.chroot(&main));
    let dash = one("x unix - - - - - y\n");
    assert!(dash.chroot(&main) && !dash.chroot(&main.with([("compatibility_level", "3.6")])));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-c{}\\-o=# \t\n$é:]{0,120}") {
        let _ = read("master.cf", &text);
    }
    #[test]
    fn no_arguments_panic(text in "[a-c{}\\-o=# \t$é]{0,80}") {
        let _ = read("master.cf", &format!("a unix - - - - - {text}"));
    }
}
