//! `.forward` files: looked for, read and obeyed with the recipient's rights alone. local(8).
//!
//! What they name of commands and files is delivered right there, by the process that has become
//! the user; addresses go back to the parent. Root's own file is read the same way, but what it
//! names is delivered with the rights of `default_privs`.

use crate::actions::Destination;
use crate::answer::say;
use crate::events::{ForwardNotRegular, ForwardOwner, ForwardTrouble, ForwardWritable};
use crate::identity::Rights;
use crate::leaf::{self, Leaf, Record};
use crate::mail::{Item, os_text};
use crate::switch::{Engine, State, Via};
use crate::tokens::{self, Token};
use proto::status::{Code, Status};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use sys::users::Account;

/// The most that is read of a file of addresses, bytes.
const LONGEST: u64 = 8 * 1024 * 1024;

impl Engine<'_> {
    /// Obeys the user's `.forward` file; false when there is none that says anything.
    pub(crate) fn forward(&mut self, state: &State, account: &Account) -> bool {
        let item = self.item(state);
        let paths = match self.forward_paths(&item, account) {
            Ok(paths) => paths,
            Err(what) => {
                self.misconfigured(state, format!("parameter forward_path: {what}"));
                return true;
            }
        };
        if paths.is_empty() || crate::identity::refusal(account.uid).is_some() {
            return false;
        }
        let rights = Rights::from(account);
        let next = State {
            rights: Some(rights.clone()),
            from: Some(item.user.clone()),
            unmatched: None,
            ..state.clone()
        };
        let destination = Destination::new(self, &next, &rights);
        let (uid, limit) = (account.uid, self.set.line_limit);
        let shallow = self.mail.job.shallow;
        let said = leaf::run(&rights, self.mail.content, self.file_limit(), self.set.patience, |leaf| {
            for (path, extension) in &paths {
                match read(path, uid, leaf) {
                    Ok(None) => {}
                    Ok(Some(_)) if shallow => {
                        let text = format!("forward via file: {}", path.display());
                        return leaf.send(&Record::Done(crate::actions::would(text)));
                    }
                    Ok(Some(text)) => {
                        let destination = destination.with_extension(extension.clone());
                        destination.obey(leaf, tokens::parse_lines(&text, limit), Via::Forward, uid == 0);
                        return;
                    }
                    Err(e) => {
                        let (path, what) = (path.display().to_string(), os_text(&e));
                        let text = format!("cannot look up {path}: {what}");
                        say(leaf, &ForwardTrouble { path, what });
                        return leaf.send(&Record::Done(Status::new(Code(4, 3, 0), text)));
                    }
                }
            }
        });
        self.heard(&next, said, Via::Forward)
    }

    /// The files to try, in order, each with the extension that its addresses get.
    fn forward_paths(
        &self,
        item: &Item,
        account: &Account,
    ) -> Result<Vec<(PathBuf, Option<String>)>, String> {
        let filter = &self.set.params.forward_expansion_filter().0;
        let rights = Rights::from(account);
        let mut paths = Vec::new();
        for element in tables::split_list(&self.set.params.forward_path().0) {
            let path = account.home.join(self.expand(&element, item, Some(&rights), Some(filter))?);
            // An extension that chose the file is used up. propagate_unmatched_extensions
            let goes_on = self.set.propagate.iter().any(|p| p == "forward") && !element.contains("extension");
            if !paths.iter().any(|(p, _)| *p == path) {
                paths.push((path, item.extension.clone().filter(|_| goes_on)));
            }
        }
        Ok(paths)
    }

    /// A part of the delivery did not say what became of it.
    pub(crate) fn part_died(&mut self, state: &State, what: String) {
        say(self.tell, &crate::events::PartDied { what });
        self.done(state, Status::new(Code(4, 3, 0), "internal software error"));
    }

    /// Takes in what a part of the delivery said; false when it found nothing to do.
    pub(crate) fn heard(&mut self, state: &State, said: Result<Vec<Record>, String>, via: Via) -> bool {
        let records = match said {
            Ok(records) => records,
            Err(what) => {
                self.part_died(state, what);
                return true;
            }
        };
        let mut some = false;
        for record in records {
            match record {
                Record::Log(level, text) => self.tell.log(level, text),
                Record::Done(status) => {
                    some = true;
                    self.done(state, status);
                }
                Record::Found(text, include) => {
                    some = true;
                    let via = if include { Via::Include } else { via };
                    if let Some(token) = tokens::parse_one(&text) {
                        // Only root's own file and files with default rights leave these to us.
                        self.token(state, token, via);
                    }
                }
                Record::End => {}
            }
        }
        some
    }
}

/// The text of a `.forward` file; `None` when it is not there or must not be trusted.
fn read(path: &Path, uid: u32, leaf: &Leaf) -> io::Result<Option<Vec<u8>>> {
    let shown = || path.display().to_string();
    let missing = |e: &io::Error| {
        matches!(
            e.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
        )
    };
    let named = match std::fs::symlink_metadata(path) {
        Err(e) if missing(&e) => return Ok(None),
        other => other?,
    };
    if !named.is_file() {
        say(leaf, &ForwardNotRegular { path: shown() });
        return Ok(None);
    }
    let file = match open(path) {
        Err(e) if missing(&e) => {
            if e.kind() == io::ErrorKind::PermissionDenied {
                say(leaf, &ForwardTrouble { path: shown(), what: os_text(&e) });
            }
            return Ok(None);
        }
        other => other?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        say(leaf, &ForwardNotRegular { path: shown() });
        return Ok(None);
    }
    if meta.uid() != 0 && meta.uid() != uid {
        say(leaf, &ForwardOwner { path: shown(), uid: meta.uid() });
        return Ok(None);
    }
    if meta.mode() & 0o002 != 0 {
        say(leaf, &ForwardWritable { path: shown() });
        return Ok(None);
    }
    whole(file).map(Some)
}

/// All of a file of addresses. What is too long is not obeyed in part.
pub(crate) fn whole(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "File too large"));
    }
    Ok(text)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = sys::host::O_NOFOLLOW | sys::host::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The words by which a token is handed to the parent.
pub(crate) fn words(token: &Token) -> String {
    match token {
        Token::Address(text) => format!("@{text}"),
        Token::Command(text) => format!("|{text}"),
        Token::File(text) => format!("/{text}"),
        Token::Include(text) => format!(":{text}"),
    }
}
