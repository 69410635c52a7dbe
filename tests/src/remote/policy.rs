//! A scripted policy server (`protocol = policy`). A rule's beginning is a line that stands in the request, such as
//! `recipient=uno@doesntexist.org`, or nothing; the longest that does decides. A line of the reply is sent with the
//! empty line that ends it. What differs from run to run is shown as `<INSTANCE1>`, `<PORT>`.

use super::{Talk, lock};

/// What is answered where the file says nothing.
pub(super) const DEFAULTS: &str = " = action=DUNNO";

impl Talk {
    /// Requests, each up to its empty line, and their answers.
    pub(super) fn policy(&mut self) {
        self.line_end = b"\n";
        let mut request: Vec<String> = Vec::new();
        while !self.closed {
            let Some(line) = self.line() else { return };
            if !line.is_empty() {
                let shown = self.shown_attribute(&line);
                self.note(&format!("C: {shown}\n"));
                request.push(line);
                continue;
            }
            self.note("C:\n");
            let key = {
                let state = lock(&self.shared.0);
                let fits = |key: &&str| key.is_empty() || request.iter().any(|line| line == key);
                let keys = state.script.rules.iter().map(|rule| rule.beginning.as_str());
                keys.filter(fits).max_by_key(|key| key.len()).unwrap_or_default().to_string()
            };
            self.reply(&key, None);
            request.clear();
        }
    }

    fn shown_attribute(&self, line: &str) -> String {
        match line.split_once('=') {
            Some(("client_port", port)) if port.parse().is_ok_and(|n: u16| n > 0) => {
                "client_port=<PORT>".into()
            }
            // Between messages nothing but the process is named.
            Some(("instance", name)) if name.ends_with(".0.0.0") => "instance=<SESSION>.0.0.0".into(),
            Some(("instance", name)) => {
                let mut state = lock(&self.shared.0);
                let known = state.instances.iter().position(|known| known == name);
                let number = known.unwrap_or_else(|| {
                    state.instances.push(name.to_string());
                    state.instances.len() - 1
                });
                format!("instance=<INSTANCE{}>", number + 1)
            }
            _ => line.to_string(),
        }
    }
}
