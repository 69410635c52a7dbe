//! Tests of `indexed`.

use crate::*;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A directory of a test's own, gone at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("valija-indexed-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn value(table: &str, key: &str) -> Option<String> {
    let types = Types::builder().build();
    types.open(table).unwrap().lookup(key).unwrap().map(|h| h.value)
}

#[test]
fn rows_know_their_line_and_the_first_of_two_wins() {
    let dir = Dir::new("rows");
    let path = dir.write("t", b"# c\nFoo@Example.org   bar  baz\n  more  \n\ndup 1\nDUP 2\nbad\n");
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let types = Types::builder().notices(move |n| heard.lock().unwrap().push(n.to_string())).build();
    let table = types.open(&format!("hash:{path}")).unwrap();
    let hit = table.lookup("foo@EXAMPLE.org").unwrap().unwrap();
    assert_eq!((hit.value.as_str(), hit.place.1), ("bar  baz  more", Some(2)));
    assert_eq!(table.lookup("dup").unwrap().unwrap().value, "1");
    assert_eq!(table.lookup("").unwrap(), None);
    assert_eq!(
        *said.lock().unwrap(),
        [
            format!("{path}, line 7: expected format: key whitespace value -- ignoring this line"),
            format!("{path}, line 6: duplicate entry: \"DUP\"")
        ]
    );
    assert_eq!(table.rows().unwrap().unwrap().len(), 2);
}

#[test]
fn alias_texts_are_read_as_such_wherever_they_are_named() {
    let dir = Dir::new("alias");
    let path = dir.write("a", b"root: jose\nVentas: usuario,  alumno\nrobot: \"|/bin/x a, b\"\n");
    let table = format!("hash:{path}");
    assert_eq!(value(&table, "ventas").as_deref(), Some("usuario, alumno"));
    assert_eq!(value(&table, "robot").as_deref(), Some("\"|/bin/x a, b\""));
    let one = dir.write("one", b"x y: z\na b\n");
    let types = Types::builder().alias_tables([format!("proxy:hash:{one}")]).build();
    assert_eq!(types.open(&format!("hash:{one}")).unwrap().lookup("x y").unwrap().unwrap().value, "z");
}

#[test]
fn compiled_files_serve_where_the_text_is_gone() {
    let dir = Dir::new("compiled");
    dir.write("h.db", include_bytes!("../../tests/fixtures/hash.db"));
    dir.write("c.cdb", include_bytes!("../../tests/fixtures/plain.cdb"));
    dir.write("n.cdb", include_bytes!("../../tests/fixtures/nul.cdb"));
    dir.write("l.lmdb", b"whatever");
    let name = |kind: &str, file: &str| format!("{kind}:{}", dir.0.join(file).display());
    assert_eq!(value(&name("hash", "h"), "Key59@example.org").as_deref(), Some("value59"));
    assert_eq!(value(&name("cdb", "c"), "key59@example.org").as_deref(), Some("value59"));
    assert_eq!(value(&name("cdb", "n"), "a").as_deref(), Some("b"));
    let types = Types::builder().build();
    let error = types.open(&name("lmdb", "l")).unwrap().lookup("x").unwrap_err();
    assert!(error.what.contains("without its text") && error.remedy.contains("postmap -s"));
    let missing = types.open(&name("hash", "missing")).unwrap();
    assert!(missing.lookup("x").unwrap_err().what.ends_with("No such file or directory"));
    dir.write("missing", b"x y\n");
    missing.refresh();
    assert_eq!(missing.lookup("x").unwrap().unwrap().value, "y");
    dir.write("h", b"only this\n");
    assert_eq!(value(&name("hash", "h"), "key59@example.org"), None);
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for grammar in [Grammar::Map, Grammar::Alias, Grammar::Auto] {
            let _ = text::parse(&bytes, grammar);
        }
        let _ = cdb::get(&bytes, b"x");
        let _ = cdb::records(&bytes).count();
        let _ = cdb::is_sound(&bytes);
    }

    #[test]
    fn structured_text_neither(text in "([a\"\\\\ :,#@(<>)!/$if\n\t]|endif|\\{1\\})*") {
        for grammar in [Grammar::Map, Grammar::Alias, Grammar::Auto] {
            let _ = text::parse(text.as_bytes(), grammar);
        }
        let types = Types::builder().build();
        for kind in ["regexp", "cidr", "inline", "static"] {
            let rules: String = text.lines().map(|l| format!("{{{l}}}, ")).collect();
            if let Ok(table) = types.open(&format!("{kind}:{{{rules}}}")) {
                let _ = table.lookup("a@:a");
            }
        }
        let list = split_list(&text);
        let _ = matchlist::AddressList::open(&types, "x", &list, true);
    }

    #[test]
    fn damaged_cdb_files_do_no_harm(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        key in 0u32..60,
    ) {
        let mut bytes = include_bytes!("../../tests/fixtures/plain.cdb").to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = cdb::get(&bytes, format!("key{key}@example.org").as_bytes());
        let _ = cdb::records(&bytes).count();
    }
}

#[test]
fn rows_that_only_the_compiled_file_has_are_reported() {
    let dir = Dir::new("behind");
    let rows: Vec<String> = crate::bdb::rows(include_bytes!("../../tests/fixtures/hash.db"))
        .unwrap()
        .into_iter()
        .map(|(k, _)| String::from_utf8(k.strip_suffix(b"\0").unwrap_or(&k).to_vec()).unwrap())
        .collect();
    let text =
        |without: &str| rows.iter().filter(|k| *k != without).map(|k| format!("{k} v\n")).collect::<String>();
    let said = |without: &str, db_age: u64| {
        let path = dir.write("t", text(without).as_bytes());
        let db = dir.write("t.db", include_bytes!("../../tests/fixtures/hash.db"));
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(db_age);
        std::fs::File::options().write(true).open(db).unwrap().set_modified(then).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let types = Types::builder().notices(move |n| heard.lock().unwrap().push(n.to_string())).build();
        let table = types.open(&format!("hash:{path}")).unwrap();
        assert_eq!(table.lookup(without).unwrap(), None);
        said.lock().unwrap().clone()
    };
    assert_eq!(said("none", 0), [""; 0]);
    let about = said("key7@example.org", 0);
    assert!(about.len() == 1 && about[0].contains("t.db: 1 row(s) are not in the text"), "{about:?}");
    assert!(about[0].contains("\"key7@example.org\"") && about[0].contains("postmap -s hash:"));
    // The text was edited after the last postmap.
    assert_eq!(said("key7@example.org", 60), [""; 0]);
}
