//! Final destinations: commands, files, mailboxes, each delivered to by a process that has become
//! whose they are.

use crate::answer::say;
use crate::command::{self, Ran, Run};
use crate::content::Copier;
use crate::identity::{self, Rights};
use crate::leaf::{self, Leaf, Record};
use crate::mail::{Headers, Item, Mail, headers, os_text};
use crate::mbox::{self, Failure, Parcel, Target};
use crate::mbox_lock::DotLock;
use crate::switch::{Engine, Setting, State, Via};
use crate::tokens::Token;
use proto::Address;
use proto::status::{Code, Status};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use sys::users::Account;

/// What the process that delivers must know; made before it loses its rights.
pub(crate) struct Destination<'a> {
    set: &'a Setting<'a>,
    mail: &'a Mail<'a>,
    item: Item,
    rights: Rights,
    /// The working directory of commands.
    directory: Result<PathBuf, String>,
    /// Added to the addresses that are found.
    extension: Option<String>,
    done: RefCell<HashSet<String>>,
}

impl<'a> Destination<'a> {
    pub fn new(engine: &Engine<'a>, state: &State, rights: &Rights) -> Destination<'a> {
        let (set, item) = (engine.set, engine.item(state));
        let wanted = &set.params.command_execution_directory().0;
        let filter = &set.params.execution_directory_expansion_filter().0;
        let directory = match wanted.as_str() {
            "" => Ok(PathBuf::from(&set.queue_directory)),
            text => engine.expand(text, &item, Some(rights), Some(filter)).map(PathBuf::from),
        };
        let done = RefCell::default();
        Destination { set, mail: engine.mail, item, rights: rights.clone(), directory, extension: None, done }
    }

    /// The same, with an extension for the addresses found.
    pub fn with_extension(self, extension: Option<String>) -> Destination<'a> {
        Destination { extension, ..self }
    }

    /// `line_length_limit`.
    pub fn line_limit(&self) -> usize {
        self.set.line_limit
    }

    fn first_time(&self, key: String) -> bool {
        self.done.borrow_mut().insert(key)
    }

    /// Delivers to what a file names; addresses, and with `hand_back` everything, go to the parent.
    pub fn obey(&self, leaf: &Leaf, tokens: Vec<Token>, via: Via, hand_back: bool) {
        for token in tokens {
            let found = |t: &Token| Record::Found(crate::forward::words(t), via == Via::Include);
            match &token {
                Token::Address(text) => match &self.extension {
                    None => leaf.send(&found(&token)),
                    Some(extension) => {
                        let delimiter: String = self.set.delimiter.chars().take(1).collect();
                        let address = Address::from_internal(text);
                        let local = format!("{}{delimiter}{extension}", address.local());
                        let address = Address::new(local, address.domain());
                        leaf.send(&found(&Token::Address(address.internal())));
                    }
                },
                _ if hand_back => leaf.send(&found(&token)),
                Token::Command(text) => {
                    if self.first_time(format!("command {text}")) {
                        leaf.send(&Record::Done(self.command_by(leaf, text, via)));
                    }
                }
                Token::File(path) => {
                    if self.first_time(format!("file {path}")) {
                        leaf.send(&Record::Done(self.file(leaf, path, via)));
                    }
                }
                // With default rights the owner of the file decides whose rights come next.
                Token::Include(_) if self.rights.home.is_none() => leaf.send(&found(&token)),
                Token::Include(path) => {
                    if self.first_time(format!("include {path}")) {
                        self.include(leaf, path, None);
                    }
                }
            }
        }
    }

    /// A command that an alias or file names, if such may.
    pub fn command_by(&self, leaf: &Leaf, text: &str, via: Via) -> Status {
        if !self.set.params.allow_mail_to_commands().0.iter().any(|w| w == via.word()) {
            return Status::new(Code(5, 7, 1), "mail to command is restricted");
        }
        self.command(leaf, text)
    }

    /// Runs a command.
    pub fn command(&self, leaf: &Leaf, text: &str) -> Status {
        if self.mail.job.probe {
            return would(format!("delivers to command: {text}"));
        }
        let params = &self.set.params;
        let directory = match &self.directory {
            Ok(directory) => directory,
            Err(what) => {
                let what = format!("parameter command_execution_directory: {what}");
                say(leaf, &crate::events::BadParameter { what });
                return Status::new(Code(4, 3, 5), "mail system configuration error");
            }
        };
        let which = Headers {
            from_line: true,
            return_path: true,
            original_to: true,
            delivered_to: self.wants_delivered("command"),
        };
        let run = Run {
            argv: command::words(text, params.local_command_shell()),
            shown: text,
            program: ("local", ""),
            environment: self.environment(),
            directory,
            time: *params.command_time_limit(),
            before: headers(&self.item, which, "MAILER-DAEMON", "", b"\n"),
            copier: Copier::new(b"\n"),
            after: Vec::new(),
        };
        match command::run(run, &leaf.content, leaf) {
            Ran::Well(_) => Status::new(Code(2, 0, 0), format!("delivered to command: {text}")),
            Ran::Badly(status) => status,
        }
    }

    fn wants_delivered(&self, word: &str) -> bool {
        self.set.header_for.iter().any(|w| w == word)
    }

    /// What a command learns of the message. local(8)
    fn environment(&self) -> BTreeMap<String, OsString> {
        let export = &self.set.params.export_environment().0;
        let mut all = command::exported(export, self.set.config.directory());
        let (item, client) = (&self.item, &self.mail.job.client);
        let filter = &self.set.params.command_expansion_filter().0;
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                all.insert(name.to_string(), command::filtered(value, filter).into());
            }
        };
        put("SENDER", &item.sender.internal());
        put("RECIPIENT", &item.to.internal());
        put("LOCAL", &item.local);
        put("USER", &item.user);
        put("LOGNAME", &item.user);
        put("DOMAIN", item.to.domain().unwrap_or_default());
        put("EXTENSION", item.extension.as_deref().unwrap_or_default());
        put("ORIGINAL_RECIPIENT", &item.original);
        if !client.address.is_empty() {
            put("CLIENT_HOSTNAME", &client.name);
            put("CLIENT_ADDRESS", &client.address);
            put("CLIENT_HELO", &client.helo);
            put("CLIENT_PROTOCOL", &client.protocol);
        }
        put("SASL_METHOD", &client.sasl_method);
        put("SASL_SENDER", &client.sasl_sender);
        put("SASL_USERNAME", &client.sasl_username);
        if item.sender.is_null() {
            all.insert("SENDER".into(), OsString::new());
        }
        let paths = [("HOME", &self.rights.home), ("SHELL", &self.rights.shell)];
        for (name, path) in paths {
            all.extend(path.as_ref().map(|p| (name.to_string(), p.clone().into_os_string())));
        }
        all
    }

    /// A file or maildir that an alias or file names, if such may.
    pub fn file(&self, leaf: &Leaf, path: &str, via: Via) -> Status {
        if !self.set.params.allow_mail_to_files().0.iter().any(|w| w == via.word()) {
            return Status::new(Code(5, 7, 1), "mail to file is restricted");
        }
        if path.ends_with('/') {
            return only(self.maildir(leaf, Path::new(path), &[]));
        }
        if self.mail.job.probe {
            return would(format!("delivers to file: {path}"));
        }
        let target = Target {
            path: Path::new(path),
            owner: None,
            dot_lock: self.set.locks.dot,
            dot_lock_may_fail: true,
            refuse_executable: true,
            code: mbox::OPEN,
        };
        let status = |done| match done {
            Ok(()) => Status::new(Code(2, 0, 0), format!("delivered to file: {path}")),
            Err(failure) => Failure::status(failure, &format!("cannot append message to file {path}: ")),
        };
        only(self.append(leaf, &target, &[]).into_iter().map(status).collect())
    }

    fn append(&self, leaf: &Leaf, target: &Target<'_>, others: &[Companion]) -> Vec<Result<(), Failure>> {
        let parcels = self.parcels(leaf, true, others);
        mbox::append(target, &self.set.locks, &parcels, self.set.file_limit(), leaf)
    }

    /// The message and those that go along, as they are written into files.
    fn parcels(&self, leaf: &Leaf, from_line: bool, others: &[Companion]) -> Vec<Parcel> {
        let before = |item: &Item| headers(item, self.file_headers(from_line), "MAILER-DAEMON", "", b"\n");
        let first = Parcel { before: before(&self.item), content: leaf.content.clone() };
        let other = |c: &Companion| {
            let content = leaf.content.beside(c.offset, c.length);
            Parcel { before: before(&c.item), content }
        };
        std::iter::once(first).chain(others.iter().map(other)).collect()
    }

    fn file_headers(&self, from_line: bool) -> Headers {
        Headers {
            from_line,
            return_path: true,
            original_to: true,
            delivered_to: self.wants_delivered("file"),
        }
    }

    /// A maildir.
    fn maildir(&self, leaf: &Leaf, path: &Path, others: &[Companion]) -> Vec<Status> {
        if self.mail.job.probe {
            return vec![would("delivers to maildir")];
        }
        let parcels = self.parcels(leaf, false, others);
        let done = crate::maildir::deliver(path, &parcels, self.set.file_limit(), mbox::OPEN, leaf);
        let status = |done| match done {
            Ok(()) => Status::new(Code(2, 0, 0), "delivered to maildir"),
            Err(failure) => Failure::status(failure, "maildir delivery failed: "),
        };
        done.into_iter().map(status).collect()
    }

    /// A user's mailbox.
    fn mailbox(&self, leaf: &Leaf, path: &Path, dot_lock: bool, others: &[Companion]) -> Vec<Status> {
        if self.mail.job.probe {
            return vec![would("delivers to mailbox")];
        }
        let owner = Some((self.rights.uid, *self.set.params.strict_mailbox_ownership()));
        let target = Target {
            path,
            owner,
            dot_lock,
            dot_lock_may_fail: false,
            refuse_executable: false,
            code: mbox::OPEN,
        };
        let status = |done| match done {
            Ok(()) => Status::new(Code(2, 0, 0), "delivered to mailbox"),
            Err(failure) => not_updated(path, &self.item.user, failure),
        };
        self.append(leaf, &target, others).into_iter().map(status).collect()
    }
}

/// Another message that goes into the same mailbox.
struct Companion {
    item: Item,
    offset: u64,
    length: u64,
}

/// Of one message there is one status.
fn only(statuses: Vec<Status>) -> Status {
    let nothing = || Status::new(Code(4, 3, 0), "internal software error");
    statuses.into_iter().next().unwrap_or_else(nothing)
}

/// The answer to a probe.
pub(crate) fn would(text: impl Into<String>) -> Status {
    Status::new(Code(2, 0, 0), text)
}

fn not_updated(path: &Path, user: &str, failure: Failure) -> Status {
    failure.status(&format!("cannot update mailbox {} for user {user}. ", path.display()))
}

impl Setting<'_> {
    /// `mailbox_size_limit`.
    pub fn file_limit(&self) -> u64 {
        u64::try_from(*self.params.mailbox_size_limit()).unwrap_or(0)
    }
}

impl<'a> Engine<'a> {
    pub(crate) fn file_limit(&self) -> u64 {
        self.set.file_limit()
    }

    /// Runs `work` as `rights` and takes in what came of it.
    pub(crate) fn as_user(
        &mut self,
        state: &State,
        rights: &Rights,
        via: Via,
        work: impl FnOnce(&Destination<'a>, &Leaf),
    ) {
        let destination = Destination::new(self, state, rights);
        let said = leaf::run(rights, self.mail.content, self.file_limit(), self.set.patience, |leaf| {
            work(&destination, leaf)
        });
        self.heard(state, said, via);
    }

    /// A command that an alias names.
    pub(crate) fn command(&mut self, state: &State, text: &str, via: Via) {
        let Some(rights) = self.rights(state) else { return };
        if self.first_time(format!("command {} {text}", rights.uid)) {
            self.as_user(state, &rights, via, |destination, leaf| {
                leaf.send(&Record::Done(destination.command_by(leaf, text, via)));
            });
        }
    }

    /// A file that an alias names.
    pub(crate) fn file(&mut self, state: &State, path: &str, via: Via) {
        let Some(rights) = self.rights(state) else { return };
        if self.first_time(format!("file {} {path}", rights.uid)) {
            self.as_user(state, &rights, via, |destination, leaf| {
                leaf.send(&Record::Done(destination.file(leaf, path, via)));
            });
        }
    }

    /// A user's mailbox, or what takes its place; false when there is no such user and nothing
    /// that takes mail for everybody.
    pub(crate) fn mailbox(&mut self, state: &State, account: Option<&Account>) -> bool {
        let item = self.item(state);
        if !self.first_time(format!("mailbox {}", item.local)) {
            return true;
        }
        let (lookups, params) = (self.set.lookups, &self.set.ready.params);
        match self.by_user(&lookups.mailbox_transport, state, &item.user) {
            Err(()) => return true,
            Ok(Some(value)) => {
                self.pass_to(state, &value);
                return true;
            }
            Ok(None) => {}
        }
        if !params.mailbox_transport().is_empty() {
            self.pass_to(state, params.mailbox_transport());
            return true;
        }
        let Some(account) = account else { return false };
        if !self.permitted(state, account.uid) {
            return true;
        }
        let rights = Rights::from(account);
        let command = match self.by_user(&lookups.mailbox_command, state, &item.user) {
            Err(()) => return true,
            Ok(Some(command)) => command,
            Ok(None) => params.mailbox_command().0.clone(),
        };
        if !command.is_empty() {
            // No command ever runs as root.
            let rights = if account.uid == 0 {
                match self.rights(&State { rights: None, ..state.clone() }) {
                    Some(other) => Rights { home: rights.home, shell: rights.shell, ..other },
                    None => return true,
                }
            } else {
                rights
            };
            self.as_user(state, &rights, Via::Envelope, |destination, leaf| {
                leaf.send(&Record::Done(destination.command(leaf, &command)));
            });
            return true;
        }
        let home = params.home_mailbox();
        let spool = params.mail_spool_directory();
        if home.ends_with('/') {
            self.deliver_maildir(state, &rights, &account.home.join(home));
        } else if !home.is_empty() {
            self.deliver_mailbox(state, &rights, &account.home.join(home), self.set.locks.dot);
        } else if spool.ends_with('/') {
            self.deliver_maildir(state, &rights, &Path::new(spool).join(&item.user));
        } else {
            self.deliver_spool(state, &rights, Path::new(spool), &item.user);
        }
        true
    }

    fn deliver_maildir(&mut self, state: &State, rights: &Rights, path: &Path) {
        self.write_mailbox(state, rights, |destination, leaf, others| {
            destination.maildir(leaf, path, others)
        });
    }

    fn deliver_mailbox(&mut self, state: &State, rights: &Rights, path: &Path, dot_lock: bool) {
        self.write_mailbox(state, rights, |destination, leaf, others| {
            destination.mailbox(leaf, path, dot_lock, others)
        });
    }

    /// Whether the mailbox is that of the recipient itself, and so of all messages that came together.
    fn is_direct(&self, state: &State) -> bool {
        let own = state.to == self.target.recipient.address;
        own && state.level == 0 && state.via == Via::Envelope && state.owner.is_none()
    }

    /// Runs `work` as `rights`, which gives a status for the message and for each that goes along.
    fn write_mailbox(
        &mut self,
        state: &State,
        rights: &Rights,
        work: impl FnOnce(&Destination<'a>, &Leaf, &[Companion]) -> Vec<Status>,
    ) {
        let destination = Destination::new(self, state, rights);
        let direct = self.is_direct(state);
        let along = if direct { self.along } else { &[] };
        let others: Vec<Companion> =
            along.iter().filter_map(|mail| companion(mail, &destination.item)).collect();
        let content = self.mail.content;
        let said = leaf::run(rights, content, self.file_limit(), self.set.patience, |leaf| {
            for status in work(&destination, leaf, &others) {
                leaf.send(&Record::Done(status));
            }
        });
        self.mailbox = Some(direct);
        let all = match said {
            Ok(records) => records,
            // Those that go along are tried again, each on its own.
            Err(what) => return self.part_died(state, what),
        };
        let mut statuses = Vec::new();
        for record in all {
            match record {
                Record::Log(level, text) => self.tell.log(level, text),
                Record::Done(status) => statuses.push(status),
                Record::Found(..) | Record::End => {}
            }
        }
        if !statuses.is_empty() {
            self.done(state, statuses.remove(0));
        }
        self.went_along = statuses;
    }

    /// A mailbox in the spool directory. Where the user may not make files there (`/var/mail` is
    /// 2775 root:mail) this process, still root, makes the mailbox and the lock file, and removes
    /// the lock when the user's process has ended.
    fn deliver_spool(&mut self, state: &State, rights: &Rights, spool: &Path, user: &str) {
        let path = spool.join(user);
        let mode = std::fs::metadata(spool).map(|m| (m.mode(), m.gid()));
        let (own, group) = match mode {
            Ok((mode, _)) if mode & 0o002 != 0 => (true, 0),
            Ok((mode, gid)) if mode & 0o020 != 0 => (false, gid),
            _ => (false, rights.gid),
        };
        // A probe makes neither mailbox nor lock.
        if own || self.mail.job.probe || !identity::can_change() {
            return self.deliver_mailbox(state, rights, &path, self.set.locks.dot);
        }
        match self.prepare(&path, rights.uid, group) {
            Ok(_lock) => self.deliver_mailbox(state, rights, &path, false),
            Err(failure) => {
                let status = not_updated(&path, user, failure);
                if self.is_direct(state) {
                    self.mailbox = Some(true);
                    self.went_along = vec![status.clone(); self.along.len()];
                }
                self.done(state, status);
            }
        }
    }

    fn prepare(&self, path: &Path, uid: u32, gid: u32) -> Result<Option<DotLock>, Failure> {
        let other = Code(5, 2, 0);
        let lock = if self.set.locks.dot {
            let made = self.set.locks.dot_lock(path, self.tell);
            Some(made.map_err(|e| {
                let words =
                    if e.kind() == io::ErrorKind::AlreadyExists { "File exists".into() } else { os_text(&e) };
                let why = format!("unable to create lock file {}.lock: {words}", path.display());
                Failure::new(mbox::code_of(&e, other), why)
            })?)
        } else {
            None
        };
        let made = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(sys::host::O_NOFOLLOW)
            .open(path);
        let failed = |e: &io::Error| {
            let why = format!("cannot create file exclusively: {}", os_text(e));
            Failure::new(mbox::code_of(e, other), why)
        };
        match made {
            Ok(file) => fchown(&file, Some(uid), Some(gid)).map_err(|e| failed(&e))?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed(&e)),
        }
        Ok(lock)
    }
}

/// What is its own of a message that goes into the mailbox of `first`.
fn companion(mail: &Mail<'_>, first: &Item) -> Option<Companion> {
    let target = mail.job.recipients.first()?;
    let to = target.recipient.address.clone();
    let item = Item {
        original: target.recipient.original.clone(),
        delivered: Some(to.to_string()),
        sender: mail.job.sender.clone(),
        to,
        ..first.clone()
    };
    Some(Companion { item, offset: mail.job.offset, length: mail.job.length })
}
