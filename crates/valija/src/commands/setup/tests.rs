//! What setup writes, against what Debian's package wrote for the same answers on the same host; and
//! what it keeps, asks and refuses.

use super::*;

const RECORDED: &str = include_str!("as_debian.txt");

#[derive(Default)]
struct Case {
    facts: std::collections::BTreeMap<String, String>,
    files: std::collections::BTreeMap<String, String>,
}

impl Case {
    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    fn host(&self) -> Host {
        let some = |text: &str| Some(text.to_string()).filter(|t| !t.is_empty());
        Host {
            full_name: some(self.fact("full-name")),
            host_file: some(self.fact("host-file")),
            resolver: Some(self.fact("resolver").replace('|', "\n")),
            mail_name: some(self.fact("mail-name")).map(|n| n + "\n"),
            certificate: self.fact("extra") != "nokey",
            procmail: self.fact("extra") == "procmail",
            protocols: (true, true),
        }
    }
}

fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    let mut file = String::new();
    for line in RECORDED.lines().skip_while(|l| !l.starts_with("case ")) {
        if line.starts_with("case ") {
            all.push(Case::default());
            file.clear();
        }
        let case = all.last_mut().unwrap();
        if let Some(name) = line.strip_prefix("== ") {
            file = name.to_string();
            case.files.insert(file.clone(), String::new());
        } else if let Some(text) = case.files.get_mut(&file) {
            text.push_str(line);
            text.push('\n');
        } else if let Some((name, value)) = line.split_once(' ') {
            case.facts.insert(name.to_string(), value.to_string());
        }
    }
    all
}

fn words(text: &str) -> Options {
    options::read(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>()).unwrap()
}

fn text(bytes: &Option<Vec<u8>>) -> Option<String> {
    bytes.as_ref().map(|b| String::from_utf8(b.clone()).unwrap())
}

fn nothing(_: &str) -> Option<String> {
    None
}

#[test]
fn new_files_are_those_of_the_package() {
    let all = cases();
    assert!(all.len() >= 20);
    let (head, _) = all[0].files["main.cf"].split_once("smtpd_relay_restrictions").unwrap();
    let (bare, _) = head.split_once("# TLS parameters").unwrap();
    let bare = bare.strip_suffix('\n').unwrap();
    for case in &all {
        let name = case.fact("case");
        let old = Files { mail_name: case.host().mail_name.map(String::into_bytes), ..Files::default() };
        let plan = plan::make(&words(case.fact("words")), &case.host(), &old, &nothing);
        let head = match case.fact("extra") {
            "nokey" => bare,
            _ => head,
        };
        let main = case.files.get("main.cf").map(|tail| match tail.starts_with('#') {
            true => tail.clone(),
            false => format!("{head}{tail}"),
        });
        assert_eq!(text(&plan.files.main), main, "{name}: main.cf");
        assert_eq!(text(&plan.files.mail_name), case.files.get("mailname").cloned(), "{name}: mailname");
        assert_eq!(text(&plan.files.aliases), case.files.get("aliases").cloned(), "{name}: aliases");
        assert_eq!(plan.files.master.as_deref(), Some(plan::MASTER.as_bytes()), "{name}: master.cf");
    }
}

/// The services of the golden master.cf, in its columns.
#[test]
fn master_has_debians_services() {
    let services = config::master_cf::read("master.cf", plan::MASTER).unwrap();
    let ids: Vec<String> = services.all.iter().map(|s| s.id()).collect();
    assert_eq!(ids.len(), 31, "{ids:?}");
    assert!(plan::MASTER.contains("\nsmtp      inet  n       -       y       -       -       smtpd\n"));
    let relay = services.all.iter().find(|s| s.name == "relay").unwrap();
    assert_eq!(relay.overrides.len(), 1);
    assert!(
        plan::MASTER.contains(
            "\nmailman   unix  -       n       n       -       -       pipe\n  flags=FRX user=list "
        )
    );
}

/// As an installed package has it, when there is one.
#[test]
fn master_is_the_packages_without_comments() {
    let Ok(theirs) = std::fs::read_to_string("/usr/share/postfix/master.cf.dist") else { return };
    let plain = |text: &str| -> Vec<String> {
        text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).map(str::to_string).collect()
    };
    assert_eq!(plain(plan::MASTER), plain(&theirs));
}

fn horus() -> Host {
    Host {
        full_name: Some("horus.example.org".into()),
        certificate: true,
        protocols: (true, true),
        ..Host::default()
    }
}

/// The plan for a main.cf that exists.
fn edited(main: &str, said: &str) -> (String, Vec<String>) {
    let config = Config::from_text(Path::new("/nowhere"), main).unwrap();
    let current = |name: &str| config.get(name).ok();
    let old = Files {
        main: Some(main.into()),
        mail_name: Some("example.org\n".into()),
        aliases: Some("root: jose\n".into()),
        ..Files::default()
    };
    let plan = plan::make(&words(said), &horus(), &old, &current);
    (text(&plan.files.main).unwrap(), plan.notes)
}

#[test]
fn what_exists_is_kept() {
    let main = "# mine\nmyhostname = a.example.org\nmydestination = a.example.org\n# kept\nrelayhost = old.example.net\n\
                inet_interfaces = all\nmy_macro = 1\n";
    let (new, _) = edited(main, "satellite");
    assert_eq!(new, main.replace("= all", "= loopback-only"));
    let (new, _) = edited(main, "satellite --relayhost new.example.net");
    assert_eq!(new, main.replace("= all", "= loopback-only").replace("old.", "new."));
    let (new, _) = edited(main, "internet");
    assert_eq!(new, main.replace("old.example.net", ""));
    let (new, _) = edited(main, "local");
    let closed = main.replace("= all", "= loopback-only").replace("old.example.net", "");
    assert_eq!(new, format!("{closed}default_transport = error\nrelay_transport = error\n"));
    let (back, _) = edited(&new, "internet --mailbox-limit 7 --networks 10.0.0.0/8 --delimiter -");
    assert!(back.contains("default_transport = smtp\nrelay_transport = smtp\n"), "{back}");
    assert!(
        back.ends_with("mynetworks = 10.0.0.0/8\nmailbox_size_limit = 7\nrecipient_delimiter = -\n"),
        "{back}"
    );
    let (new, _) =
        edited("default_transport = uucp:x\nmailbox_command = procmail\n", "internet --procmail no");
    assert!(new.contains("default_transport = uucp:x\nmailbox_command = \n"), "{new}");
    let (new, _) = edited("mynetworks = 10.0.0.0/8\n", "internet --networks=");
    assert!(!new.contains("mynetworks"), "{new}");
}

#[test]
fn a_new_mail_name_that_is_not_at_home_is_said() {
    let (new, notes) = edited("mydestination = a.example.org\n", "internet --mailname b.example");
    assert!(new.contains("myorigin = /etc/mailname"));
    assert!(notes.iter().any(|n| n.contains("mail for b.example is not delivered here")), "{notes:?}");
}

#[test]
fn aliases_of_root() {
    let plan = |aliases: &str, said: &str| {
        let old = Files { aliases: Some(aliases.into()), ..Files::default() };
        let plan = plan::make(&words(said), &horus(), &old, &nothing);
        (text(&plan.files.aliases).unwrap(), plan.notes.len())
    };
    assert_eq!(plan("a: b", "internet --root-mail jose"), ("a: b\nroot:\tjose\n".into(), 0));
    assert_eq!(plan("root: jose\n", "internet --root-mail jose"), ("root: jose\n".into(), 0));
    assert_eq!(plan("root: ana\n", "internet --root-mail jose"), ("root: ana\n".into(), 1));
    assert_eq!(plan("a: b\n", "internet"), ("a: b\n".into(), 1));
}

fn dialogue(input: &str, said: &str) -> Result<(Options, String), String> {
    let (mut input, mut output) = (input.as_bytes(), Vec::new());
    let mut options = match said {
        "" => Options::default(),
        said => words(said),
    };
    let mut asker = Asker::new(&mut input, &mut output);
    ask(&mut asker, &mut options, &horus(), &Files::default(), &nothing)?;
    Ok((options, String::from_utf8(output).unwrap()))
}

#[test]
fn questions() {
    let (options, shown) = dialogue("satelite\nsatellite\na b\nexample.org\n\njose\n", "").unwrap();
    assert_eq!(options.kind, Some(Type::Satellite));
    assert_eq!(options.mail_name.as_deref(), Some("example.org"));
    assert_eq!(options.relay_host.as_deref(), Some("smtp.example.org"));
    assert_eq!(options.root_mail.as_deref(), Some("jose"));
    for line in [
        "satellite  Satellite system: ",
        "no type of system",
        "contains white space",
        "Mail name [horus.example.org]: ",
        "Relay host [smtp.example.org]: ",
    ] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    let all = "smarthost --mailname a.b --relayhost c.d --root-mail e";
    let (_, shown) = dialogue("", all).unwrap();
    assert_eq!(shown, "", "nothing is asked when all is given");
    assert!(dialogue("", "local").unwrap_err().contains("the input ended"));
    assert_eq!(dialogue("", "none").unwrap().1, "");
}

#[test]
fn missing_words_are_named() {
    let lacks = |said: &str, host: &Host| {
        let options = if said.is_empty() { Options::default() } else { words(said) };
        complete(&options, host, &Files::default(), &nothing).err()
    };
    assert!(lacks("", &horus()).unwrap().contains("internet|smarthost|satellite|local|none"));
    assert!(
        lacks("satellite", &horus()).unwrap().contains("--relayhost HOST (or --yes for smtp.example.org)")
    );
    assert_eq!(lacks("satellite --yes", &horus()), None);
    assert_eq!(lacks("internet", &horus()), None);
    let nameless = Host { full_name: Some("vm".into()), ..horus() };
    assert!(lacks("internet", &nameless).unwrap().contains("--mailname NAME"));
    assert_eq!(lacks("none", &nameless), None);
}

#[test]
fn what_would_not_start_is_not_written() {
    let places = Places::of(&Options::default()).unwrap();
    let of = |said: &str| faults(&places, &plan::make(&words(said), &horus(), &Files::default(), &nothing));
    assert_eq!(of("internet --mailname example.org"), [""; 0]);
    let open = of("internet --mailname example.org --networks 0.0.0.0/0");
    assert!(open.iter().any(|f| f.contains("mynetworks")), "{open:?}");
}

#[test]
fn files_below_another_root() {
    let root = std::env::temp_dir().join(format!("valija-setup-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let run = |said: &str| go(words(&format!("{said} --root {}", root.display())));
    run("satellite --mailname example.org --relayhost mail.example.net --root-mail jose --dry-run").unwrap();
    assert!(!root.join("etc/postfix").exists(), "a dry run writes nothing");
    run("satellite --mailname example.org --relayhost mail.example.net --root-mail jose").unwrap();
    let main = || std::fs::read_to_string(root.join("etc/postfix/main.cf")).unwrap();
    assert!(main().contains("relayhost = mail.example.net\n"));
    assert_eq!(std::fs::read_to_string(root.join("etc/mailname")).unwrap(), "example.org\n");
    assert!(std::fs::read_to_string(root.join("etc/aliases")).unwrap().ends_with("root:\tjose\n"));
    let before = main();
    run("satellite").unwrap();
    assert_eq!(main(), before, "the same again changes nothing");
    run("local").unwrap();
    assert!(main().contains("default_transport = error\n"));
    let copies = std::fs::read_dir(root.join("etc/postfix")).unwrap();
    let copies = copies.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".before-"));
    assert_eq!(copies.count(), 1);
    std::fs::write(root.join("etc/postfix/main.cf"), "wrong\n").unwrap();
    assert!(run("internet").unwrap_err().contains("main.cf has faults"));
    std::fs::remove_dir_all(&root).unwrap();
}

/// What the files of each type are worth: they start, and whatever is not obeyed says what to do.
#[test]
fn check_is_honest_about_each_type() {
    for kind in ["internet", "smarthost", "satellite", "local"] {
        let root = std::env::temp_dir().join(format!("valija-setup-{kind}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let plan = plan::make(&words(kind), &horus(), &Files::default(), &nothing);
        let name = root.join("mailname");
        std::fs::write(&name, plan.files.mail_name.unwrap()).unwrap();
        let main = String::from_utf8(plan.files.main.unwrap()).unwrap();
        std::fs::write(root.join("main.cf"), main.replace("/etc/mailname", name.to_str().unwrap())).unwrap();
        std::fs::write(root.join("master.cf"), plan.files.master.unwrap()).unwrap();
        let report = check::look(&root);
        let odd = report.odd();
        assert!(odd.iter().all(|l| !l.starts_with("refused") && !l.starts_with("notice")), "{kind}: {odd:?}");
        assert!(odd.iter().all(|l| l.matches(": ").count() >= 3), "{kind}: {odd:?}");
        assert!(!report.summary().starts_with("this configuration"), "{kind}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
