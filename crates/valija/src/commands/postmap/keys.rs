//! The lookup keys of a message on standard input: `postmap -q - -h -b -m`.

/// Which parts of a message are asked for.
#[derive(Clone, Copy, Default)]
pub struct Parts {
    /// `-h`: header lines.
    pub headers: bool,
    /// `-b`: body lines.
    pub body: bool,
    /// `-m`: headers of parts and of attached messages are headers, not body.
    pub mime: bool,
}

impl Parts {
    /// The input is a message.
    pub fn any(self) -> bool {
        self.headers || self.body
    }
}

/// Gives each key to `each` until that says no.
pub fn of_message(lines: impl Iterator<Item = String>, parts: Parts, each: &mut dyn FnMut(&str) -> bool) {
    let mut reader = Reader { parts, header: None, in_headers: true, boundaries: Vec::new(), nested: false };
    for line in lines {
        if !reader.line(line, each) {
            return;
        }
    }
    reader.end_header(each);
}

struct Reader {
    parts: Parts,
    header: Option<String>,
    in_headers: bool,
    boundaries: Vec<String>,
    /// The headers just read announce an attached message.
    nested: bool,
}

impl Reader {
    fn line(&mut self, line: String, each: &mut dyn FnMut(&str) -> bool) -> bool {
        if !self.in_headers {
            return self.body(line, each);
        }
        if let Some(header) = self.header.as_mut().filter(|_| line.starts_with([' ', '\t'])) {
            header.push('\n');
            header.push_str(&line);
            return true;
        }
        let name = line.split(':').next().unwrap_or("");
        let is_header = line.contains(':')
            && !name.trim_end().is_empty()
            && name.trim_end().bytes().all(|b| b.is_ascii_graphic());
        if !self.end_header(each) {
            return false;
        }
        if is_header {
            self.header = Some(line);
            return true;
        }
        self.in_headers = self.nested && line.is_empty();
        if !self.in_headers && !self.parts.body {
            return self.parts.mime;
        }
        let more = !self.parts.body || each(&line);
        self.nested = false;
        more
    }

    fn body(&mut self, line: String, each: &mut dyn FnMut(&str) -> bool) -> bool {
        let ends = |b: &String| line.strip_prefix("--").is_some_and(|l| l.starts_with(b.as_str()));
        if self.parts.mime
            && let Some(depth) = self.boundaries.iter().rposition(ends)
        {
            let closing = self
                .boundaries
                .get(depth)
                .is_some_and(|b| line.get(b.len() + 2..).unwrap_or("").starts_with("--"));
            self.boundaries.truncate(if closing { depth } else { depth + 1 });
            self.in_headers = !closing;
        }
        !self.parts.body || each(&line)
    }

    /// A header is complete.
    fn end_header(&mut self, each: &mut dyn FnMut(&str) -> bool) -> bool {
        let Some(header) = self.header.take() else { return true };
        if self.parts.mime
            && let Some((name, value)) = header.split_once(':')
            && name.trim_end().eq_ignore_ascii_case("content-type")
        {
            let kind = value.trim_start().to_ascii_lowercase();
            self.nested = kind.starts_with("message/rfc822") || kind.starts_with("message/global");
            let at =
                kind.starts_with("multipart/").then(|| value.to_ascii_lowercase().find("boundary")).flatten();
            let after = at.and_then(|at| value.get(at + 8..)).map(str::trim_start);
            if let Some(text) = after.and_then(|t| t.strip_prefix('=')).map(str::trim_start) {
                let boundary = match text.strip_prefix('"') {
                    Some(quoted) => quoted.split('"').next(),
                    None => text.split(|c: char| c == ';' || c.is_whitespace()).next(),
                };
                self.boundaries.extend(boundary.filter(|b| !b.is_empty()).map(str::to_string));
            }
        }
        !self.parts.headers || each(&header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "Subject: x\n  y\nContent-Type: multipart/mixed; boundary=q\n\nbody1\n--q\n\
        Content-Type: text/plain\n\npart\n--q\nContent-Type: message/rfc822\n\nSubject: in\n\ninner\n--q--\nend";

    fn keys(options: &str) -> Vec<String> {
        let has = |c| options.contains(c);
        let parts = Parts { headers: has('h'), body: has('b'), mime: has('m') };
        let mut all = Vec::new();
        of_message(MESSAGE.lines().map(String::from), parts, &mut |k| {
            all.push(k.to_string());
            true
        });
        all
    }

    /// As a real postmap gave them.
    #[test]
    fn keys_of_a_message() {
        let first = ["Subject: x\n  y", "Content-Type: multipart/mixed; boundary=q"];
        assert_eq!(keys("h"), first);
        let inner = ["Content-Type: text/plain", "Content-Type: message/rfc822", "Subject: in"];
        assert_eq!(keys("hm"), [&first[..], &inner[..]].concat());
        assert_eq!(keys("bm"), ["", "body1", "--q", "", "part", "--q", "", "", "inner", "--q--", "end"]);
        let body: Vec<_> = MESSAGE.lines().skip(3).collect();
        assert_eq!(keys("b"), body);
    }
}
