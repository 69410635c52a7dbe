//! Tests of `pickup`.

use super::*;
use crate::intake::tests::{intake, text_of};
use proto::record::{kind, put, put_line};
use queue::MemoryStore;
use std::os::unix::fs::PermissionsExt;

struct Place {
    dir: PathBuf,
    store: Arc<MemoryStore>,
    pickup: Pickup<MemoryStore>,
}

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("valija-pickup-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("maildrop")).unwrap();
        let intake = intake("");
        let store = intake.store().clone();
        let manner = Manner {
            service: "cleanup".into(),
            content_filter: "filter:here".into(),
            overrides: Vec::new(),
            speaker: events::Source::new("postfix", "pickup", 1),
        };
        let pickup = Pickup::new(Arc::new(move || (intake.clone(), manner.clone())), dir.clone());
        Place { dir, store, pickup }
    }

    fn put(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.dir.join("maildrop").join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn pass(&self) -> Pass {
        tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(self.pickup.pass())
    }

    fn left(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.join("maildrop"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn submission() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, kind::TIME, b"1795187936 5");
    put(&mut out, kind::FULL_NAME, b"Jose Domingo");
    put(&mut out, kind::SENDER, b"jose");
    record::put_attribute(&mut out, attribute::NOTIFY_FLAGS, "2");
    put(&mut out, kind::RECIPIENT, b"usuario");
    put(&mut out, kind::CONTENT, b"");
    for line in ["Subject: x", "", "hola", "a\nb\rc\r"] {
        put_line(&mut out, line.as_bytes(), true, 3);
    }
    put(&mut out, kind::EXTRACTED, b"");
    put(&mut out, kind::RECIPIENT, b"ana@x.y");
    put(&mut out, kind::END, b"");
    out
}

#[test]
fn a_submission_becomes_a_message() {
    let place = Place::new("one");
    place.put("84B23D93530", &submission(), 0o744);
    assert_eq!(place.pass(), Pass { taken: 1, left: 0, aside: 0 });
    assert_eq!(place.left(), Vec::<String>::new());
    let (envelope, text) = text_of(&place.store);
    assert_eq!(envelope.sender.internal(), "jose@example.org");
    assert_eq!(envelope.arrival, 1_795_187_936_000_005);
    let to: Vec<_> = envelope
        .recipients
        .iter()
        .map(|r| (r.address.internal(), r.original.clone(), r.notify.success))
        .collect();
    assert_eq!(
        to,
        [
            ("usuario@example.org".to_string(), "usuario".to_string(), true),
            ("ana@x.y".to_string(), "ana@x.y".to_string(), false)
        ]
    );
    assert!(text.starts_with("Received: by mx.example.org (Postfix, from userid "), "{text}");
    assert!(text.contains("\r\nFrom: Jose Domingo <jose@example.org>\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nhola\r\na b c \r\n"), "{text:?}");
}

#[test]
fn only_whole_files_of_the_right_kind_are_taken() {
    let place = Place::new("kinds");
    let whole = submission();
    place.put("A1", &whole, 0o644);
    place.put("A2", &whole[..whole.len() - 2], 0o744);
    place.put("A3", b"hello, no records here", 0o744);
    place.put("A4", b"", 0o744);
    place.put("A5", &whole, 0o744);
    std::fs::hard_link(place.dir.join("maildrop/A5"), place.dir.join("maildrop/A6")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.dir.join("maildrop/A7")).unwrap();
    std::fs::create_dir(place.dir.join("maildrop/A8")).unwrap();
    assert_eq!(place.pass(), Pass { taken: 0, left: 4, aside: 3 });
    assert_eq!(place.left(), ["A1", "A5", "A6", "A7", "A8"]);
    assert_eq!(std::fs::read_dir(place.dir.join("valija/corrupt")).unwrap().count(), 3);
    assert_eq!(place.pass().aside, 0);
}

#[test]
fn a_probe_is_marked() {
    let place = Place::new("probe");
    let mut probe = Vec::new();
    record::put_attribute(&mut probe, attribute::TRACE_FLAGS, "512");
    probe
        .extend_from_slice(&submission()[submission().iter().position(|b| *b == kind::FULL_NAME).unwrap()..]);
    place.put("A1", &probe, 0o744);
    assert_eq!(place.pass().taken, 1);
    let (envelope, _) = text_of(&place.store);
    assert_eq!(envelope.trace, Trace::Verify);
    assert_eq!(envelope.filter.as_deref(), Some("filter:here"));
}

#[test]
fn abandoned_files_go_after_a_day() {
    let place = Place::new("abandoned");
    place.put("A1", b"T", 0o600);
    place.put("A2", b"T", 0o600);
    let old = std::time::SystemTime::now() - ABANDONED - Duration::from_secs(60);
    let file = File::options().write(true).open(place.dir.join("maildrop/A1")).unwrap();
    file.set_modified(old).unwrap();
    assert_eq!(place.pass(), Pass::default());
    assert_eq!(place.left(), ["A2"]);
}
