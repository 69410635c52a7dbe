//! Lines as postconf prints them: words separated by one space; with `-f`, at most 80 columns where
//! a word allows it, further lines indented by four.

const WIDTH: usize = 80;
pub(super) const INDENT: &str = "    ";

/// Prints words into lines.
pub(super) struct Lines {
    fold: bool,
    width: usize,
    out: String,
    column: usize,
}

impl Lines {
    pub(super) fn new(fold: bool) -> Lines {
        Lines { fold, width: WIDTH, out: String::new(), column: 0 }
    }

    /// For lines of master.cf, which are folded one column earlier.
    pub(super) fn narrow(fold: bool) -> Lines {
        Lines { width: WIDTH - 1, ..Lines::new(fold) }
    }

    /// Text that stands as it is.
    pub(super) fn literal(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    /// A word, with a space or a new line before it unless it is the first.
    pub(super) fn word(&mut self, word: &str) {
        let length = word.chars().count();
        if self.column > 0 {
            if self.fold && self.column + 1 + length > self.width {
                self.break_line();
            } else {
                self.literal(" ");
            }
        }
        self.literal(word);
    }

    /// The next word begins a line, when folding; else it follows a space.
    pub(super) fn word_on_new_line(&mut self, word: &str) {
        if self.fold && self.column > INDENT.len() {
            self.break_line();
            self.literal(word);
        } else {
            self.word(word);
        }
    }

    fn break_line(&mut self) {
        self.out.push('\n');
        self.out.push_str(INDENT);
        self.column = INDENT.len();
    }

    pub(super) fn end(mut self) -> String {
        self.out.push('\n');
        self.out
    }
}

/// `name = value`, or one of the two.
pub(super) fn setting(name: &str, value: &str, flags: &super::Options) -> String {
    if flags.listing('H') {
        return format!("{name}\n");
    }
    let mut lines = Lines::new(flags.listing('f'));
    if !flags.listing('h') {
        lines.literal(&format!("{name} ="));
    }
    value.split_ascii_whitespace().for_each(|w| lines.word(w));
    lines.end()
}
