//! What `postsuper`, `postcat` and the listing of a stopped system share: the queue, through the
//! queue manager when it runs, else opened directly.

mod listing;
mod maildrop;
mod postcat;
mod postsuper;

pub use listing::run as listing;
pub use postcat::run as postcat;
pub use postsuper::run as postsuper;

use config::params::main::Main;
use config::{Config, directory};
use proto::QueueId;
use proto::control::{Action, Answer, Entry, Queue, Request, ask};
use queue::offline::{Offline, OfflineError};
use queue::{QueueName, Selection, StoreError};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

events::events! {
    /// What a queue command did.
    Told { what: String } Info "{what}"
    /// A queue command did less than it was asked.
    Warned { what: String } Warning "{what}"
    /// A queue command could not do what it was asked.
    Failed { what: String } Fatal "{what}"
}

/// A command at work: its name, its configuration, its log.
pub struct Command {
    name: String,
    queue: PathBuf,
    owner: String,
    log: events::Source,
}

impl Command {
    /// Reads the configuration. Errors are words for the user.
    pub fn new(name: &str, option: Option<&str>) -> Result<Command, String> {
        let first = |p: Vec<config::Problem>| p.first().map(ToString::to_string).unwrap_or_default();
        let dir = directory::decide(option, directory::Caller::Same).map_err(|p| p.to_string())?;
        let config = Config::load(&dir).map_err(first)?;
        let main = Main::load(&config).map_err(first)?;
        events::install(super::postlog::sink(&config)?);
        QueueId::show_long(*main.enable_long_queue_ids());
        Ok(Command {
            name: name.into(),
            queue: main.queue_directory().into(),
            owner: main.mail_owner().clone(),
            log: events::Source::new(main.syslog_name(), name, std::process::id()),
        })
    }

    /// To the terminal and the log.
    pub fn tell(&self, what: String) {
        eprintln!("{}: {what}", self.name);
        self.log.say(&Told { what });
    }

    /// The same, as a warning.
    pub fn warn(&self, what: String) {
        eprintln!("{}: warning: {what}", self.name);
        self.log.say(&Warned { what });
    }

    /// The same, as the last word.
    pub fn fatal(&self, what: String) {
        eprintln!("{}: fatal: {what}", self.name);
        self.log.say(&Failed { what });
    }

    /// Whether the caller is root, or owns the queue (a system that runs without root).
    pub fn privileged(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let uid = sys::users::identities().euid;
        uid == 0 || std::fs::metadata(self.queue.join("valija")).is_ok_and(|m| m.uid() == uid)
    }

    /// The queue manager, when it runs.
    fn online(&self) -> Option<UnixStream> {
        UnixStream::connect(self.queue.join("public/showq")).ok()
    }

    /// The queue itself. `None` when there is none yet.
    fn offline(&self, change: bool) -> Result<Option<Offline>, String> {
        if change && sys::users::identities().euid == 0 {
            // Files made by root could not be opened by the mail system.
            let owner = sys::users::by_name(&self.owner).map_err(|e| e.to_string())?;
            let owner = owner.ok_or(format!("mail_owner: no user is named {}", self.owner))?;
            sys::users::become_user(owner.uid, owner.gid).map_err(|e| e.to_string())?;
        }
        match Offline::open(&self.queue, change, self.log.clone()) {
            Ok(queue) => Ok(Some(queue)),
            Err(OfflineError::Nothing) => Ok(None),
            Err(OfflineError::Refused(why)) => Err(why),
        }
    }

    /// Does `action` to these messages (none named: all) in these queues (none named: any); gives
    /// the names of those it changed.
    pub fn control(&self, action: Action, ids: &[String], queues: &[Queue]) -> Result<Vec<String>, String> {
        if let Some(mut stream) = self.online() {
            let mut touched = Vec::new();
            let request = Request::Control { action, ids: ids.to_vec(), queues: queues.to_vec() };
            let last = ask(&mut stream, &request, |answer| {
                if let Answer::Touched(ids) = answer {
                    touched.extend(ids);
                }
                Ok(())
            });
            return match last {
                Ok(Answer::Refused(why) | Answer::Failed(why)) => Err(why),
                Ok(_) => Ok(touched),
                Err(e) => Err(format!("queue manager: {e}")),
            };
        }
        let Some(queue) = self.offline(true)? else { return Ok(Vec::new()) };
        let result = offline_control(&queue, action, ids, queues).map_err(|e| e.to_string());
        result.map(|ids| ids.iter().map(ToString::to_string).collect())
    }

    /// One message: its entry, then its content in pieces. `None` when there is none of that name.
    pub fn get(
        &self,
        id: &str,
        mut content: impl FnMut(&Entry, &[u8]) -> io::Result<()>,
    ) -> Result<Option<Entry>, String> {
        if let Some(mut stream) = self.online() {
            let mut entry: Option<Box<Entry>> = None;
            let last = ask(&mut stream, &Request::Get(id.into()), |answer| match answer {
                Answer::Entry(e) => {
                    entry = Some(e);
                    Ok(())
                }
                Answer::Content(bytes) => entry.as_ref().map_or(Ok(()), |e| content(e, &bytes)),
                _ => Ok(()),
            });
            return match last {
                Ok(Answer::Refused(why)) => Err(why),
                Ok(Answer::Failed(why)) if entry.is_some() => Err(why),
                Ok(Answer::Failed(_)) => Ok(None),
                Ok(_) => Ok(entry.map(|e| *e)),
                Err(e) => Err(e.to_string()),
            };
        }
        let Some(name) = QueueId::parse(id) else { return Ok(None) };
        let Some(queue) = self.offline(false)? else { return Ok(None) };
        let Some(summary) = queue.get(name).map_err(|e| e.to_string())? else { return Ok(None) };
        let entry = qmgr::showq::entry(summary);
        let body = queue.body(name).map_err(|e| e.to_string())?;
        let done = match body {
            queue::Body::Memory(bytes) => content(&entry, &bytes),
            queue::Body::File(file, length) => pieces(&file, length, |bytes| content(&entry, bytes)),
        };
        done.map_err(|e| e.to_string())?;
        Ok(Some(entry))
    }
}

fn pieces(
    file: &std::fs::File,
    length: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < length {
        let n = file.read_at(&mut buffer, offset)?;
        let Some(piece) = buffer.get(..n).filter(|p| !p.is_empty()) else { break };
        each(piece)?;
        offset += n as u64;
    }
    Ok(())
}

fn offline_control(
    queue: &Offline,
    action: Action,
    ids: &[String],
    queues: &[Queue],
) -> Result<Vec<QueueId>, StoreError> {
    let name = |q: &Queue| match q {
        Queue::Active => QueueName::Active,
        Queue::Incoming => QueueName::Incoming,
        Queue::Deferred => QueueName::Deferred,
        Queue::Hold => QueueName::Hold,
    };
    let selections = if !ids.is_empty() {
        let mut named = Vec::new();
        for id in ids.iter().filter_map(|id| QueueId::parse(id)) {
            let here = |s: queue::Summary| queues.is_empty() || queues.iter().any(|q| name(q) == s.queue);
            if queue.get(id)?.is_some_and(here) {
                named.push(id);
            }
        }
        vec![Selection::Ids(named)]
    } else if queues.is_empty() {
        vec![Selection::All(None)]
    } else {
        queues.iter().map(|q| Selection::All(Some(name(q)))).collect()
    };
    let steps: &[queue::Action] = match action {
        Action::Hold => &[queue::Action::Hold],
        Action::Release => &[queue::Action::Release],
        Action::Requeue => &[queue::Action::Requeue],
        Action::Delete => &[queue::Action::Delete],
        Action::Expire => &[queue::Action::Expire],
        Action::ExpireRelease => &[queue::Action::Expire, queue::Action::Release],
    };
    let mut touched = Vec::new();
    for which in &selections {
        for step in steps {
            touched.extend(queue.control(which, *step)?);
        }
    }
    touched.sort();
    touched.dedup();
    Ok(touched)
}
