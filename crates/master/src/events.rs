//! What master says.

events::events! {
    /// The system works: ports are bound, both roles run.
    Started { version: String, directory: String } Info "daemon started -- version {version}, configuration {directory}"
    /// The configuration was read again and is in force.
    Reloaded { version: String, directory: String } Info "reload -- version {version}, configuration {directory}"
    /// The configuration that was to be reloaded has faults; the one in force stays.
    ReloadRefused { what: String } Error "reload refused, the running configuration stays in force: {what}"
    /// The system stops because of a signal.
    Terminating { signal: i32 } Info "terminating on signal {signal}"
    /// The start is refused.
    CannotStart { what: String } Fatal "{what}"
    /// A role ended by itself; it is started again after a pause.
    RoleEnded { role: String, pid: u32, how: String, pause: u64 } Warning "process {role} pid {pid} {how}; starting it again in {pause}s"
    /// A role could not be started.
    RoleNotStarted { role: String, what: String } Warning "cannot start {role}: {what}"
    /// A file was asked for that no parameter names, or that cannot be trusted.
    FileRefused { path: String, what: String } Warning "{path} is not passed to the mail role: {what}"
    /// Something in the configuration has no effect here.
    Note { what: String } Warning "{what}"
}
