//! A message on its way into the queue.

use proto::envelope::{Client, Encoding, Notify, Recipient, Ret};
use proto::{Address, QueueId};
use queue::{Draft, Store};
use std::sync::Arc;

/// Which door was knocked at; decides the Received header and whether headers are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// smtpd. `local_rewrite`: the client matches `local_header_rewrite_clients`.
    Smtp {
        /// Complete header addresses and add missing headers.
        local_rewrite: bool,
    },
    /// `sendmail`/`postdrop` by this user.
    Pickup {
        /// Who.
        uid: u32,
    },
    /// Made here: bounces, notices, forwards, owner copies.
    Internal,
}

/// What is known when a message begins.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The door.
    pub source: Source,
    /// The client, for Received, the log, and `%` macros.
    pub client: Client,
    /// The envelope sender as given (before completion).
    pub sender: Address,
    /// BODY=.
    pub encoding: Encoding,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// ENVID=, xtext as received.
    pub dsn_envid: Option<String>,
    /// RET=.
    pub dsn_ret: Option<Ret>,
    /// XVERP delimiters.
    pub verp: Option<String>,
    /// A notice made here (see `Envelope::notice`).
    pub notice: bool,
    /// When it arrived, microseconds since 1970.
    pub arrival: u64,
    /// The name of a cleanup service in master.cf (`cleanup_service_name`) whose overrides apply.
    pub service: String,
    /// `content_filter` of the listener; empty for none.
    pub content_filter: String,
    /// `receive_override_options` of the listener.
    pub overrides: Vec<String>,
}

/// It is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its name.
    pub id: QueueId,
}

/// It is not in the queue; what to tell whoever brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// SMTP code, such as 552.
    pub code: u16,
    /// Enhanced code and text, such as `5.3.4 Error: message file too big`.
    pub text: String,
}

/// The door itself: configuration snapshot, rewriting, store. Cheap to clone.
#[derive(Clone)]
pub struct Intake<S: Store> {
    store: Arc<S>,
}

impl<S: Store> Intake<S> {
    /// A new message with its queue id. Nothing is on disk yet.
    pub fn begin(&self, origin: Origin) -> Message<S> {
        let id = self.store.new_id();
        Message { id, origin, recipients: Vec::new(), draft: None }
    }
}

/// A message on its way. Dropping it forgets it.
pub struct Message<S: Store> {
    id: QueueId,
    #[allow(dead_code)]
    origin: Origin,
    recipients: Vec<Recipient>,
    draft: Option<S::Draft>,
}

impl<S: Store> Message<S> {
    /// Its name.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Adds a recipient as given by the client, before completion and aliases.
    pub fn recipient(&mut self, address: Address, orcpt: Option<String>, notify: Notify) {
        let original = address.to_string();
        self.recipients.push(Recipient { address, original, dsn_orcpt: orcpt, notify });
    }

    /// Adds content: any piece, lines ended by CRLF or LF. Past a limit it is only counted.
    pub async fn write(&mut self, bytes: &[u8]) {
        if let Some(draft) = self.draft.as_mut() {
            let _ = draft.write(bytes).await;
        }
    }
}
