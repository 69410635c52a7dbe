//! What the queue manager says. Result lines are an interface: log analysers read them.

events::events! {
    /// A message is worked on.
    Active { sender: String, size: u64, recipients: usize } Info "from=<{sender}>, size={size}, nrcpt={recipients} (queue active)"
    /// What became of one recipient. `orig_to` is empty or `, orig_to=<…>`.
    Result { to: String, orig_to: String, relay: String, delays: String, dsn: String, status: &'static str, text: String } Info "to=<{to}>, {orig_to}relay={relay}, {delays}, dsn={dsn}, status={status} ({text})"
    /// A message left the queue: nothing remains to be done.
    Removed { } Info "removed"
    /// A message was tried for too long, or an administrator had it expired.
    Expired { sender: String, status: &'static str } Info "from=<{sender}>, status={status}, returned to sender"
    /// A recipient is delivered by another transport.
    Passing { to: String, transport: String } Info "passing <{to}> to transport={transport}"
    /// The sender was told.
    SenderNotified { what: &'static str, id: String } Info "sender {what} notification: {id}"
    /// The postmaster was told.
    PostmasterNotified { what: &'static str, id: String } Info "postmaster {what} notification: {id}"
    /// A notice to the postmaster could not be delivered.
    NoticeDiscarded { } Warning "undeliverable postmaster notification discarded"
    /// A notice could not be queued; it is tried again with the message.
    NoticeFailed { why: String } Warning "cannot queue a notice: {why}; tried again later"
    /// A transport that mail is routed to has no service in master.cf.
    NoTransport { name: String } Warning "connect to transport private/{name}: No such file or directory"
    /// A transport of master.cf runs a program that this version does not have.
    NotServed { name: String, command: String } Warning "transport {name}: the program {command} is not part of this version; mail for it waits in the queue"
    /// A table could not say where a recipient goes.
    Unresolved { why: String } Warning "{why}"
    /// A delivery process died over a message.
    Crashed { transport: String } Warning "private/{transport} socket: malformed response"
    /// A delivery process died over the same message twice; it is on hold.
    Quarantined { transport: String } Warning "transport {transport} failed twice on this message, which is now on hold; look at it with postcat -q, then postsuper -H or -d"
    /// The queue could not give or take something.
    QueueTrouble { why: String } Error "{why}"
    /// Two settings contradict each other.
    Adjusted { } Warning "bounce_queue_lifetime is larger than maximal_queue_lifetime - adjusting bounce_queue_lifetime"
    /// A feedback amount that is no number from 0 to 1.
    OddFeedback { name: String, text: String } Warning "{name}: ignoring malformed or unreasonable feedback: {text}"
    /// A client of the control socket was refused.
    ControlRefused { why: String } Warning "queue control: {why}"
}
