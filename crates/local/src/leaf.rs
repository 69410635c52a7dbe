//! The part of a delivery that runs as a user: a process that becomes that user for good before it
//! looks at anything, and tells its parent what it found and did.
//!
//! The parent trusts none of it: records are read with limits, and what they say concerns only the
//! destination that the part was made for.

use crate::answer::Tell;
use crate::content::Content;
use crate::identity::Rights;
use proto::job::Say;
use proto::status::{Code, Remote, Status};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What a part of a delivery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A line for the log.
    Log(Say, String),
    /// A destination of its own is settled so.
    Done(Status),
    /// A destination that it must not or need not deliver to itself: the words, and whether they
    /// come from an `:include:` file.
    Found(String, bool),
    /// It is at its end.
    End,
}

/// The most that one part may say, bytes.
const MOST: usize = 32 * 1024 * 1024;

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let kind = match self {
            Record::Log(say, text) => {
                body.push(*say as u8);
                body.extend_from_slice(text.as_bytes());
                b'L'
            }
            Record::Done(status) => {
                let diagnostic = status.remote.as_ref().map(|r| r.diagnostic.1.as_str());
                let (Code(class, subject, detail), has) = (status.code, diagnostic.is_some());
                let head =
                    format!("{class}.{subject}.{detail}\0{}\0{}\0", u8::from(has), diagnostic.unwrap_or(""));
                // Only the text may hold a NUL, as it comes last.
                body.extend_from_slice(head.as_bytes());
                body.extend_from_slice(status.text.as_bytes());
                b'D'
            }
            Record::Found(text, include) => {
                body.push(u8::from(*include));
                body.extend_from_slice(text.as_bytes());
                b'F'
            }
            Record::End => b'E',
        };
        let mut out = vec![kind];
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    fn decode(kind: u8, body: &[u8]) -> Option<Record> {
        let text = |b: &[u8]| std::str::from_utf8(b).ok().map(str::to_string);
        Some(match (kind, body) {
            (b'L', [say, rest @ ..]) => {
                let say =
                    [Say::Info, Say::Warning, Say::Error, Say::Fatal].get(usize::from(*say)).copied()?;
                Record::Log(say, text(rest)?)
            }
            (b'D', body) => {
                let body = text(body)?;
                let mut parts = body.splitn(4, '\0');
                let (code, has) = (Code::parse(parts.next()?)?, parts.next()? == "1");
                let (diagnostic, words) = (parts.next()?.to_string(), parts.next()?.to_string());
                let remote = has.then(|| Remote::of(None, ("x-unix".into(), diagnostic)));
                Record::Done(Status { code, text: words, remote })
            }
            (b'F', [include, rest @ ..]) => Record::Found(text(rest)?, *include != 0),
            (b'E', []) => Record::End,
            _ => return None,
        })
    }
}

/// Records from the bytes of a part; `None` when they make no sense or have no end.
fn read_all(mut bytes: &[u8]) -> Option<Vec<Record>> {
    let mut out = Vec::new();
    loop {
        let (kind, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        match Record::decode(*kind, body)? {
            Record::End => return rest.is_empty().then_some(out),
            record => out.push(record),
        }
        bytes = rest;
    }
}

/// How the part speaks.
pub(crate) struct Leaf {
    pipe: RefCell<File>,
    /// The message.
    pub content: Content,
}

impl Leaf {
    /// Says something.
    pub fn send(&self, record: &Record) {
        let _ = self.pipe.borrow_mut().write_all(&record.encode());
    }
}

impl Tell for Leaf {
    fn log(&self, say: Say, text: String) {
        self.send(&Record::Log(say, text));
    }
}

/// Runs `work` in a process that has become `rights` for good. What it said comes back; an error
/// is a text for the log. Root's own files (uid 0) are handled by a process that stays root, which
/// must run no command and open no file that another user named. A process that says nothing more
/// for `patience` in all is killed: its user could have stopped it.
pub(crate) fn run(
    rights: &Rights,
    content: &Content,
    file_limit: u64,
    patience: Duration,
    work: impl FnOnce(&Leaf),
) -> Result<Vec<Record>, String> {
    let start = || -> io::Result<(sys::children::Child, io::PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let keep: Vec<OwnedFd> = vec![content.file().try_clone()?.into(), writer.into()];
        let (uid, gid) = (rights.uid, rights.gid);
        let child = sys::children::fork(keep, |mut fds| {
            let (Some(pipe), Some(message)) = (fds.pop(), fds.pop()) else { return 1 };
            let leaf = Leaf { pipe: RefCell::new(pipe.into()), content: content.through(message.into()) };
            if uid != 0
                && let Err(e) = sys::users::become_user(uid, gid)
            {
                leaf.log(Say::Error, format!("cannot become user {uid}: {e}"));
                return 1;
            }
            if let Err(e) = sys::children::limit_file_size(file_limit) {
                leaf.log(Say::Error, format!("cannot limit the size of files: {e}"));
                return 1;
            }
            work(&leaf);
            leaf.send(&Record::End);
            0
        })?;
        Ok((child, reader))
    };
    let (child, reader) = start().map_err(|e| format!("cannot start a process: {e}"))?;
    let mut bytes = Vec::new();
    let read = hear(reader, patience, &mut bytes);
    // Its commands have groups of their own, which it has waited for; this is for strays.
    child.kill_group();
    let ended = child.wait().map_err(|e| format!("cannot wait for a process: {e}"))?;
    match read_all(&bytes) {
        Some(records) if read.is_ok() => Ok(records),
        _ => {
            let said = partial(&bytes);
            let why = match read {
                Ok(()) => format!("ended with {ended:?} before its work was done"),
                Err(e) => format!("was killed: {e}"),
            };
            Err(format!("a process as user {} {why}{said}", rights.uid))
        }
    }
}

/// All that a part says, within limits of time and length.
fn hear(mut reader: io::PipeReader, patience: Duration, bytes: &mut Vec<u8>) -> io::Result<()> {
    let end = Instant::now() + patience;
    let mut piece = [0; 16 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it took longer than daemon_timeout"));
        }
        if sys::poll::readable(&[reader.as_fd()], Some(left))?.first() != Some(&true) {
            continue;
        }
        match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) if bytes.len() + n > MOST => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it said too much"));
            }
            Ok(n) => bytes.extend_from_slice(piece.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The log lines of a part that died, for the log.
fn partial(bytes: &[u8]) -> String {
    let mut rest = bytes;
    let mut out = String::new();
    while let Some((kind, tail)) = rest.split_first()
        && let Some((length, tail)) = tail.split_first_chunk::<4>()
        && let Some((body, tail)) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)
    {
        if let Some(Record::Log(_, text)) = Record::decode(*kind, body) {
            out.push_str(": ");
            out.push_str(&text);
        }
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONG: Duration = Duration::from_secs(60);

    fn status(text: &str, diagnostic: Option<&str>) -> Status {
        let remote = diagnostic.map(|d| Remote::of(None, ("x-unix".into(), d.into())));
        Status { code: Code(4, 3, 0), text: text.into(), remote }
    }

    #[test]
    fn what_a_part_says_arrives() {
        let own = sys::users::identities();
        let rights = Rights { uid: own.euid, gid: own.egid, home: None, shell: None };
        let content = Content::new(sys::memory_file::sealed(b"hola\r\n").unwrap(), 0, 6);
        let said = run(&rights, &content, 0, LONG, |leaf| {
            leaf.log(Say::Warning, "w".into());
            leaf.send(&Record::Done(status("a\0b", Some("d"))));
            leaf.send(&Record::Done(status("x", None)));
            leaf.send(&Record::Found("jose".into(), true));
        });
        let expected = vec![
            Record::Log(Say::Warning, "w".into()),
            Record::Done(status("a\0b", Some("d"))),
            Record::Done(status("x", None)),
            Record::Found("jose".into(), true),
        ];
        assert_eq!(said, Ok(expected));
        let died = run(&rights, &content, 0, LONG, |leaf| {
            leaf.send(&Record::Found("jose".into(), true));
            std::panic::set_hook(Box::new(|_| {}));
            panic!()
        });
        assert!(died.unwrap_err().contains("before its work was done"));
    }

    #[test]
    fn a_part_that_stands_still_or_never_ends_is_killed() {
        let own = sys::users::identities();
        let rights = Rights { uid: own.euid, gid: own.egid, home: None, shell: None };
        let content = Content::new(sys::memory_file::sealed(b"hola\r\n").unwrap(), 0, 6);
        let stopped = run(&rights, &content, 0, Duration::from_millis(100), |leaf| {
            leaf.log(Say::Warning, "here".into());
            let _ = sys::signals::send(std::process::id(), 19);
        });
        let what = stopped.unwrap_err();
        assert!(what.contains("daemon_timeout") && what.ends_with(": here"), "{what}");
        let endless = run(&rights, &content, 0, LONG, |leaf| {
            loop {
                leaf.send(&Record::Found("x".repeat(1 << 20), false));
            }
        });
        assert!(endless.unwrap_err().contains("said too much"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(&bytes);
            let _ = partial(&bytes);
        }
    }
}
