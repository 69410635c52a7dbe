//! The queue for tools while no daemon runs: `postqueue -p`, `postcat -q`, `postsuper`. Readers
//! share the queue and change nothing, not even what a crash left to be put in order; who changes
//! it has it alone.

use crate::disk::{Engine, Hold, Options, RealDisk, directory};
use crate::store::{Action, Body, Counts, Selection, StoreError, Summary};
use events::Source;
use proto::QueueId;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why a tool cannot have the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfflineError {
    /// There is no queue there yet, hence no mail.
    Nothing,
    /// Somebody has it, or it cannot be opened; in words for the user.
    Refused(String),
}

impl fmt::Display for OfflineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OfflineError::Nothing => f.write_str("there is no queue yet"),
            OfflineError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for OfflineError {}

/// The queue of a stopped system.
pub struct Offline {
    engine: Engine<RealDisk>,
    change: bool,
    _hold: Hold,
}

impl Offline {
    /// Opens the queue below `queue_directory` for reading, or with `change` for [`Offline::control`]
    /// too. Who changes it must be its owner, or the daemon could not open what is written: a
    /// command run by root becomes the mail owner first.
    pub fn open(queue_directory: &Path, change: bool, source: Source) -> Result<Offline, OfflineError> {
        let directory = directory(queue_directory);
        let refused = OfflineError::Refused;
        let owner = match std::fs::metadata(directory.join("lock")) {
            Ok(m) => m.uid(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(OfflineError::Nothing),
            Err(e) => return Err(refused(format!("open {}: {e}", directory.display()))),
        };
        if change && owner != sys::users::identities().euid {
            let what =
                format!("{} belongs to user id {owner}: only that user may change it", directory.display());
            return Err(refused(what));
        }
        let hold = Hold::take(&directory, change).map_err(OfflineError::Refused)?;
        let disk = if change { RealDisk::new(&directory) } else { RealDisk::read_only(&directory) };
        let engine = Engine::open(disk, &Options::default(), source, !change)
            .map_err(|e| refused(format!("queue {}: {e}", directory.display())))?;
        Ok(Offline { engine, change, _hold: hold })
    }

    /// One page in id order; see [`crate::Store::list`].
    pub fn list(&self, after: Option<QueueId>, n: usize) -> Result<Vec<Summary>, StoreError> {
        self.engine.list(after, n)
    }

    /// One message.
    pub fn get(&self, id: QueueId) -> Result<Option<Summary>, StoreError> {
        self.engine.get(id)
    }

    /// The content of a message.
    pub fn body(&self, id: QueueId) -> Result<Body, StoreError> {
        self.engine.body(id)
    }

    /// How many messages are in each queue.
    pub fn counts(&self) -> Counts {
        self.engine.counts()
    }

    /// Hold, release, requeue, delete, expire, flush; durable when it returns.
    pub fn control(&self, which: &Selection, action: Action) -> Result<Vec<QueueId>, StoreError> {
        if !self.change {
            return Err(StoreError::Failing("the queue was opened for reading only".into()));
        }
        let (touched, _) = self.engine.control(which, action)?;
        if touched.is_empty() || self.engine.sync() {
            Ok(touched)
        } else {
            Err(StoreError::Failing("the queue's files cannot be written: see the log".into()))
        }
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        if self.change {
            self.engine.shut();
        }
    }
}
