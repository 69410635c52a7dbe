//! Editing master.cf: whole services (`-M`), fields (`-F`), settings (`-P`). Other lines stay as they
//! are; a changed line is written anew, behind the comments that stood between its lines.

use super::entry::{self, Entry, FIELDS};
use super::file::{self, Edit as FileEdit, PieceKind};
use super::options::{Edit, Mode};
use super::show_master::matches;
use super::{Done, warning};
use std::path::Path;

pub(super) fn edit(mode: Mode, edit: Edit, directory: &Path, words: &[String]) -> Done {
    let requests = words.iter().map(|w| Request::read(mode, edit, w)).collect::<Result<Vec<_>, _>>()?;
    let (file, bytes) = FileEdit::begin(&directory.join("master.cf"))?;
    let (new, unmatched) = apply(mode, edit, &bytes, &requests)?;
    for word in unmatched {
        warning(&format!("unmatched service_name/type: {word:?}"));
    }
    file.commit(&new)
}

/// `service/type[/rest][=value]`.
struct Request {
    word: String,
    parts: Vec<String>,
    value: String,
}

impl Request {
    fn read(mode: Mode, edit: Edit, word: &str) -> Result<Request, String> {
        file::one_line(std::slice::from_ref(&word.to_string()))?;
        let (pattern, value) = match edit {
            Edit::Set => config::lines::name_value(word).map_err(|what| format!("{what}: {word:?}"))?,
            _ => (word, ""),
        };
        let parts: Vec<String> = pattern.split('/').filter(|p| !p.is_empty()).map(str::to_string).collect();
        let (count, form) = match mode {
            Mode::Fields => (3, "-Fe requires service_name/type/field_name"),
            Mode::Settings => (3, "-Pe or -PX requires service_name/type/parameter"),
            _ => (2, "-Me, -MX or -M# requires service_name/type"),
        };
        if parts.len() != count {
            return Err(form.to_string());
        }
        if mode == Mode::Settings && value.contains(char::is_whitespace) {
            return Err("-Pe does not accept whitespace in parameter value".into());
        }
        if mode == Mode::Fields && !FIELDS.iter().any(|f| parts.get(2).is_some_and(|p| p == f)) {
            return Err(format!(
                "invalid service attribute name: {:?}",
                parts.get(2).cloned().unwrap_or_default()
            ));
        }
        Ok(Request { word: word.to_string(), parts, value: value.to_string() })
    }

    fn part(&self, at: usize) -> &str {
        self.parts.get(at).map_or("", String::as_str)
    }

    fn service(&self, name: &str, kind: &str) -> bool {
        matches(self.part(0), name) && matches(self.part(1), kind)
    }
}

/// A service's physical lines, with the comments among them.
struct Block<'a> {
    pieces: Vec<file::Piece<'a>>,
}

impl Block<'_> {
    /// The entry as one logical line; empty for the comments at the head of the file.
    fn text(&self) -> String {
        let ours = self.pieces.iter().filter(|p| p.kind != PieceKind::Aside);
        let bytes: Vec<u8> =
            ours.flat_map(|p| p.line.iter().copied()).map(|b| if b == b'\n' { b' ' } else { b }).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn asides(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().filter(|p| p.kind == PieceKind::Aside).map(|p| p.line)
    }
}

fn blocks(bytes: &[u8]) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for piece in file::pieces(bytes) {
        match blocks.last_mut() {
            Some(block) if piece.kind != PieceKind::First => block.pieces.push(piece),
            _ => blocks.push(Block { pieces: vec![piece] }),
        }
    }
    blocks
}

type Changed = (Vec<u8>, Vec<String>);

fn apply(mode: Mode, edit: Edit, bytes: &[u8], requests: &[Request]) -> Result<Changed, String> {
    let mut out = Vec::with_capacity(bytes.len() + 128);
    let mut matched = vec![false; requests.len()];
    for block in blocks(bytes) {
        let text = block.text();
        let mut words = text.split_ascii_whitespace();
        let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_entry = block.pieces.first().is_some_and(|p| p.kind == PieceKind::First);
        let hits: Vec<usize> = (0..requests.len())
            .filter(|i| is_entry && requests.get(*i).is_some_and(|r| r.service(name, kind)))
            .collect();
        if hits.is_empty() {
            block.pieces.iter().for_each(|p| out.extend_from_slice(p.line));
            continue;
        }
        hits.iter().filter_map(|i| matched.get_mut(*i).map(|m| *m = true)).for_each(drop);
        let mut requests = hits.iter().filter_map(|i| requests.get(*i));
        match (mode, edit) {
            (Mode::Services | Mode::Main, Edit::Comment) => block.pieces.iter().for_each(|p| {
                if p.kind != PieceKind::Aside {
                    out.push(b'#');
                }
                out.extend_from_slice(p.line);
            }),
            (Mode::Services | Mode::Main, _) => {
                // The comments that follow a replaced entry stay behind it.
                if edit == Edit::Set
                    && let Some(request) = requests.next_back()
                {
                    file::push_line(&mut out, &entry::read(&request.value)?.print(true));
                }
                block.asides().for_each(|line| out.extend_from_slice(line));
            }
            (Mode::Fields | Mode::Settings, _) => {
                let mut entry = entry::read(&text)?;
                for request in requests {
                    change(&mut entry, mode, edit, request)?;
                }
                block.asides().for_each(|line| out.extend_from_slice(line));
                file::push_line(&mut out, &entry.print(true));
            }
        }
    }
    let missing = requests.iter().zip(&matched).filter(|(_, m)| !**m).map(|(r, _)| r);
    if mode == Mode::Services && edit == Edit::Set {
        for request in missing {
            file::push_line(&mut out, &entry::read(&request.value)?.print(true));
        }
        return Ok((out, Vec::new()));
    }
    let missing = missing.map(|r| r.word.clone()).collect();
    Ok((out, missing))
}

fn change(entry: &mut Entry, mode: Mode, edit: Edit, request: &Request) -> Result<(), String> {
    let name = request.part(2);
    if mode == Mode::Settings {
        if edit == Edit::Set {
            entry.set(name, &request.value)
        } else {
            entry.unset(name)
        }
        return Ok(());
    }
    let at = FIELDS.iter().position(|f| *f == name).unwrap_or(FIELDS.len());
    match entry.columns.get_mut(at) {
        Some(column) => {
            *column = request.value.clone();
            let invalid = |_| format!("invalid {name} field {:?} in {:?}", request.value, request.value);
            *entry = entry::read(&entry.print(false)).map_err(invalid)?;
        }
        None => {
            let words = config::master_cf::words(&request.value);
            let [command, arguments @ ..] = words.as_slice() else {
                return Err(format!("missing command name in {:?}", request.word));
            };
            entry.command = command.clone();
            entry.arguments = entry::arguments(arguments);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# top\nsmtp inet n - y - - smtpd -v\n  -o a=b -o { c = d e }\n# mid\n  -o e=f\npickup unix n - y 60 1 pickup\n";
    const PICKUP: &str = "pickup unix n - y 60 1 pickup\n";

    fn check(mode: Mode, edit: Edit, word: &str, expected: &str) {
        let request = Request::read(mode, edit, word).unwrap();
        let (new, _) = apply(mode, edit, FILE.as_bytes(), &[request]).unwrap();
        assert_eq!(String::from_utf8(new).unwrap(), expected, "{word}");
    }

    /// Each was done so by a real postconf.
    #[test]
    fn edits_as_postconf_does() {
        let smtp = |chroot: &str, tail: &str| {
            format!("smtp       inet  n       -       {chroot}       -       -       smtpd{tail}")
        };
        check(
            Mode::Services,
            Edit::Set,
            "smtp/inet=smtp inet n - n - - smtpd -o x=y -o {z = w v}",
            &format!("# top\n{}# mid\n{PICKUP}", smtp("n", "\n    -o x=y\n    -o {z=w v}\n")),
        );
        check(
            Mode::Services,
            Edit::Set,
            "new/unix=new unix - - n - - foo",
            &format!("{FILE}new        unix  -       -       n       -       -       foo\n"),
        );
        check(Mode::Services, Edit::Remove, "*/inet", &format!("# top\n# mid\n{PICKUP}"));
        check(
            Mode::Services,
            Edit::Comment,
            "smtp/inet",
            &format!(
                "# top\n#smtp inet n - y - - smtpd -v\n#  -o a=b -o {{ c = d e }}\n# mid\n#  -o e=f\n{PICKUP}"
            ),
        );
        let settings = "\n    -o a=b\n    -o {c=d e}\n    -o e=f\n";
        check(
            Mode::Fields,
            Edit::Set,
            "smtp/inet/chroot=n",
            &format!("# top\n# mid\n{}{PICKUP}", smtp("n", &format!(" -v{settings}"))),
        );
        check(
            Mode::Settings,
            Edit::Remove,
            "smtp/inet/a",
            &format!("# top\n# mid\n{}{PICKUP}", smtp("y", " -v\n    -o {c=d e}\n    -o e=f\n")),
        );
    }

    #[test]
    fn refused() {
        let ask = |mode, edit, word: &str| Request::read(mode, edit, word).err().unwrap();
        assert_eq!(ask(Mode::Services, Edit::Remove, "smtp"), "-Me, -MX or -M# requires service_name/type");
        let spaces = "-Pe does not accept whitespace in parameter value";
        assert_eq!(ask(Mode::Settings, Edit::Set, "a/unix/b=c d"), spaces);
        let bad = Request::read(Mode::Fields, Edit::Set, "smtp/inet/chroot=z").unwrap();
        let error = apply(Mode::Fields, Edit::Set, FILE.as_bytes(), &[bad]).unwrap_err();
        assert_eq!(error, "invalid chroot field \"z\" in \"z\"");
    }
}
