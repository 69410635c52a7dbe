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
    /// A table of address rewriting could not answer.
    MapProblem { what: String, address: String } Warning "{what}: map lookup problem for {address} -- message not accepted, try again later"
    /// A message with too many Received headers.
    TooManyHops { } Warning "message rejected: hopcount exceeded"
    /// A message beyond message_size_limit.
    TooBig { } Warning "queue file size limit exceeded"
}
