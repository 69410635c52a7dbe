//! What the queue says.

events::events! {
    /// A record failed its checksum, its message is lost and set aside for the administrator.
    Corrupt { why: String, file: String } Error
        "damaged in the queue: {why}; set aside as {file}, remove it when you have seen to it"
    /// A damaged record could not be set aside, so it stays, on hold.
    CorruptKept { why: String, error: String } Error
        "damaged in the queue: {why}; put on hold, because it cannot be set aside: {error}"
    /// A damaged record was seen by a tool that changes nothing.
    DamageSeen { why: String } Warning "damaged in the queue: {why}"
    /// A file of the queue could not be read just now; the message waits.
    Unreadable { file: String, error: String } Warning "read {file}: {error}; tried again later"
    /// A state of a message was damaged: its recipients are tried anew.
    StateLost { file: String } Warning
        "its state in {file} is damaged: recipients that already have it may get it again"
    /// The end of a state log was damaged or torn, as after a power cut.
    LogTorn { file: String, found: usize } Warning
        "{file}: the end is torn; {found} messages found without it, some may be delivered again"
    /// A state log could not be written.
    LogUnwritable { file: String, error: String } Error
        "write {file}: {error}; tried again, a crash meanwhile would repeat deliveries"
    /// Writing a segment failed; the messages in it were refused with 451.
    SegmentFailed { file: String, error: String } Error
        "write {file}: {error}; new mail goes to another file"
    /// New mail is refused because writing failed three times in a row.
    Closed { error: String } Error
        "takes no mail, writing failed three times in a row: {error}; check the disk, tried again each minute"
    /// Writing works again.
    Reopened {} Info "takes mail again"
    /// There is no space for new mail; deliveries and deletions go on.
    Full { error: String } Warning "takes no mail for lack of space: {error}"
    /// Verifying found a state log damaged; what memory knows is written in its place.
    LogDamaged { file: String } Error "damaged in the queue: {file}; written anew, nothing is lost; check the disk"
    /// A segment or a part of it was not given back to the file system.
    NotFreed { file: String, error: String } Warning "free {file}: {error}"
    /// A segment is gone though messages were in it.
    SegmentMissing { file: String, messages: usize } Error
        "{file} is missing; {messages} messages were in it"
    /// A message was in a segment that is gone.
    Missing { file: String } Error "damaged in the queue: its segment {file} is missing"
    /// A file that is not the segment its name says, and holds nothing of it.
    Strange { file: String } Error "set aside as {file}: it is not the segment that its name says; remove it when you have seen to it"
    /// The format file was damaged and written anew from a segment.
    FormatRestored {} Warning "the file valija/format was damaged or missing; restored"
    /// A message over which workers died twice is put on hold.
    Quarantined { crashes: u8 } Warning
        "put on hold: {crashes} times the worker that handled it crashed or hung; release it with postsuper -H"
}
