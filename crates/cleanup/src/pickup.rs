//! pickup(8): takes what `postdrop` left in the maildrop into the queue.
//!
//! The directory can be written by a program that every user may run, so nothing in it is taken
//! on trust: only regular files with one name, marked complete (executable by their owner), are
//! read; the uid is the file's owner. A file is removed only after its message is durable; a crash
//! in between delivers it twice. A damaged file is set aside and told of, never taken in part.
//!
//! Passes are made when somebody writes to `public/pickup`, and every so often in any case.

use crate::events::{Corrupt, Foreign, Malformed, NotRemoved, Pickup as Taken, Postponed, Unreadable};
use crate::intake::{Intake, Origin, Refused, Source};
use proto::Address;
use proto::envelope::{Encoding, Notify, Trace};
use proto::record::{self, Decoder, Item, Walker, attribute};
use queue::Store;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// So many messages are taken in at once; they then share syncs of the queue.
const AT_ONCE: usize = 16;

/// An incomplete file that nobody wrote to for so long is removed.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What the line of pickup in master.cf, over main.cf, says of mail from the maildrop.
#[derive(Clone, Debug)]
pub struct Manner {
    /// `cleanup_service_name`.
    pub service: String,
    /// `content_filter`.
    pub content_filter: String,
    /// `receive_override_options`.
    pub overrides: Vec<String>,
    /// Who speaks.
    pub speaker: events::Source,
}

/// Gives the intake and the manner of the present configuration.
pub type Present<S> = Arc<dyn Fn() -> (Intake<S>, Manner) + Send + Sync>;

/// The pickup service.
pub struct Pickup<S: Store> {
    present: Present<S>,
    queue_directory: PathBuf,
    /// Taken but not removable (name and inode): must not be taken again.
    stuck: Arc<Mutex<HashSet<(PathBuf, u64)>>>,
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Messages that are in the queue now.
    pub taken: usize,
    /// Files that stay for a later pass.
    pub left: usize,
    /// Damaged files set aside.
    pub aside: usize,
}

impl<S: Store> Pickup<S> {
    /// For the maildrop of this queue directory.
    pub fn new(present: Present<S>, queue_directory: PathBuf) -> Pickup<S> {
        Pickup { present, queue_directory, stuck: Arc::default() }
    }

    /// Makes a pass now, after each wake-up on `listener`, and every `interval`; never ends.
    pub async fn run(self, listener: Option<UnixListener>, interval: Duration) {
        loop {
            let pass = self.pass().await;
            // What could not be taken is tried again soon; nobody may wake us for it.
            let wait = if pass.left > 0 { interval.min(Duration::from_secs(10)) } else { interval };
            let _ = tokio::time::timeout(wait, wake_up(listener.as_ref())).await;
        }
    }

    /// Takes everything that is complete.
    pub async fn pass(&self) -> Pass {
        let maildrop = self.queue_directory.join("maildrop");
        let (intake, manner) = (self.present)();
        let speaker = manner.speaker.clone();
        let listed = tokio::task::spawn_blocking(move || list(&maildrop, &speaker)).await;
        let mut names = listed.unwrap_or_default().into_iter();
        let (mut work, mut pass) = (JoinSet::new(), Pass::default());
        loop {
            while work.len() < AT_ONCE
                && let Some(path) = names.next()
            {
                let (intake, manner) = (intake.clone(), manner.clone());
                let (stuck, queue) = (self.stuck.clone(), self.queue_directory.clone());
                work.spawn(async move { take(&intake, &queue, path, &manner, &stuck).await });
            }
            match work.join_next().await {
                None => return pass,
                Some(Ok(Fate::Taken)) => pass.taken += 1,
                Some(Ok(Fate::Aside)) => pass.aside += 1,
                Some(Ok(Fate::Left)) | Some(Err(_)) => pass.left += 1,
                Some(Ok(Fate::NotYet)) => {}
            }
        }
    }
}

/// Waits until somebody writes to the socket; several at once count as one.
async fn wake_up(listener: Option<&UnixListener>) {
    let Some(listener) = listener else { return std::future::pending().await };
    match listener.accept().await {
        Ok((stream, _)) => drop(stream),
        // Out of descriptors, say: the next pass comes by the clock.
        Err(_) => std::future::pending().await,
    }
}

fn list(maildrop: &Path, speaker: &events::Source) -> Vec<PathBuf> {
    match std::fs::read_dir(maildrop) {
        Ok(entries) => {
            let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
            paths.sort(); // names begin with the time: the oldest first
            paths
        }
        Err(e) => {
            speaker.say(&Unreadable { path: maildrop.display().to_string(), what: e.to_string() });
            Vec::new()
        }
    }
}

enum Fate {
    Taken,
    Left,
    Aside,
    NotYet,
}

/// Opens a file that may be taken: `Ok(None)` while it is incomplete.
fn open(path: &Path) -> Result<Option<(File, u32, u64)>, String> {
    let meta = std::fs::symlink_metadata(path).map_err(|e| e.to_string())?;
    if !meta.file_type().is_file() {
        return Err(format!("uid {}: not a regular file", meta.uid()));
    }
    if meta.mode() & 0o100 == 0 {
        // Its writer was killed: nobody was told that the message is accepted.
        let age = meta.modified().ok().and_then(|m| m.elapsed().ok()).unwrap_or_default();
        if age > ABANDONED {
            std::fs::remove_file(path).map_err(|e| e.to_string())?;
        }
        return Ok(None);
    }
    let file = File::options()
        .read(true)
        .custom_flags(sys::host::O_NOFOLLOW | sys::host::O_NONBLOCK)
        .open(path)
        .map_err(|e| e.to_string())?;
    let opened = file.metadata().map_err(|e| e.to_string())?;
    if opened.ino() != meta.ino() || opened.dev() != meta.dev() || !opened.file_type().is_file() {
        return Err("file was exchanged while it was opened".into());
    }
    if opened.nlink() != 1 {
        return Err(format!("file has {} hard links", opened.nlink()));
    }
    Ok(Some((file, opened.uid(), opened.ino())))
}

async fn take<S: Store>(
    intake: &Intake<S>,
    queue: &Path,
    path: PathBuf,
    manner: &Manner,
    stuck: &Mutex<HashSet<(PathBuf, u64)>>,
) -> Fate {
    let speaker = &manner.speaker;
    let shown = format!("maildrop/{}", path.file_name().unwrap_or_default().to_string_lossy());
    let (file, uid, inode) = match open(&path) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Fate::NotYet,
        Err(what) => {
            speaker.say(&Foreign { path: shown, what });
            return Fate::Left;
        }
    };
    let known = (path.clone(), inode);
    if stuck.lock().unwrap_or_else(|e| e.into_inner()).contains(&known) {
        if std::fs::remove_file(&path).is_ok() {
            stuck.lock().unwrap_or_else(|e| e.into_inner()).remove(&known);
        }
        return Fate::NotYet;
    }
    // One that killed this process, or its task, is not taken up a third time.
    if sys::board::deaths_of(sys::board::Peer::File(inode)).count >= 2 {
        speaker.say(&Malformed { uid, what: "the mail process died over this file twice".into() });
        return set_aside(queue, &path, &shown, speaker);
    }
    let unit = sys::board::Unit::of_file(inode);
    match sys::board::watch(unit, read(intake, file, uid, manner)).await {
        Ok(()) => {
            if let Err(e) = std::fs::remove_file(&path) {
                speaker.say(&NotRemoved { path: shown, what: e.to_string() });
                stuck.lock().unwrap_or_else(|e| e.into_inner()).insert(known);
            }
            Fate::Taken
        }
        Err(Trouble::Refused(id, refused)) => {
            let text = format!("{} {}", refused.code, refused.text);
            speaker.say(&Postponed { path: shown, id, text });
            Fate::Left
        }
        Err(Trouble::Read(what)) => {
            speaker.say(&Unreadable { path: shown, what });
            Fate::Left
        }
        Err(Trouble::Damaged(what)) => {
            speaker.say(&Malformed { uid, what });
            set_aside(queue, &path, &shown, speaker)
        }
    }
}

fn set_aside(queue: &Path, path: &Path, shown: &str, speaker: &events::Source) -> Fate {
    let corrupt = queue.join("valija/corrupt");
    let name = path.file_name().unwrap_or_default();
    let _ = std::fs::create_dir_all(&corrupt);
    match std::fs::rename(path, corrupt.join(name)) {
        Ok(()) => {
            speaker.say(&Corrupt { path: shown.into(), to: corrupt.join(name).display().to_string() });
            Fate::Aside
        }
        Err(e) => {
            speaker.say(&NotRemoved { path: shown.into(), what: e.to_string() });
            Fate::Left
        }
    }
}

enum Trouble {
    Damaged(String),
    Read(String),
    Refused(String, Refused),
}

/// What the envelope part of a file says.
struct Gathered {
    origin: Origin,
    notify: Notify,
    orcpt: Option<String>,
}

async fn read<S: Store>(
    intake: &Intake<S>,
    mut file: File,
    uid: u32,
    manner: &Manner,
) -> Result<(), Trouble> {
    let (mut decoder, mut walker) = (Decoder::default(), Walker::new(true));
    let mut origin = Origin::new(Source::Pickup { uid }, Address::null(), sys::time::now_micros());
    origin.client.uid = Some(uid);
    origin.service.clone_from(&manner.service);
    origin.content_filter.clone_from(&manner.content_filter);
    origin.overrides.clone_from(&manner.overrides);
    let mut gathered = Gathered { origin, notify: Notify::default(), orcpt: None };
    let mut recipients: Vec<(Address, Option<String>, Notify)> = Vec::new();
    let mut message = None;
    let mut content = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while !walker.done() {
        let n;
        (file, piece, n) = tokio::task::spawn_blocking(move || {
            let n = file.read(&mut piece);
            (file, piece, n)
        })
        .await
        .map_err(|e| Trouble::Read(e.to_string()))?;
        let n = n.map_err(|e| Trouble::Read(e.to_string()))?;
        if n == 0 {
            return Err(Trouble::Damaged("the file ends too early".into()));
        }
        decoder.feed(&piece[..n]);
        while !walker.done() {
            let Some((kind, data)) = decoder.next_record().map_err(|f| Trouble::Damaged(f.to_string()))?
            else {
                break;
            };
            match walker.take(kind, data).map_err(|f| Trouble::Damaged(f.to_string()))? {
                Item::Text(text, ended) => {
                    // A line feed within a record is not the end of a line.
                    content.extend(text.iter().map(|b| if *b == b'\n' { b' ' } else { *b }));
                    if ended {
                        // Nor is a carriage return at its end part of one: it becomes a space, too.
                        if content.last() == Some(&b'\r') {
                            content.pop();
                            content.push(b' ');
                        }
                        content.extend_from_slice(b"\r\n");
                    }
                }
                Item::Recipient(text) => {
                    let orcpt = gathered.orcpt.take();
                    let address = Address::from_internal(&String::from_utf8_lossy(text));
                    let notify = std::mem::take(&mut gathered.notify);
                    recipients.push((address, orcpt, notify));
                }
                Item::Content => {
                    message = Some(begin(intake, &gathered.origin, &recipients, &manner.speaker))
                }
                other => gathered.heed(other),
            }
        }
        if let Some(message) = message.as_mut() {
            message.write(&content).await;
            content.clear();
        }
    }
    let Some(mut message) = message.filter(|_| walker.complete()) else {
        return Err(Trouble::Damaged("no envelope sender, or no recipients specified".into()));
    };
    // Recipients that sendmail found in the header come after the content.
    let early = message.recipient_count();
    for (address, orcpt, notify) in recipients.into_iter().skip(early) {
        message.recipient(address, orcpt, notify);
    }
    let id = message.id().to_string();
    message.finish().await.map(|_| ()).map_err(|refused| Trouble::Refused(id, refused))
}

fn begin<S: Store>(
    intake: &Intake<S>,
    origin: &Origin,
    recipients: &[(Address, Option<String>, Notify)],
    speaker: &events::Source,
) -> crate::Message<S> {
    let mut message = intake.begin(origin.clone());
    for (address, orcpt, notify) in recipients {
        message.recipient(address.clone(), orcpt.clone(), *notify);
    }
    let uid = origin.client.uid.unwrap_or_default();
    speaker.say_of(message.id(), &Taken { uid, sender: origin.sender.internal() });
    message
}

impl Gathered {
    fn heed(&mut self, item: Item<'_>) {
        match item {
            Item::Time(micros) => {
                // A clock that was set back must not make mail from the future.
                self.origin.arrival = micros.min(self.origin.arrival);
            }
            Item::FullName(name) => {
                self.origin.full_name = Some(String::from_utf8_lossy(name).into_owned());
            }
            Item::Verp(text) => self.origin.verp = Some(String::from_utf8_lossy(text).into_owned()),
            Item::Sender(text) => {
                self.origin.sender = Address::from_internal(&String::from_utf8_lossy(text));
            }
            Item::Attribute(attribute::REWRITE_CONTEXT, value) => self.origin.stranger = value == "remote",
            Item::Attribute(attribute::ENVELOPE_ID, value) => self.origin.dsn_envid = Some(value.into()),
            Item::Attribute(attribute::RET_FLAGS, value) => self.origin.dsn_ret = record::ret_of(value),
            Item::Attribute(attribute::NOTIFY_FLAGS, value) => {
                self.notify = record::notify_of(value).unwrap_or_default();
            }
            Item::Attribute(attribute::ORIGINAL_RECIPIENT, value) => self.orcpt = Some(value.into()),
            Item::Attribute(attribute::ENCODING, value) => {
                self.origin.encoding = match value {
                    "8bit" => Encoding::EightBit,
                    "7bit" => Encoding::SevenBit,
                    _ => Encoding::Unknown,
                };
            }
            Item::Attribute(attribute::TRACE_FLAGS, value) => {
                let flags: u32 = value.parse().unwrap_or(0);
                self.origin.trace = if flags & record::TRACE_VERIFY != 0 {
                    Trace::Verify
                } else if flags & record::TRACE_RECORD != 0 {
                    Trace::Record
                } else {
                    Trace::None
                };
            }
            Item::Attribute(attribute::SMTPUTF8, value) => {
                let wishes: u32 = value.parse().unwrap_or(0);
                self.origin.smtputf8 = wishes & record::SMTPUTF8_REQUESTED != 0;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
