//! `:include:` files: lists of destinations in a file of their own. aliases(5).
//!
//! The file is opened and read by a process that has the rights with which what it names will be
//! delivered: those of whoever names it, or of the file's owner where nobody's but the default
//! rights would apply.

use crate::actions::Destination;
use crate::answer::{Tell, say};
use crate::events::{
    IncludeChanged, IncludeClosed, IncludeMissing, IncludeNotRegular, IncludeOwner, IncludeRelative,
    IncludeWritable,
};
use crate::identity::Rights;
use crate::leaf::{Leaf, Record};
use crate::mail::os_text;
use crate::switch::{Engine, State, Via};
use crate::tokens;
use proto::status::{Code, Status};
use std::fs::{Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use sys::users;

fn refused() -> Status {
    Status::new(Code(5, 3, 5), "mail system configuration error")
}

/// Whether a file may name destinations; if not, the log says why.
fn acceptable(path: &str, meta: &Metadata, tell: &dyn Tell) -> bool {
    if !meta.is_file() {
        say(tell, &IncludeNotRegular { path: path.into() });
    } else if meta.mode() & 0o002 != 0 {
        say(tell, &IncludeWritable { path: path.into() });
    } else {
        return true;
    }
    false
}

impl Engine<'_> {
    /// An `:include:` file that an alias names.
    pub(crate) fn include(&mut self, state: &State, path: &str) {
        if !Path::new(path).is_absolute() {
            say(self.tell, &IncludeRelative { path: path.into() });
            return self.done(state, refused());
        }
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) => {
                say(self.tell, &IncludeMissing { path: path.into(), what: os_text(&e) });
                return self.done(state, refused());
            }
        };
        if !acceptable(path, &meta, self.tell) {
            return self.done(state, refused());
        }
        let mut next = State { level: state.level + 1, ..state.clone() };
        if !self.set.propagate.iter().any(|p| p == "include") {
            next.unmatched = None;
        }
        let none = state.rights.as_ref().is_none_or(|r| r.uid == 0);
        if none && meta.uid() != 0 {
            match users::by_id(meta.uid()) {
                Ok(Some(account)) => next.rights = Some(Rights::from(&account)),
                _ => {
                    say(self.tell, &IncludeOwner { path: path.into(), uid: meta.uid() });
                    let status = Status::new(Code(4, 3, 5), "mail system configuration error");
                    return self.done(state, status);
                }
            }
        }
        let Some(rights) = self.rights(&next) else { return };
        let owner = Some(meta.uid());
        if self.first_time(format!("include {} {path}", rights.uid)) {
            self.as_user(&next, &rights, Via::Include, |destination, leaf| {
                destination.include(leaf, path, owner);
            });
        }
    }
}

impl Destination<'_> {
    /// Reads an `:include:` file with the rights of this process, and obeys it. `owner` is who
    /// owned it when these rights were chosen.
    pub(crate) fn include(&self, leaf: &Leaf, path: &str, owner: Option<u32>) {
        let refuse = || leaf.send(&Record::Done(refused()));
        if !Path::new(path).is_absolute() {
            say(leaf, &IncludeRelative { path: path.into() });
            return refuse();
        }
        match std::fs::metadata(path) {
            Err(e) => {
                say(leaf, &IncludeMissing { path: path.into(), what: os_text(&e) });
                return refuse();
            }
            Ok(meta) if !acceptable(path, &meta, leaf) => return refuse(),
            Ok(_) => {}
        }
        let opened = OpenOptions::new().read(true).custom_flags(sys::host::O_NONBLOCK).open(path);
        let (file, meta) = match opened.and_then(|f| f.metadata().map(|m| (f, m))) {
            Ok(opened) => opened,
            Err(e) => {
                say(leaf, &IncludeClosed { path: path.into(), what: os_text(&e) });
                return refuse();
            }
        };
        if !acceptable(path, &meta, leaf) {
            return refuse();
        }
        if owner.is_some_and(|o| o != meta.uid()) {
            say(leaf, &IncludeChanged { path: path.into() });
            return refuse();
        }
        match crate::forward::whole(file) {
            Ok(text) => self.obey(leaf, tokens::parse_lines(&text, self.line_limit()), Via::Include, false),
            Err(e) => {
                say(leaf, &IncludeClosed { path: path.into(), what: os_text(&e) });
                leaf.send(&Record::Done(Status::new(Code(4, 3, 0), "mail system configuration error")));
            }
        }
    }
}
