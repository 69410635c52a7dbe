//! What the program says. An event is declared once, with [`events!`], in the `events.rs` of the
//! crate that raises it: its words, its level and its documentation. Everything else (log lines,
//! the reference in `docs/`) follows from the declaration. Log lines are an interface.
//!
//! ```
//! events::events! {
//!     /// A client connected.
//!     Connect { client: String } Info "connect from {client}"
//! }
//! let source = events::Source::new("postfix", "smtpd", 4711);
//! source.say(&Connect { client: "localhost[127.0.0.1]".into() });
//! ```

mod sink;

pub use sink::{Memory, Sink, adopt, flush, gather, install, memory, relay, sink_for, sink_of_program};

use std::fmt;
use std::sync::Arc;

/// How grave. The word is put before the text, as Postfix does (`warning: …`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Normal work; no word.
    Info,
    /// `warning:`
    Warning,
    /// `error:`
    Error,
    /// `fatal:`; the process or session ends.
    Fatal,
    /// `panic:`; a defect.
    Panic,
}

impl Level {
    /// The word before the text, with its colon and space.
    pub fn prefix(self) -> &'static str {
        match self {
            Level::Info => "",
            Level::Warning => "warning: ",
            Level::Error => "error: ",
            Level::Fatal => "fatal: ",
            Level::Panic => "panic: ",
        }
    }

    /// The severity of syslog(3).
    pub fn severity(self) -> u8 {
        match self {
            Level::Info => 6,
            Level::Warning => 4,
            Level::Error => 3,
            Level::Fatal | Level::Panic => 2,
        }
    }
}

/// A declared event. Made by [`events!`] only.
pub trait Event: fmt::Display {
    /// The name of its type.
    const NAME: &'static str;
    /// How grave.
    const LEVEL: Level;
    /// Its documentation.
    const DOC: &'static str;
}

/// Declares events: documentation, name, fields, level and words. A field may be any type that
/// implements `Display`.
#[macro_export]
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident { $($field:ident : $type:ty),* $(,)? } $level:ident $words:literal)*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug)]
            pub struct $name {
                $(#[allow(missing_docs)] pub $field: $type,)*
            }
            impl ::std::fmt::Display for $name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    let $name { $($field),* } = self;
                    ::std::write!(f, $words)
                }
            }
            impl $crate::Event for $name {
                const NAME: &'static str = stringify!($name);
                const LEVEL: $crate::Level = $crate::Level::$level;
                const DOC: &'static str = concat!($($doc, "\n"),+);
            }
        )*
        /// Every event of this crate: name, level, words, documentation.
        pub const ALL: &[(&str, $crate::Level, &str, &str)] =
            &[$((stringify!($name), $crate::Level::$level, $words, concat!($($doc, "\n"),+))),*];
    };
}

/// Who speaks: the tag `postfix/smtpd` and the number in brackets, which identifies the session.
#[derive(Clone, Debug)]
pub struct Source {
    tag: Arc<str>,
    number: u32,
}

impl Source {
    /// `syslog_name` and the daemon's name make the tag.
    pub fn new(syslog_name: &str, daemon: &str, number: u32) -> Source {
        Source { tag: format!("{syslog_name}/{daemon}").into(), number }
    }

    /// A speaker with this whole tag (`postlog -t`).
    pub fn tagged(tag: &str, number: u32) -> Source {
        Source { tag: tag.into(), number }
    }

    /// The same speaker with another number.
    pub fn numbered(&self, number: u32) -> Source {
        Source { tag: self.tag.clone(), number }
    }

    /// `postfix/smtpd`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The number in brackets.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Logs an event.
    pub fn say<E: Event>(&self, event: &E) {
        sink::write(self, E::LEVEL, format_args!("{event}"));
    }

    /// Logs an event of a message: `<queue id>: ` before its words.
    pub fn say_of<E: Event>(&self, queue_id: impl fmt::Display, event: &E) {
        sink::write(self, E::LEVEL, format_args!("{queue_id}: {event}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    events! {
        /// A test.
        Hello { who: &'static str, n: u32 } Warning "hello {who} {n:02}"
    }

    #[test]
    fn words_and_level_come_from_the_declaration() {
        let log = memory();
        let source = Source::new("postfix", "smtpd", 7);
        source.say(&Hello { who: "jose", n: 3 });
        source.say_of("4F1AB2", &Hello { who: "x", n: 12 });
        assert_eq!(
            log.take(),
            ["postfix/smtpd[7]: warning: hello jose 03", "postfix/smtpd[7]: warning: 4F1AB2: hello x 12"]
        );
        assert_eq!(ALL[0].0, Hello::NAME);
    }
}
