//! What `deliver` tells `mail` about a job: that its child ended, and how.

use super::wire::{Reader, Writer};

/// A child ended, or was never made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The number that `mail` gave the job.
    pub number: u64,
    /// How it ended.
    pub how: How,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// By itself, with this status; 0 when its answer is complete.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It could not be started; words for the administrator.
    NotStarted(String),
}

impl Ended {
    /// As one message.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.number);
        match &self.how {
            How::Exit(n) => {
                w.u8(0);
                w.u32(*n as u32);
            }
            How::Signal(n) => {
                w.u8(1);
                w.u32(*n as u32);
            }
            How::NotStarted(why) => {
                w.u8(2);
                w.text(why);
            }
        }
        w.done()
    }

    /// From one message; `None` for what is none.
    pub fn decode(bytes: &[u8]) -> Option<Ended> {
        let mut r = Reader::new(bytes);
        let number = r.u64()?;
        let how = match r.u8()? {
            0 => How::Exit(r.u32()? as i32),
            1 => How::Signal(r.u32()? as i32),
            2 => How::NotStarted(r.text()?),
            _ => return None,
        };
        r.finished().then_some(Ended { number, how })
    }
}
