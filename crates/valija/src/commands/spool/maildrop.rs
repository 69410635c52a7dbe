//! Messages that were handed over while the system is down: they wait in `maildrop`, and root's
//! listing of a stopped system shows them before the queue, as Postfix's does.

use proto::Address;
use proto::control::{Entry, Queue, State};
use proto::envelope::Recipient;
use proto::record::{Decoder, Item, Walker};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// More of a file is not read: recipients that `sendmail -t` finds come after the content.
const MOST: u64 = 64 * 1024 * 1024;

/// The complete messages, in the order of their names. What cannot be read is not shown.
pub fn entries(queue_directory: &Path) -> Vec<Entry> {
    let files = std::fs::read_dir(queue_directory.join("maildrop"));
    let mut found: Vec<Entry> =
        files.into_iter().flatten().flatten().filter_map(|file| entry(&file.path())).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

fn entry(path: &Path) -> Option<Entry> {
    let id = path.file_name()?.to_str()?.to_string();
    let flags = sys::host::O_NOFOLLOW | sys::host::O_NONBLOCK;
    // Looked at before it is opened, too: opening a device may do something.
    if !std::fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let about = file.metadata().ok()?;
    // A file that is still being written may not be executed by its owner.
    if !about.is_file() || about.mode() & 0o100 == 0 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    let mut entry = Entry {
        id,
        queue: Queue::Incoming,
        expired: false,
        envelope: Default::default(),
        states: Vec::new(),
        next_attempt: 0,
        tries: 0,
    };
    entry.envelope.size = about.len();
    entry.envelope.arrival = u64::try_from(about.mtime()).unwrap_or_default() * 1_000_000;
    envelope(&bytes, &mut entry);
    Some(entry)
}

/// What can be understood of the records; the rest is pickup's to complain about.
fn envelope(bytes: &[u8], entry: &mut Entry) {
    let (mut decoder, mut walker) = (Decoder::default(), Walker::new(true));
    decoder.feed(bytes);
    let address = |text: &[u8]| Address::from_internal(&String::from_utf8_lossy(text));
    while let (false, Ok(Some((kind, data)))) = (walker.done(), decoder.next_record()) {
        match walker.take(kind, data) {
            Ok(Item::Time(micros)) => entry.envelope.arrival = micros,
            Ok(Item::Sender(text)) => entry.envelope.sender = address(text),
            Ok(Item::Recipient(text)) => {
                let recipient = Recipient { address: address(text), ..Recipient::default() };
                entry.envelope.recipients.push(recipient);
                entry.states.push(State::Pending);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::record::{kind, put, time_text};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn complete_files_are_shown() {
        let queue = std::env::temp_dir().join(format!("valija-maildrop-{}", std::process::id()));
        std::fs::create_dir_all(queue.join("maildrop")).unwrap();
        let mut bytes = Vec::new();
        put(&mut bytes, kind::TIME, time_text(1_700_000_000_000_000).as_bytes());
        put(&mut bytes, kind::SENDER, b"jose");
        put(&mut bytes, kind::RECIPIENT, b"usuario");
        put(&mut bytes, kind::CONTENT, b"");
        put(&mut bytes, kind::EXTRACTED, b"");
        put(&mut bytes, kind::RECIPIENT, b"alumno");
        put(&mut bytes, kind::END, b"");
        for (name, mode) in [("A1B2C3D4E5F", 0o744), ("B1B2C3D4E5F", 0o600)] {
            let path = queue.join("maildrop").join(name);
            std::fs::write(&path, &bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", queue.join("maildrop/C1B2C3D4E5F")).unwrap();
        let found = entries(&queue);
        std::fs::remove_dir_all(&queue).unwrap();
        let [only] = &found[..] else { panic!("{found:?}") };
        assert_eq!((only.id.as_str(), only.envelope.arrival), ("A1B2C3D4E5F", 1_700_000_000_000_000));
        assert_eq!(only.envelope.sender.internal(), "jose");
        let to: Vec<String> = only.envelope.recipients.iter().map(|r| r.address.internal()).collect();
        assert_eq!(to, ["usuario", "alumno"]);
    }
}
