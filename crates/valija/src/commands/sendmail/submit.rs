//! Handing a record stream to postdrop, which alone may write to the maildrop.

use config::Config;
use config::programs::{Program, find};
use std::io::{BufWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Why a message was not taken: an exit status of sysexits(3), and words.
pub type Failure = (u8, String);

/// sysexits(3).
pub const EX_USAGE: u8 = 64;
/// The message cannot be taken.
pub const EX_UNAVAILABLE: u8 = 69;
/// A defect, or the answer makes no sense.
pub const EX_SOFTWARE: u8 = 70;
/// Later it may work.
pub const EX_TEMPFAIL: u8 = 75;
/// Not allowed.
pub const EX_NOPERM: u8 = 77;
/// The configuration is wrong.
pub const EX_CONFIG: u8 = 78;

/// A running postdrop. Dropping it before [`Submission::finish`] takes the message back.
pub struct Submission {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    command: String,
    /// What postdrop said so far.
    answer: Vec<u8>,
    name: String,
}

impl Submission {
    /// Starts postdrop.
    pub fn start(config: &Config) -> Result<Submission, Failure> {
        let program = find(Program::Postdrop, Some(config)).map_err(|e| (EX_TEMPFAIL, e))?;
        let command = format!("{} -r", program.display());
        let mut call = Command::new(&program);
        call.arg0("postdrop").arg("-r").stdin(Stdio::piped()).stdout(Stdio::piped());
        if config.directory() != std::path::Path::new(config::directory::DEFAULT) {
            call.env("MAIL_CONFIG", config.directory());
        } else {
            call.env_remove("MAIL_CONFIG");
        }
        let mut child =
            call.spawn().map_err(|e| (EX_TEMPFAIL, format!("unable to execute {command}: {e}")))?;
        let input = child.stdin.take().map(|i| BufWriter::with_capacity(64 * 1024, i));
        let mut submission = Submission { child, input, command, answer: Vec::new(), name: String::new() };
        // postdrop names the message before it reads; one that cannot work has ended by then.
        let mut piece = [0; 256];
        while !submission.answer.ends_with(b"\0\0") {
            let out = submission.child.stdout.as_mut();
            match out.map_or(Ok(0), |out| out.read(&mut piece)) {
                Ok(0) | Err(_) => return Err(submission.finish().err().unwrap_or_default()),
                Ok(n) => submission.answer.extend_from_slice(&piece[..n]),
            }
        }
        submission.name = understand(&submission.answer).0;
        Ok(submission)
    }

    /// The name of the message in the maildrop.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Passes records on. A postdrop that has gone is told of by `finish`.
    pub fn write(&mut self, records: &[u8]) {
        if let Some(input) = self.input.as_mut()
            && input.write_all(records).is_err()
        {
            self.input = None;
        }
    }

    /// All is written: what became of it. Gives the name in the maildrop.
    pub fn finish(mut self) -> Result<String, Failure> {
        if let Some(mut input) = self.input.take() {
            let _ = input.flush();
        }
        if let Some(mut out) = self.child.stdout.take() {
            let _ = out.read_to_end(&mut self.answer);
        }
        let exit = self.child.wait().map_err(|e| (EX_SOFTWARE, e.to_string()))?;
        let (name, status) = understand(&self.answer);
        match status {
            Some(0) => Ok(name),
            Some(s) if s & 4 != 0 => Err((EX_UNAVAILABLE, "message file too big".into())),
            Some(s) if s & 2 != 0 => Err((EX_TEMPFAIL, "queue file write error".into())),
            Some(_) => Err((EX_SOFTWARE, "internal protocol error".into())),
            None if exit.code() == Some(i32::from(EX_NOPERM)) => {
                Err((EX_NOPERM, "not allowed to submit mail".into()))
            }
            None => {
                let how = match exit.code() {
                    Some(code) => format!("exited with status {code}"),
                    None => format!("ended: {exit}"),
                };
                Err((EX_TEMPFAIL, format!("unable to execute {}: {how}", self.command)))
            }
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        // Without an end record postdrop removes what it wrote.
        self.input = None;
        let _ = self.child.wait();
    }
}

/// The queue id and the status of postdrop's answer: names and values ended by NUL.
fn understand(answer: &[u8]) -> (String, Option<u16>) {
    let words: Vec<&[u8]> = answer.split(|b| *b == 0).collect();
    let value = |name: &[u8]| {
        let at = words.iter().position(|w| *w == name)?;
        std::str::from_utf8(words.get(at + 1)?).ok()
    };
    let status = value(b"status").and_then(|s| s.parse().ok());
    (value(b"queue_id").unwrap_or_default().to_string(), status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let greeting = b"protocol\0postdrop_protocol\0queue_id\x006B4AEE48EF\0\0";
        let whole = [&greeting[..], b"status\x000\0reason\0\0\0"].concat();
        assert_eq!(understand(&whole), ("6B4AEE48EF".into(), Some(0)));
        assert_eq!(understand(greeting), ("6B4AEE48EF".into(), None));
        assert_eq!(understand(b""), (String::new(), None));
    }
}
