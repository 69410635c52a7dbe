//! Tests of `live`.

use super::*;
use crate::Types;
use std::sync::Mutex as StdMutex;
use std::time::Duration;

struct Case {
    path: PathBuf,
    live: Live<String>,
    said: Arc<StdMutex<Vec<String>>>,
}

impl Case {
    fn new(name: &str, text: &str) -> Case {
        let path = std::env::temp_dir().join(format!("valija-live-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let said = Arc::new(StdMutex::new(Vec::new()));
        let heard = said.clone();
        let types = Types::builder().notices(move |n| heard.lock().unwrap().push(n.to_string())).build();
        let parse: Parse<String> = Box::new(|_, bytes| {
            let value = String::from_utf8_lossy(bytes).into_owned();
            let clean = !value.contains("bad");
            Ok(Content { faults: if clean { vec![] } else { vec!["it is bad".into()] }, clean, value })
        });
        let live = Live::open(&types, "t:x", vec![(path.clone(), parse)]);
        Case { path, live, said }
    }

    /// Writes a text whose age is `age`, or which is being written if that is zero.
    fn write(&self, text: &str, age: u64) {
        let file = File::create(&self.path).unwrap();
        std::fs::write(&self.path, text).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        if age > 0 {
            file.set_modified(time).unwrap();
        }
    }

    fn now(&self) -> String {
        self.live.check(false);
        self.live.get().unwrap().to_string()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn a_text_that_is_being_written_waits_and_refresh_does_not() {
    let case = Case::new("wait", "one");
    assert_eq!(case.now(), "one");
    case.write("two", 0);
    assert_eq!(case.now(), "one");
    case.live.refresh();
    assert_eq!(case.now(), "two");
}

#[test]
fn a_still_or_finished_text_is_adopted() {
    let case = Case::new("still", "one");
    case.write("two", 10);
    assert_eq!(case.now(), "two");
}

#[test]
fn a_bad_text_keeps_the_last_good_one_and_says_so_once() {
    let case = Case::new("bad", "one");
    case.write("bad", 10);
    assert_eq!(case.now(), "one");
    assert_eq!(case.now(), "one");
    assert_eq!(case.said.lock().unwrap().len(), 1);
    assert!(case.said.lock().unwrap()[0].starts_with("it is bad; the rows read before stay in use"));
    case.live.refresh();
    assert_eq!(case.now(), "bad");
    case.write("good", 10);
    assert_eq!(case.now(), "good");
}

#[test]
fn a_text_that_vanishes_stays_in_use() {
    let case = Case::new("gone", "one");
    std::fs::remove_file(&case.path).unwrap();
    assert_eq!(case.now(), "one");
    assert_eq!(case.said.lock().unwrap().len(), 1);
    case.write("two", 10);
    assert_eq!(case.now(), "two");
}

#[test]
fn a_pipe_does_not_block() {
    let types = Types::builder().build();
    let parse: Parse<String> = Box::new(|_, _| unreachable!());
    let live = Live::open(&types, "t:x", vec![("/dev/null".into(), parse)]);
    assert!(live.get().unwrap_err().what.contains("not a regular file"));
}
