//! Whole deliveries to virtual mailboxes. As root they are made as a user of their own number, else as the caller.

use super::{Delivered, MESSAGE, World};
use proptest::prelude::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

/// Whose mailboxes they are where root runs the tests: nobody's else.
const OWNER: u32 = 4242;

fn owner() -> u32 {
    let own = sys::users::identities().euid;
    if own == 0 { OWNER } else { own }
}

/// A world with this table of mailboxes.
pub(super) fn world(name: &str, rows: &str) -> World {
    let mut w = World::new(&format!("virtual-{name}"));
    let (at, uid) = (w.root.display().to_string(), owner());
    w.master_cf = "virtual unix - n n - - virtual\n".into();
    w.main_cf.push_str(&format!(
        "virtual_mailbox_base = {at}/v\nvirtual_mailbox_maps = inline:{{{rows}}}\n\
         virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{uid}\nvirtual_minimum_uid = 1\n"
    ));
    std::fs::create_dir(w.root.join("v")).unwrap();
    if uid == OWNER {
        chown(w.root.join("v"), Some(uid), Some(uid)).unwrap();
    }
    w
}

fn deliver(w: &World, to: &str, more: &str) -> Delivered {
    w.run(&w.job(to, "virtual"), MESSAGE, more)
}

fn probe(w: &World, to: &str, more: &str) -> Delivered {
    w.run(&proto::job::Job { probe: true, ..w.job(to, "virtual") }, MESSAGE, more)
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn addresses_are_looked_up_in_order() {
    let w = world(
        "order",
        "u@v.org=u/, u+x@v.org=ux, @v.org=all/, alone=local, {\"a b\"@w.org = quoted/}, w@w.org=w",
    );
    for (to, answer) in [
        ("u@v.org", "maildir"),
        ("U+X@V.ORG", "mailbox"),
        ("u+y@v.org", "maildir"),
        ("any+x@v.org", "maildir"),
        ("w+x@w.org", "mailbox"),
        // mydestination: the local part alone will do.
        ("alone@example.org", "mailbox"),
        ("alone+x@example.org", "mailbox"),
    ] {
        probe(&w, to, "").is(&[&format!("{to}: 2.0.0 delivers to {answer}")]);
    }
    probe(&w, "a b@w.org", "").is(&["\"a b\"@w.org: 2.0.0 delivers to maildir"]);
    for to in ["b@w.org", "alone@w.org", "u@sub.v.org"] {
        probe(&w, to, "").is(&[&format!("{to}: 5.1.1 unknown user: \"{to}\"")]);
    }
    assert_eq!(files(&w.root.join("v")), 0);
    probe(&w, "u+x@v.org", "recipient_delimiter =\n").is(&["u+x@v.org: 2.0.0 delivers to mailbox"]);
    let split = probe(&w, "w+x@w.org", "recipient_delimiter =\n");
    split.is(&["w+x@w.org: 5.1.1 unknown user: \"w+x@w.org\""]);
}

#[test]
fn whose_it_is_must_be_certain() {
    let w = world("owners", "@v.org=all/");
    for (more, words) in [
        ("virtual_uid_maps =\n", "recipient a@v.org: not found in virtual_uid_maps"),
        ("virtual_gid_maps =\n", "recipient a@v.org: not found in virtual_gid_maps"),
        ("virtual_uid_maps = static:0\n", "recipient a@v.org: bad uid 0 in virtual_uid_maps"),
        (
            "virtual_uid_maps = static:4294967295\n",
            "recipient a@v.org: bad uid 4294967295 in virtual_uid_maps",
        ),
        (
            "virtual_uid_maps = static:4294967296\n",
            "recipient a@v.org: bad uid 4294967296 in virtual_uid_maps",
        ),
        ("virtual_uid_maps = static:12x\n", "recipient a@v.org: bad uid 12x in virtual_uid_maps"),
        ("virtual_gid_maps = static:0\n", "recipient a@v.org: bad gid 0 in virtual_gid_maps"),
        ("virtual_minimum_uid = 4294967295\n", "in virtual_uid_maps"),
    ] {
        let refused = deliver(&w, "A@v.org", more);
        refused.is(&["A@v.org: 4.3.5 mail system configuration error"]);
        assert!(refused.log.len() == 1 && refused.log[0].contains(words), "{words}: {:?}", refused.log);
    }
    let broken = deliver(&w, "a@v.org", "virtual_uid_maps = hash:/no/such\n");
    assert!(broken.log[0].starts_with("table virtual_uid_maps: lookup a@v.org: "), "{:?}", broken.log);
    assert_eq!(files(&w.root.join("v")), 0);
}

#[test]
fn a_configuration_that_loses_mail_delivers_none() {
    let w = world("config", "@v.org=all/");
    for (more, words) in [
        ("virtual_mailbox_limit = 1000\n", "virtual_mailbox_limit is smaller than message_size_limit"),
        ("message_size_limit = 0\n", "virtual_mailbox_limit is smaller than message_size_limit"),
        ("virtual_mailbox_base =\n", "bad string length 0 < 1: virtual_mailbox_base = "),
        ("virtual_mailbox_lock = padlock\n", "parameter virtual_mailbox_lock: unknown lock \"padlock\""),
        ("virtual_minimum_uid = 0\n", "virtual_minimum_uid"),
    ] {
        let refused = deliver(&w, "a@v.org", more);
        refused.is(&["a@v.org: 4.3.0 mail transport unavailable"]);
        assert!(refused.log[0].contains(words), "{words}: {:?}", refused.log);
    }
}

#[test]
fn what_does_not_fit_leaves_nothing_behind() {
    let w = world("limit", "box@v.org=box, dir@v.org=dir/");
    let at = w.root.display();
    deliver(&w, "box@v.org", "").is(&["box@v.org: 2.0.0 delivered to mailbox"]);
    deliver(&w, "dir@v.org", "").is(&["dir@v.org: 2.0.0 delivered to maildir"]);
    let before = std::fs::read(w.root.join("v/box")).unwrap();
    let length = MESSAGE.len();
    let tight = format!("message_size_limit = {length}\nvirtual_mailbox_limit = {length}\n");
    let full = "error writing message: File too large";
    deliver(&w, "box@v.org", &tight)
        .is(&[&format!("box@v.org: 5.2.2 delivery failed to mailbox {at}/v/box: {full}")]);
    deliver(&w, "dir@v.org", &tight).is(&[&format!("dir@v.org: 5.2.2 maildir delivery failed: {full}")]);
    assert_eq!(std::fs::read(w.root.join("v/box")).unwrap(), before);
    assert!(!w.root.join("v/box.lock").exists());
    assert_eq!((files(&w.root.join("v/dir/new")), files(&w.root.join("v/dir/tmp"))), (1, 0));
    let text = String::from_utf8(before).unwrap();
    assert!(text.contains("\nDelivered-To: box@v.org\n") && text.contains("\n>From me\n"), "{text}");
    let meta = std::fs::metadata(w.root.join("v/box")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o777), (owner(), 0o600));
}

/// Directories and links of the owner lead nowhere that the owner could not go.
#[test]
fn links_gain_nothing() {
    let w = world("links", "a@v.org=a/, b@v.org=b/, c@v.org=sub/c, d@v.org=../t/d, e@v.org=e, f@v.org=f");
    let (v, t) = (w.root.join("v"), w.root.join("t"));
    std::fs::write(t.join("victim"), "mine\n").unwrap();
    // What only root, or whoever runs this, may write: not even with the group.
    std::fs::set_permissions(t.join("victim"), std::fs::Permissions::from_mode(0o660)).unwrap();
    std::fs::set_permissions(&t, std::fs::Permissions::from_mode(0o775)).unwrap();
    symlink(&t, v.join("a")).unwrap();
    std::fs::create_dir(v.join("b")).unwrap();
    symlink(&t, v.join("b/tmp")).unwrap();
    symlink(&t, v.join("sub")).unwrap();
    symlink(t.join("victim"), v.join("e")).unwrap();
    std::fs::hard_link(t.join("victim"), v.join("f")).unwrap();
    if owner() != OWNER {
        assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "this needs root");
        return eprintln!("NOT TESTED: links in a user's directories need root");
    }
    for path in ["b", "b/tmp", "a", "sub", "e"] {
        std::os::unix::fs::lchown(v.join(path), Some(OWNER), Some(OWNER)).unwrap();
    }
    for to in ["a@v.org", "b@v.org", "c@v.org", "d@v.org", "e@v.org", "f@v.org"] {
        let refused = deliver(&w, to, "deliver_lock_attempts = 1\n");
        assert!(refused.lines()[0].starts_with(&format!("{to}: 4.2.0 ")), "{:?}", refused.lines());
    }
    assert_eq!((files(&t), w.read("t/victim").as_str()), (1, "mine\n"));
}

#[test]
fn patterns_do_not_substitute() {
    let w = world("patterns", "");
    let at = w.root.display();
    w.write("pattern", "/^(.*)@v.org$/ $1/\n");
    let refused = probe(&w, "../../etc@v.org", &format!("virtual_mailbox_maps = regexp:{at}/pattern\n"));
    refused.is(&["\"../../etc\"@v.org: 5.1.1 unknown user: \"../../etc@v.org\""]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_address_has_an_answer(local in ".{0,30}", domain in "[a-zA-Z.\\[\\]:0-9é]{0,20}") {
        let w = world("any", "x@y=z");
        let lines = probe(&w, &format!("{local}@{domain}"), "").lines();
        prop_assert!(lines.len() == 1 && lines[0].contains("5.1.1 unknown user"), "{lines:?}");
    }
}
