//! Speaking to the mail role, or from a part of a delivery to its parent.

use events::{Event, Level};
use proto::job::{Frame, Say};
use std::cell::RefCell;
use std::fs::File;
use std::io::Write;

/// Whoever can have a line put into the log.
pub(crate) trait Tell {
    /// Has a line logged.
    fn log(&self, say: Say, text: String);
}

/// Has an event logged by anybody who can.
pub(crate) fn say<E: Event>(tell: &dyn Tell, event: &E) {
    let level = match E::LEVEL {
        Level::Info => Say::Info,
        Level::Warning => Say::Warning,
        Level::Error => Say::Error,
        Level::Fatal | Level::Panic => Say::Fatal,
    };
    tell.log(level, event.to_string());
}

/// The pipe to the mail role.
pub(crate) struct Answer(RefCell<File>);

impl Answer {
    pub fn new(pipe: File) -> Answer {
        Answer(RefCell::new(pipe))
    }

    /// What follows is about the message of this place.
    pub fn about(&self, place: usize) {
        self.send(&Frame::About(u32::try_from(place).unwrap_or(u32::MAX)));
    }

    /// Sends one frame. A mail role that is gone will find the recipients unsettled when it is
    /// back; nothing can be done here.
    pub fn send(&self, frame: &Frame) {
        let _ = self.0.borrow_mut().write_all(&frame.encode());
    }
}

impl Tell for Answer {
    fn log(&self, say: Say, text: String) {
        self.send(&Frame::Log { say, text });
    }
}
