//! What the door into the queue says.

events::events! {
    /// The Message-Id of a message, as its header gives it; `<>` when it has none.
    MessageId { id: String } Info "message-id={id}"
    /// The Resent-Message-Id of a message.
    ResentMessageId { id: String } Info "resent-message-id={id}"
    /// A message of a local user was taken up from the maildrop.
    Pickup { uid: u32, sender: String } Info "uid={uid} from=<{sender}>"
    /// The queue could not take the message; whoever brought it will try again.
    QueueWrite { what: String } Warning "queue file write error: {what}"
    /// What header_checks, body_checks and their kin ordered: the action, the line, where the message
    /// comes from, and the text of the action.
    Check { action: &'static str, class: &'static str, content: String, origin: String, sender: String, recipient: String, via: String, more: String } Info "{action}: {class} {content} from {origin}; from=<{sender}>{recipient}{via}{more}"
    /// A message that breaks a rule of MIME that is enforced.
    MimeError { what: &'static str, content: String, origin: String, sender: String, recipient: String } Info "reject: mime-error {what}: {content} from {origin}; from=<{sender}>{recipient}"
    /// A row of header_checks, body_checks or their kin that means nothing; the line passes.
    BadCheck { what: String } Warning "{what}"
    /// A table of header_checks, body_checks or their kin could not answer.
    ChecksProblem { map: String, what: String } Warning "{map} map lookup problem -- message not accepted, try again later: {what}"
    /// What smtp_header_checks and its kin changed or noticed in a message that is sent.
    OutgoingCheck { action: &'static str, class: &'static str, content: String, more: String } Info "{action}: {class} {content}{more}"
    /// A table of address rewriting could not answer, or leads round in circles.
    MapProblem { what: String } Warning "{what}"
    /// What mail filters want done with a message.
    MilterSays { action: &'static str, place: &'static str, client: String, text: String, sender: String, recipient: String, via: String } Info "{action}: {place} from {client}: {text}; from=<{sender}>{recipient}{via}"
    /// A mail filter deleted all recipients of a message.
    NobodyLeft { } Info "milter-discard: a milter deleted all recipients"
    /// A message with too many Received headers.
    TooManyHops { } Warning "message rejected: hopcount exceeded"
    /// A message beyond message_size_limit.
    TooBig { } Warning "queue file size limit exceeded"
    /// A damaged file in the maildrop.
    Malformed { uid: u32, what: String } Warning "uid={uid}: {what}"
    /// A damaged file was set aside for a human.
    Corrupt { path: String, to: String } Warning "{path}: damaged; moved to {to}"
    /// Something in the maildrop that postdrop does not make; it is left alone.
    Foreign { path: String, what: String } Warning "{path}: {what}"
    /// A message that the queue does not take now; it stays in the maildrop.
    Postponed { path: String, id: String, text: String } Warning "{path}: error writing {id}: {text}"
    /// A file or directory that cannot be read.
    Unreadable { path: String, what: String } Warning "open {path}: {what}"
    /// A file that was dealt with but cannot be removed; it will not be taken again.
    NotRemoved { path: String, what: String } Warning "remove {path}: {what}; correct owner and mode of the directory"
}
