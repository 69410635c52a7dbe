//! What was said in a session, and what went wrong in it, for a notice to the postmaster
//! (`notify_classes`). Not here: who gets the notice, and its headers, which are the driver's.

use crate::wrap::fold;
use std::ops::BitOr;

/// Classes of trouble, as `notify_classes` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u8);

impl Faults {
    /// Nothing.
    pub const NONE: Faults = Faults(0);
    /// Mail that was refused for what it is: unknown recipient, too big, too many hops.
    pub const BOUNCE: Faults = Faults(1);
    /// A table could not answer.
    pub const DATA: Faults = Faults(2);
    /// Refused by a rule.
    pub const POLICY: Faults = Faults(4);
    /// A wrong or unknown command.
    pub const PROTOCOL: Faults = Faults(8);
    /// No room, or the queue could not be written.
    pub const RESOURCE: Faults = Faults(16);
    /// A fault of the program.
    pub const SOFTWARE: Faults = Faults(32);

    /// The class of this name; `None` for names that tell nothing about sessions.
    pub fn named(name: &str) -> Option<Faults> {
        Some(match name.to_ascii_lowercase().as_str() {
            "bounce" => Faults::BOUNCE,
            "data" => Faults::DATA,
            "policy" => Faults::POLICY,
            "protocol" => Faults::PROTOCOL,
            "resource" => Faults::RESOURCE,
            "software" => Faults::SOFTWARE,
            _ => return None,
        })
    }

    /// Whether both have a class.
    pub fn meets(self, other: Faults) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Faults {
    type Output = Faults;

    fn bitor(self, other: Faults) -> Faults {
        Faults(self.0 | other.0)
    }
}

/// So many lines are kept until a transaction ends; `smtpd_history_flush_threshold`, which is 100
/// in Postfix, is the number beyond which they are then forgotten.
const FORGOTTEN_BEYOND: usize = 100;
/// The most bytes kept of a session that never comes to such an end.
const MOST: usize = 64 * 1024;
/// The longest line of a notice, columns, without the space before each.
const WIDTH: usize = 78;

/// The lines of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    text: String,
    lines: usize,
    cut: bool,
    /// What went wrong since it began, or since a message was accepted.
    pub faults: Faults,
}

impl Transcript {
    /// The client said this.
    pub(super) fn client(&mut self, line: &str) {
        self.add("In:  ", line);
    }

    /// The server said this, in wire form.
    pub(super) fn server(&mut self, wire: &[u8]) {
        for line in String::from_utf8_lossy(wire).lines() {
            self.add("Out: ", line);
        }
    }

    fn add(&mut self, who: &str, line: &str) {
        self.lines += 1;
        self.cut |= self.text.len() + line.len() > MOST;
        if !self.cut {
            self.text.push_str(who);
            match line.contains(char::is_control) {
                true => self.text.extend(line.chars().map(|c| if c.is_control() { '?' } else { c })),
                false => self.text.push_str(line),
            }
            self.text.push('\n');
        }
    }

    /// It is long enough to be forgotten at the end of a transaction.
    pub(super) fn is_long(&self) -> bool {
        self.lines > FORGOTTEN_BEYOND
    }

    /// The text of a notice: the lines, and why the session was aborted. CRLF lines.
    pub fn notice(&self, aborted: Option<&str>) -> String {
        let mut out = String::from("Transcript of session follows.\r\n\r\n");
        for line in self.text.lines() {
            for piece in fold(line, WIDTH) {
                out.push_str(&format!(" {piece}\r\n"));
            }
        }
        if self.cut {
            out.push_str(" (further lines left out)\r\n");
        }
        out.push_str("\r\n");
        if let Some(why) = aborted {
            out.push_str(&format!("Session aborted, reason: {why}\r\n"));
        }
        out.push_str("\r\nFor other details, see the local mail logfile\r\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_as_postfix_lays_it_out() {
        let mut t = Transcript::default();
        t.server(b"220 mx ESMTP\r\n");
        t.client(&format!("FOO a\tb {} word", "x".repeat(100)));
        t.server(b"550 5.1.1 <nadie@josedomingo.org>: Recipient address rejected: User unknown in local recipient table\r\n");
        let x = "x".repeat(100);
        assert_eq!(
            t.notice(Some("timeout")).replace("\r\n", "\n"),
            format!(
                "Transcript of session follows.\n\n Out: 220 mx ESMTP\n In:  FOO a?b\n     {x}\n     word\n \
                 Out: 550 5.1.1 <nadie@josedomingo.org>: Recipient address rejected: User\n     unknown in local \
                 recipient table\n\nSession aborted, reason: timeout\n\nFor other details, see the local mail logfile\n"
            )
        );
        assert!(
            t.notice(None).ends_with("table\r\n\r\n\r\nFor other details, see the local mail logfile\r\n")
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut t = Transcript::default();
        for _ in 0..1_000 {
            t.client(&"y".repeat(1_000));
        }
        assert!(t.text.len() <= MOST + 1_024 && t.is_long());
        assert!(t.notice(None).contains("left out"));
    }

    #[test]
    fn classes() {
        assert_eq!(Faults::named("Policy"), Some(Faults::POLICY));
        assert_eq!(Faults::named("2bounce"), None);
        assert!((Faults::DATA | Faults::BOUNCE).meets(Faults::DATA));
        assert!(!Faults::NONE.meets(Faults::DATA) && !Faults::SOFTWARE.meets(Faults::RESOURCE));
    }
}
