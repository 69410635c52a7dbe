//! Questions in a terminal: each shows its default in brackets, takes Enter for it, says what is wrong
//! with an answer and asks again. The end of input ends the command with nothing changed.

use std::io::{BufRead, IsTerminal, Write};
use std::os::fd::AsFd;

/// How often a wrong answer is asked for again.
const TRIES: usize = 8;

/// Where questions go and answers come from.
pub(super) struct Asker<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
    asked: bool,
}

/// Whether there is somebody to ask.
pub(super) fn somebody() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

impl<'a> Asker<'a> {
    /// Asks with `output` and reads from `input`.
    pub(super) fn new(input: &'a mut dyn BufRead, output: &'a mut dyn Write) -> Asker<'a> {
        Asker { input, output, asked: false }
    }

    /// Whether anything was asked.
    pub(super) fn asked(&self) -> bool {
        self.asked
    }

    /// Says something before a question.
    pub(super) fn say(&mut self, text: &str) {
        let _ = writeln!(self.output, "{text}");
    }

    /// The answer to `question`, read by `check`.
    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        self.asked = true;
        for _ in 0..TRIES {
            let shown = default.map_or(String::new(), |d| format!(" [{d}]"));
            let _ = write!(self.output, "{question}{shown}: ");
            let _ = self.output.flush();
            let line = self.line()?;
            let answer = match (line.trim(), default) {
                ("", Some(default)) => default,
                (answer, _) => answer,
            };
            match check(answer) {
                Ok(value) => return Ok(value),
                Err(what) => self.say(&format!("  {what}")),
            }
        }
        Err("no usable answer; nothing was changed".into())
    }

    /// Yes or no.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, String> {
        self.ask(&format!("{question} (yes, no)"), Some("yes"), |answer| {
            match answer.to_ascii_lowercase().as_str() {
                "y" | "yes" => Ok(true),
                "n" | "no" => Ok(false),
                _ => Err("answer yes or no".into()),
            }
        })
    }

    fn line(&mut self) -> Result<String, String> {
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut *self.input, 4096);
        match limited.read_until(b'\n', &mut bytes) {
            Ok(0) => Err("the input ended; nothing was changed".into()),
            Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) => Err(format!("reading the answer: {e}; nothing was changed")),
        }
    }
}

/// The first line of `input`, which is called `name`.
pub(super) fn first_line(input: &mut dyn BufRead, name: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut limited = std::io::Read::take(input, 4096);
    limited.read_until(b'\n', &mut bytes).map_err(|e| format!("{name}: {e}; nothing was changed"))?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8 text; nothing was changed"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_string())
}

/// Reads a secret from the terminal without showing it.
pub(super) fn secret(question: &str) -> Result<String, String> {
    let stdin = std::io::stdin();
    let silence = sys::terminal::Silence::of(stdin.as_fd()).map_err(|e| format!("the terminal: {e}"))?;
    eprint!("{question}: ");
    let mut bytes = Vec::new();
    let mut limited = std::io::Read::take(stdin.lock(), 4096);
    let read = loop {
        // A line may end with Ctrl-C instead of a newline.
        let before = bytes.len();
        let buffer = match limited.fill_buf() {
            Ok(buffer) => buffer,
            Err(e) => break Err(e),
        };
        let end = buffer.iter().position(|b| matches!(*b, b'\n' | sys::terminal::INTERRUPT));
        let taken = end.map_or(buffer.len(), |at| at + 1);
        bytes.extend(buffer.iter().take(taken));
        limited.consume(taken);
        if end.is_some() || bytes.len() == before {
            break Ok(());
        }
    };
    drop(silence);
    eprintln!();
    read.map_err(|e| format!("reading the password: {e}; nothing was changed"))?;
    if bytes.is_empty() || bytes.contains(&sys::terminal::INTERRUPT) {
        return Err("interrupted; nothing was changed".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "the password is no UTF-8 text".to_string())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(input: &str, default: Option<&str>) -> (Result<u8, String>, String) {
        let (mut input, mut output) = (input.as_bytes(), Vec::new());
        let mut asker = Asker::new(&mut input, &mut output);
        let answer = asker.ask("Number", default, |a| a.parse().map_err(|_| "no number".to_string()));
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn answers() {
        assert_eq!(asked("\n", Some("7")), (Ok(7), "Number [7]: ".into()));
        assert_eq!(asked("x\n 8 \n", None), (Ok(8), "Number:   no number\nNumber: ".into()));
        assert!(asked("x\n", None).0.unwrap_err().contains("the input ended"));
        assert!(asked(&"x\n".repeat(20), None).0.unwrap_err().contains("no usable answer"));
    }
}
