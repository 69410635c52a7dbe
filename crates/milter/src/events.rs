//! What is said of mail filters. The words are those of Postfix; analysers read them.

events::events! {
    /// A filter cannot be reached.
    Unreachable { name: String, why: String } Warning "connect to Milter service {name}: {why}"
    /// A filter that went away, or took too long, while its answer was awaited.
    NoAnswer { name: String, to: String, why: String } Warning "milter {name}: can't read {to} reply packet header: {why}"
    /// A filter that says what makes no sense, or settings of it that make none.
    Odd { name: String, what: String } Warning "milter {name}: {what}"
}
