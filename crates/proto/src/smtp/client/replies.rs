//! Reading what a server answers. RFC 5321 4.2.

use crate::status::Code;
use memchr::memchr;
use std::collections::VecDeque;

/// Of a line, so many bytes are kept; the rest is passed over.
const LONGEST_LINE: usize = 2048;
/// Of the text of an answer, lines are kept until there are so many bytes.
const LONGEST_TEXT: usize = 2048;
/// The lines of EHLO are all needed, but there are not more than so many bytes of them.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Three digits.
    pub code: u16,
    /// The enhanced code of the last line when it suits the code, else made of its first digit; for
    /// answers that are neither 2xx, 4xx nor 5xx there is none. RFC 2034
    pub enhanced: Option<Code>,
    /// The lines as they came, codes included, separated by `\n`; printable.
    pub text: String,
}

impl Answer {
    /// With other lines instead of its own; `None` when the last of them is no reply.
    pub fn with_lines(&self, lines: &[String]) -> Option<Answer> {
        let last = lines.last()?;
        let code = last.get(..3).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
        Some(Answer { code, enhanced: enhanced(code, last), text: lines.join("\n") })
    }

    /// The first digit.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.class() == 2
    }

    /// On one line, as the log and the sender see it.
    pub fn one_line(&self) -> String {
        self.text.replace('\n', " ")
    }
}

/// What a server said makes no sense, and nothing after it can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// A line that is no reply; its beginning.
    NoReply(String),
    /// An answer without end.
    Endless,
}

/// Cuts what a server sends into answers.
#[derive(Debug, Default)]
pub struct Replies {
    /// What came and was not looked at yet.
    input: VecDeque<u8>,
    /// The line that is not complete.
    line: Vec<u8>,
    /// Lines of the answer that is not complete.
    text: String,
    /// How many bytes came for it.
    size: usize,
}

impl Replies {
    /// Takes bytes of the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
    }

    /// Nothing came that was not asked for.
    pub fn is_empty(&self) -> bool {
        self.input.is_empty() && self.line.is_empty() && self.text.is_empty()
    }

    /// A line came, or begins, that says yes.
    pub fn says_yes(&self) -> bool {
        let mut begins = self.line.is_empty();
        self.line.first() == Some(&b'2')
            || self.input.iter().any(|b| {
                let yes = begins && *b == b'2';
                begins = *b == b'\n';
                yes
            })
    }

    /// The next answer, when it is complete. Lines that are no replies are passed over, unless
    /// `strict`: when several commands are under way, a reply after garbage may belong to any of them.
    /// `all`: the text is wanted whole.
    pub fn next_answer(&mut self, strict: bool, all: bool) -> Result<Option<Answer>, Garbage> {
        while self.complete_line()? {
            let (line, kept) = (&self.line, if all { LONGEST_ANSWER } else { LONGEST_TEXT });
            let shown = printable(line);
            let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
            let code = line.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse().ok());
            let separator = line.get(3).copied();
            self.line.clear();
            match (code, digits, separator) {
                (Some(_), 3, Some(b'-')) => self.keep(shown, kept),
                (Some(code), 3, None | Some(b' ')) => {
                    let enhanced = enhanced(code, &shown);
                    self.keep(shown, kept);
                    self.size = 0;
                    return Ok(Some(Answer { code, enhanced, text: std::mem::take(&mut self.text) }));
                }
                _ if strict => return Err(Garbage::NoReply(shown.chars().take(100).collect())),
                _ => self.keep(shown, kept),
            }
        }
        Ok(None)
    }

    /// A line more of the answer, while that has not so many bytes.
    fn keep(&mut self, shown: String, most: usize) {
        if self.text.is_empty() {
            self.text = shown;
        } else if self.text.len() < most {
            self.text.push('\n');
            self.text.push_str(&shown);
        }
    }

    /// Moves input to `line` up to the line's end; true when that came.
    fn complete_line(&mut self) -> Result<bool, Garbage> {
        loop {
            let (chunk, _) = self.input.as_slices();
            if chunk.is_empty() {
                return Ok(false);
            }
            let end = memchr(b'\n', chunk);
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            let room = LONGEST_LINE.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(part.get(..room).unwrap_or_default());
            let used = part.len() + usize::from(end.is_some());
            self.size += used;
            self.input.drain(..used);
            if self.size > LONGEST_ANSWER {
                return Err(Garbage::Endless);
            }
            if end.is_some() {
                while self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
                return Ok(true);
            }
        }
    }
}

fn enhanced(code: u16, line: &str) -> Option<Code> {
    let class = u8::try_from(code / 100).ok().filter(|c| matches!(c, 2 | 4 | 5))?;
    let word = line.get(4..).and_then(|t| t.split_ascii_whitespace().next());
    let written = word.and_then(Code::parse).filter(|c| c.0 == class);
    Some(written.unwrap_or(Code(class, 0, 0)))
}

/// Control bytes and what is no text become `?`.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().map(|c| if c.is_control() { '?' } else { c }));
        out.extend(chunk.invalid().iter().map(|_| '?'));
    }
    out
}
