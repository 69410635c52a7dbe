//! What local deliveries say besides the `to=<…>` lines, which are the mail role's. The child puts
//! these into its answer, and the mail role logs them as `postfix/local[number]: …`.

events::events! {
    /// Nothing catches mail for a name that every mail system must have; it is thrown away.
    RequiredAlias { name: String } Warning "required alias not found: {name}"
    /// Aliases lead to each other without end.
    AliasLoop { name: String } Warning "alias database loop for {name}"
    /// An alias has nothing at its right-hand side.
    EmptyAlias { name: String } Warning "no recipient in alias lookup result for {name}"
    /// A lookup table could not answer.
    TableTrouble { what: String } Warning "{what}"
    /// An alias table belongs to nobody known.
    AliasOwner { name: String, what: String } Warning "cannot find alias database owner for {name}: {what}"
    /// A file of addresses cannot be looked at.
    IncludeMissing { path: String, what: String } Warning "unable to lookup :include: file {path}: {what}"
    /// A file of addresses cannot be opened.
    IncludeClosed { path: String, what: String } Warning "cannot open :include: file {path}: {what}"
    /// A file of addresses must be named from the root.
    IncludeRelative { path: String } Warning ":include:{path} uses a relative path"
    /// A file of addresses is a directory or a device.
    IncludeNotRegular { path: String } Warning ":include: file {path} is not a regular file"
    /// Anybody could have written the file of addresses.
    IncludeWritable { path: String } Warning ":include: file {path} is world writable"
    /// The file of addresses changed hands while it was looked at.
    IncludeChanged { path: String } Warning ":include: file {path} changed its owner while it was opened"
    /// The file of addresses belongs to nobody known.
    IncludeOwner { path: String, uid: u32 } Warning "cannot find username for uid {uid}, owner of :include: file {path}"
    /// A .forward file is a directory, link or device.
    ForwardNotRegular { path: String } Warning "file {path} is not a regular file"
    /// A .forward file belongs to somebody else.
    ForwardOwner { path: String, uid: u32 } Warning "file {path} has bad owner uid {uid}"
    /// Anybody could have written the .forward file.
    ForwardWritable { path: String } Warning "file {path} is world writable"
    /// A .forward file cannot be looked at just now.
    ForwardTrouble { path: String, what: String } Warning "cannot look up {path}: {what}"
    /// A file's lock file cannot be made; the delivery goes on with other locks.
    LockFile { path: String, what: String } Warning "unable to create lock file {path}: {what}"
    /// A lock file was left behind by somebody long gone.
    StaleLock { path: String } Warning "removed stale lock file {path}"
    /// A mailbox belongs to somebody else.
    MailboxOwner { } Warning "specify \"strict_mailbox_ownership = no\" to ignore mailbox ownership mismatch"
    /// A message was written in part, and the mailbox cannot be cut back to the length that it had.
    NotCutBack { path: String, length: u64, what: String } Warning "cannot cut mailbox {path} back to {length} bytes: {what}; a part of a message is left behind there"
    /// A maildir cannot be written.
    Maildir { uid: u32, gid: u32, what: String } Warning "maildir access problem for UID/GID={uid}/{gid}: {what}"
    /// What to do about it.
    MaildirHint { } Warning "perhaps you need to create the maildirs in advance"
    /// A command took too long.
    CommandTime { } Warning "pipe_command_read: read time limit exceeded"
    /// A command cannot be run.
    CommandNotRun { what: String } Fatal "{what}"
    /// A table of virtual mailboxes could not answer.
    VirtualTable { table: String, address: String, what: String } Warning "table {table}: lookup {address}: {what}"
    /// Nothing says whose a virtual mailbox is.
    Owner { recipient: String, table: String } Warning "recipient {recipient}: not found in {table}"
    /// No virtual mailbox can be this one's.
    BadNumber { recipient: String, what: &'static str, value: String, table: String } Warning "recipient {recipient}: bad {what} {value} in {table}"
    /// A virtual mailbox is a directory or a device.
    NotRegular { recipient: String, path: String } Warning "recipient {recipient}: destination {path} is not a regular file"
    /// A parameter of the configuration cannot be used.
    BadParameter { what: String } Fatal "{what}"
    /// A service that runs a program for each connection cannot be used.
    SpawnBad { what: String } Fatal "{what}"
    /// The program of a service ended badly.
    SpawnEnded { command: String, how: String } Warning "command {command} {how}"
    /// The program of a service took longer than it may.
    SpawnTime { command: String, process: u32 } Warning "{command}: process id {process}: command time limit exceeded"
    /// A transport of master.cf cannot be used.
    BadService { what: String } Fatal "{what}"
    /// A transport of master.cf names a macro that there is not.
    UnknownMacro { file: String, service: String, name: String } Warning "file {file}: service {service}: unknown macro name: {name:?}"
    /// A transport that marks each message with its recipient must get one recipient at a time.
    OneRecipient { flag: char, service: String } Warning "pipe flag `{flag}' requires {service}_destination_recipient_limit = 1"
    /// Something of a master.cf line has no effect.
    Ignored { what: String } Warning "{what}"
    /// A job that makes no sense.
    BadJob { what: String } Error "{what}"
    /// A part of a delivery ended without saying what became of the mail.
    PartDied { what: String } Warning "{what}"
}
