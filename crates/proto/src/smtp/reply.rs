//! What a server answers.

use std::fmt;
use std::io::Write;

/// A reply: a code and its text (enhanced code included). Lines of the text are separated by
/// `\n`. RFC 5321 4.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// Text, without internals of this host.
    pub text: String,
}

impl Reply {
    /// A reply of this code and text.
    pub fn new(code: u16, text: impl Into<String>) -> Reply {
        Reply { code, text: text.into() }
    }

    /// Positive: 2xx or 3xx.
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// `soft_bounce`: a refusal for good becomes one for now.
    pub fn soften(&mut self) {
        if self.code >= 500 {
            self.code -= 100;
            if self.text.starts_with("5.") {
                self.text.replace_range(..1, "4");
            }
        }
    }

    /// The same with more lines below, each with the enhanced code; after `\\c` the footer goes on
    /// where the reply ends.
    pub fn with_footer(&self, footer: &str) -> Reply {
        let enhanced = self
            .text
            .split(' ')
            .next()
            .filter(|w| w.contains('.') && w.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        let mut text = self.text.clone();
        let mut lines = footer.split('\n').filter(|l| !l.is_empty());
        if footer.starts_with("\\c") {
            text.push_str(lines.next().and_then(|l| l.strip_prefix("\\c")).unwrap_or_default());
        }
        for line in lines {
            text.push('\n');
            if let Some(enhanced) = enhanced {
                text.push_str(enhanced);
                text.push(' ');
            }
            text.push_str(line);
        }
        Reply { code: self.code, text }
    }

    /// Writes it in wire form. Control bytes become `?`, so that no text can add a line.
    pub fn render(&self, out: &mut Vec<u8>) {
        // Each line has a code, a separator and an end.
        out.reserve(self.text.len() + 6 * (1 + self.text.matches('\n').count()));
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            let _ = write!(out, "{:03}{separator}", self.code);
            out.extend(line.bytes().map(|b| if b.is_ascii_control() { b'?' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// On one line, as the log shows it.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footers() {
        let reply = Reply::new(454, "4.7.1 <a@b>: Relay access denied");
        assert_eq!(reply.with_footer("\\c. Call us").text, "4.7.1 <a@b>: Relay access denied. Call us");
        assert_eq!(
            reply.with_footer("one\ntwo").text,
            "4.7.1 <a@b>: Relay access denied\n4.7.1 one\n4.7.1 two"
        );
        assert_eq!(Reply::new(500, "Error").with_footer("one").text, "Error\none");
        assert_eq!(reply.with_footer("").text, reply.text);
    }

    #[test]
    fn lines() {
        let mut out = Vec::new();
        Reply::new(250, "mx\nPIPELINING\nSIZE 10").render(&mut out);
        Reply::new(550, "5.1.1 a\r\x07b").render(&mut out);
        assert_eq!(out, b"250-mx\r\n250-PIPELINING\r\n250 SIZE 10\r\n550 5.1.1 a??b\r\n");
    }
}
