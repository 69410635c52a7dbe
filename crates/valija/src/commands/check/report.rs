//! What was found, for people and for programs.

use config::Problem;

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Obeyed as Postfix does.
    Same,
    /// Needs no obeying.
    Accepted,
    /// Obeyed in part, or otherwise.
    Differs,
    /// Has no effect though it should.
    Unsupported,
    /// Nobody knows it.
    Unknown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Accepted => "accepted without effect",
            Verdict::Differs => "differs",
            Verdict::Unsupported => "unsupported",
            Verdict::Unknown => "unknown",
        }
    }

    fn fine(self) -> bool {
        matches!(self, Verdict::Same | Verdict::Accepted)
    }
}

/// One setting or line.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) file: &'static str,
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
    pub(super) verdict: Verdict,
    pub(super) note: String,
}

impl Row {
    fn text(&self) -> String {
        let note = if self.note.is_empty() { String::new() } else { format!(": {}", self.note) };
        format!("{}:{}: {}: {}{note}", self.file, self.line, self.name, self.verdict.word())
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(in crate::commands) struct Report {
    pub(super) directory: String,
    pub(super) rows: Vec<Row>,
    /// What stops a start.
    pub(super) faults: Vec<Problem>,
    /// What is odd.
    pub(super) notes: Vec<Problem>,
}

impl Report {
    /// 0 all well, 1 something is not the same, 2 would not start.
    pub(super) fn status(&self) -> u8 {
        if !self.faults.is_empty() {
            2
        } else if self.rows.iter().any(|r| !r.verdict.fine()) {
            1
        } else {
            0
        }
    }

    /// How many of a hundred settings are the same or need no obeying; rounded down, so that 100 is true.
    fn percentage(&self) -> usize {
        let fine = self.rows.iter().filter(|r| r.verdict.fine()).count();
        (fine * 100).checked_div(self.rows.len()).unwrap_or(100)
    }

    /// The last line of the report.
    pub(in crate::commands) fn summary(&self) -> String {
        if self.faults.is_empty() {
            let (percent, count) = (self.percentage(), self.rows.len());
            format!("{percent}% of {count} settings are the same here or need no obeying")
        } else {
            "this configuration would not be started".to_string()
        }
    }

    /// What is not the same, what is odd, what stops a start.
    pub(in crate::commands) fn odd(&self) -> Vec<String> {
        let rows = self.rows.iter().filter(|r| !r.verdict.fine()).map(Row::text);
        let notes = self.notes.iter().map(|p| format!("notice: {p}"));
        rows.chain(notes).chain(self.faults.iter().map(|p| format!("refused: {p}"))).collect()
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.rows.iter().for_each(|r| out.push_str(&format!("{}\n", r.text())));
        self.notes.iter().for_each(|p| out.push_str(&format!("notice: {p}\n")));
        self.faults.iter().for_each(|p| out.push_str(&format!("refused: {p}\n")));
        out.push_str(&format!("{}\n", self.summary()));
        out
    }

    pub(super) fn json(&self) -> String {
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|r| {
                format!(
                    "{{\"file\":{},\"line\":{},\"name\":{},\"value\":{},\"verdict\":{},\"note\":{}}}",
                    quoted(r.file),
                    r.line,
                    quoted(&r.name),
                    quoted(&r.value),
                    quoted(r.verdict.word()),
                    quoted(&r.note)
                )
            })
            .collect();
        let texts =
            |all: &[Problem]| all.iter().map(|p| quoted(&p.to_string())).collect::<Vec<_>>().join(",");
        format!(
            "{{\"directory\":{},\"percent\":{},\"status\":{},\"settings\":[{}],\"notices\":[{}],\"refused\":[{}]}}\n",
            quoted(&self.directory),
            self.percentage(),
            self.status(),
            rows.join(","),
            texts(&self.notes),
            texts(&self.faults)
        )
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
