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

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Report {
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

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let note = if row.note.is_empty() { String::new() } else { format!(": {}", row.note) };
            out.push_str(&format!("{}:{}: {}: {}{note}\n", row.file, row.line, row.name, row.verdict.word()));
        }
        self.notes.iter().for_each(|p| out.push_str(&format!("notice: {p}\n")));
        self.faults.iter().for_each(|p| out.push_str(&format!("refused: {p}\n")));
        if self.faults.is_empty() {
            let (percent, count) = (self.percentage(), self.rows.len());
            out.push_str(&format!("{percent}% of {count} settings are the same here or need no obeying\n"));
        } else {
            out.push_str("this configuration would not be started\n");
        }
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
