//! Mailboxes of addresses that are no accounts of this host: virtual(8).
//!
//! Where a mailbox lies and whose it is, only tables of the administrator say, which this process opens itself, as root.
//! It makes nothing and opens nothing below `virtual_mailbox_base`: that is done by a leaf, which has become the owner
//! first, so that whoever owns directories there gains nothing by links and renames. The recipient's address is a key
//! of tables and never a part of a path: tables of patterns may not substitute.
//!
//! There is no loop detection by Delivered-To, since nothing is forwarded from here.

use crate::answer::{Answer, Tell, say};
use crate::content::Content;
use crate::events::{BadNumber, BadService, NotRegular, Owner, PartDied, VirtualTable};
use crate::identity::{self, Rights};
use crate::kept::Kept;
use crate::leaf::{self, Leaf, Record};
use crate::lookups::split_extension;
use crate::mail::{Headers, Item, Mail, headers, os_text};
use crate::mbox::{self, Because, Failure, Parcel};
use crate::mbox_lock::Locks;
use crate::resolve::Resolver;
use crate::setup::{Refused, all, misconfigured, patience, report};
use config::params::local::Local;
use config::params::rewrite::Rewrite;
use config::params::virtual_mailbox::VirtualMailbox;
use config::{Config, Problem};
use proto::Address;
use proto::job::{Action, Frame, Target};
use proto::status::{Code, Status};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tables::matchlist::StringList;
use tables::{AddressSearch, Hit, Maps, TableError};

/// What is the same for all deliveries of a service.
pub(crate) struct Ready {
    base: String,
    mailbox_maps: Vec<String>,
    uid_maps: Vec<String>,
    gid_maps: Vec<String>,
    minimum_uid: u32,
    limit: u64,
    locks: Locks,
    strict_owner: bool,
    destinations: Vec<String>,
    resolver: Resolver,
    patience: Duration,
}

impl Ready {
    /// Reads the parameters.
    pub fn load(config: &Config) -> Result<Ready, Refused> {
        let unavailable = || Status::new(Code(4, 3, 0), "mail transport unavailable");
        Ready::read(config).map_err(|what| Box::new((what, unavailable())))
    }

    fn read(config: &Config) -> Result<Ready, String> {
        let join =
            |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
        let params = VirtualMailbox::load(config).map_err(join)?;
        let local = Local::load(config).map_err(join)?;
        let rewrite = Rewrite::load(config).map_err(join)?;
        let locks = Locks::named(&local, "virtual_mailbox_lock", params.virtual_mailbox_lock())?;
        let number = |name: &str| {
            let text = config.get(name).unwrap_or_default();
            text.trim().parse::<u64>().unwrap_or(0)
        };
        let (most, limit) =
            (number("message_size_limit"), u64::try_from(*params.virtual_mailbox_limit()).unwrap_or(0));
        if limit > 0 && (most == 0 || most > limit) {
            return Err(
                "configuration error: virtual_mailbox_limit is smaller than message_size_limit".into()
            );
        }
        let base = params.virtual_mailbox_base().clone();
        if base.is_empty() {
            return Err("bad string length 0 < 1: virtual_mailbox_base = ".into());
        }
        Ok(Ready {
            base,
            mailbox_maps: rewrite.virtual_mailbox_maps().0.clone(),
            uid_maps: params.virtual_uid_maps().0.clone(),
            gid_maps: params.virtual_gid_maps().0.clone(),
            minimum_uid: u32::try_from(*params.virtual_minimum_uid()).unwrap_or(u32::MAX),
            limit,
            locks,
            strict_owner: *local.strict_mailbox_ownership(),
            destinations: tables::split_list(&config.get("mydestination").unwrap_or_default()),
            resolver: Resolver::load(config).map_err(join)?,
            patience: patience(config),
        })
    }
}

/// Everything that is the same for all recipients of a job.
struct Virtual<'a> {
    ready: &'a Ready,
    mailboxes: Maps,
    uids: Maps,
    gids: Maps,
    mydestination: StringList,
}

impl std::ops::Deref for Virtual<'_> {
    type Target = Ready;

    fn deref(&self) -> &Ready {
        self.ready
    }
}

impl<'a> Virtual<'a> {
    fn open(ready: &'a Ready, kept: &Kept) -> Virtual<'a> {
        // A stranger's address never becomes part of the name of a file.
        let types = &kept.strict;
        Virtual {
            mailboxes: Maps::of(types, "virtual_mailbox_maps", &ready.mailbox_maps),
            uids: Maps::of(types, "virtual_uid_maps", &ready.uid_maps),
            gids: Maps::of(types, "virtual_gid_maps", &ready.gid_maps),
            mydestination: StringList::open(types, "mydestination", &ready.destinations),
            ready,
        }
    }

    /// The row of an address: with its extension, without, and for the domain.
    fn row(&self, maps: &Maps, address: &Address) -> Result<Option<Hit>, TableError> {
        let (delimiters, special) = self.resolver.delimiters();
        let search = AddressSearch {
            split: &|local| {
                let (user, extension) = split_extension(local, delimiters, special);
                extension?;
                Some((user.to_string(), local.get(user.len()..)?.to_string()))
            },
            is_local: &|domain| self.resolver.is_own(domain, &self.mydestination),
            quote: &|local| Address::new(local, None::<String>).to_string(),
            local_part: true,
            at_domain: true,
        };
        let found = maps.lookup_address(address.local(), address.domain(), &search)?;
        Ok(found.map(|(hit, _)| hit))
    }

    /// A user or group number for an address, at least `least`.
    fn number(
        &self,
        maps: &Maps,
        what: &'static str,
        address: &Address,
        least: u32,
        tell: &dyn Tell,
    ) -> Option<u32> {
        let (recipient, table) = (address.internal(), maps.parameter().to_string());
        let hit = match self.row(maps, address) {
            Ok(hit) => hit,
            Err(e) => {
                say(tell, &VirtualTable { table, address: recipient, what: e.to_string() });
                return None;
            }
        };
        let Some(hit) = hit else {
            say(tell, &Owner { recipient, table });
            return None;
        };
        match hit.value.trim().parse::<u32>() {
            // The highest number stands for none in the system's calls.
            Ok(number) if number >= least && number < u32::MAX => Some(number),
            _ => {
                say(tell, &BadNumber { recipient, what, value: hit.value, table });
                None
            }
        }
    }

    /// Where the mail of one recipient belongs; or what becomes of it without that.
    fn find(&self, mail: &Mail<'_>, target: &Target, tell: &dyn Tell) -> Result<Found, Box<Status>> {
        let given = &target.recipient.address;
        let address = Address::new(given.local().to_lowercase(), given.domain().map(str::to_lowercase));
        let name = address.internal();
        let mailbox = match self.row(&self.mailboxes, &address) {
            Ok(Some(hit)) => format!("{}/{}", self.base, hit.value),
            Ok(None) => {
                return Err(Box::new(Status::new(Code(5, 1, 1), format!("unknown user: \"{name}\""))));
            }
            Err(e) => {
                let table = self.mailboxes.parameter().to_string();
                say(tell, &VirtualTable { table, address: name, what: e.to_string() });
                return Err(misconfigured().into());
            }
        };
        let Some(uid) = self.number(&self.uids, "uid", &address, self.minimum_uid, tell) else {
            return Err(misconfigured().into());
        };
        let Some(gid) = self.number(&self.gids, "gid", &address, 1, tell) else {
            return Err(misconfigured().into());
        };
        let maildir = mailbox.ends_with('/');
        if mail.job.probe {
            let what = if maildir { "delivers to maildir" } else { "delivers to mailbox" };
            return Err(crate::actions::would(what).into());
        }
        if let Some(why) = identity::refusal(uid) {
            return Err(Status::new(Code(5, 7, 1), why).into());
        }
        let item = Item {
            to: given.clone(),
            original: target.recipient.original.clone(),
            delivered: Some(given.to_string()),
            sender: mail.job.sender.clone(),
            user: String::new(),
            local: String::new(),
            extension: None,
        };
        let rights = Rights { uid, gid, home: None, shell: None };
        Ok(Found {
            item,
            rights,
            path: PathBuf::from(mailbox),
            maildir,
            at: (mail.job.offset, mail.job.length),
        })
    }

    /// Delivers what has the same owner; gives the status of each. One is `None` when its mailbox was locked and others had to
    /// be served.
    fn deliver(&self, all: &[&Found], content: &Content, tell: &dyn Tell) -> Vec<Option<Status>> {
        let Some(first) = all.first() else { return Vec::new() };
        let said = leaf::run(&first.rights, content, self.limit, self.patience, |leaf| {
            for (n, status) in self.write(leaf, all) {
                leaf.send(&Record::Found(n.to_string(), false));
                leaf.send(&Record::Done(status));
            }
        });
        let mut statuses = vec![None; all.len()];
        let records = match said {
            Ok(records) => records,
            Err(what) => {
                say(tell, &PartDied { what });
                if let Some(first) = statuses.first_mut() {
                    *first = Some(Status::new(Code(4, 3, 0), "internal software error"));
                }
                return statuses;
            }
        };
        let mut about = usize::MAX;
        for record in records {
            match record {
                Record::Log(level, text) => tell.log(level, text),
                Record::Found(n, _) => about = n.parse().unwrap_or(usize::MAX),
                Record::Done(done) => {
                    if let Some(status) = statuses.get_mut(about) {
                        *status = Some(done);
                    }
                }
                Record::End => {}
            }
        }
        statuses
    }

    /// The part that runs as the owner of the mailboxes: one after the other, each with all that is for it. Gives the places
    /// of messages in `all`, with what became of them.
    fn write(&self, leaf: &Leaf, all: &[&Found]) -> Vec<(usize, Status)> {
        let mut boxes: Vec<(&Path, Vec<usize>)> = Vec::new();
        for (n, found) in all.iter().enumerate() {
            match boxes.iter_mut().find(|(path, _)| *path == found.path) {
                Some((_, of_it)) => of_it.push(n),
                None => boxes.push((&found.path, vec![n])),
            }
        }
        let mut out = Vec::new();
        let lonely = boxes.len() == 1;
        for (_, places) in boxes {
            let found: Vec<&Found> = places.iter().filter_map(|n| all.get(*n).copied()).collect();
            let statuses = self.write_one(leaf, &found, lonely);
            out.extend(places.into_iter().zip(statuses).filter_map(|(n, status)| Some((n, status?))));
        }
        out
    }

    /// One mailbox. `None` for a locked one that others shall not wait for.
    fn write_one(&self, leaf: &Leaf, all: &[&Found], lonely: bool) -> Vec<Option<Status>> {
        let Some(first) = all.first() else { return Vec::new() };
        let (path, maildir) = (first.path.as_path(), first.maildir);
        let which = Headers { from_line: !maildir, return_path: true, original_to: true, delivered_to: true };
        let parcel = |found: &&Found| Parcel {
            before: headers(&found.item, which, "MAILER-DAEMON", "", b"\n"),
            content: leaf.content.beside(found.at.0, found.at.1),
        };
        let parcels: Vec<Parcel> = all.iter().map(parcel).collect();
        if maildir {
            let status = |done| match done {
                Ok(()) => Status::new(Code(2, 0, 0), "delivered to maildir"),
                Err(failure) => Failure::status(failure, "maildir delivery failed: "),
            };
            let done = crate::maildir::deliver(path, &parcels, self.limit, LATER, leaf);
            return done.into_iter().map(|done| Some(status(done))).collect();
        }
        let target = mbox::Target {
            path,
            owner: Some((first.rights.uid, self.strict_owner)),
            dot_lock: self.locks.dot,
            dot_lock_may_fail: false,
            refuse_executable: false,
            code: LATER,
        };
        let locks = if lonely { self.locks } else { self.locks.impatient() };
        let done = mbox::append(&target, &locks, &parcels, self.limit, leaf);
        let status = |(done, found): (Result<(), Failure>, &&Found)| match done {
            Ok(()) => Some(Status::new(Code(2, 0, 0), "delivered to mailbox")),
            Err(failure) if failure.because == Because::Locked && !lonely => None,
            Err(failure) => Some(self.failed(leaf, found, failure)),
        };
        done.into_iter().zip(all).map(status).collect()
    }

    fn failed(&self, leaf: &Leaf, found: &Found, failure: Failure) -> Status {
        let path = found.path.display();
        let failure = match failure.because {
            Because::NotRegular => {
                say(leaf, &NotRegular { recipient: found.item.to.internal(), path: path.to_string() });
                Failure::new(Code(5, 3, 5), "mail system configuration error")
            }
            _ => failure,
        };
        failure.status(&format!("delivery failed to mailbox {path}: "))
    }
}

/// The place of a message among those that came together, the message, one of its recipients, and where that one's mail belongs.
type Waiting<'a> = (usize, &'a Mail<'a>, &'a Target, Found);

/// A message and where it belongs.
struct Found {
    item: Item,
    rights: Rights,
    path: PathBuf,
    maildir: bool,
    /// Where its content begins, and how long it is.
    at: (u64, u64),
}

/// What a mailbox that cannot be opened or locked comes to.
const LATER: Code = Code(4, 2, 0);

/// Delivers messages to virtual mailboxes: those whose mailboxes have the same owner by one process.
pub(crate) fn deliver(ready: &Result<Ready, Refused>, kept: &Kept, mails: &[&Mail<'_>], answer: &Answer) {
    let [first, ..] = mails else { return };
    let setting = match ready {
        Ok(ready) => Virtual::open(ready, kept),
        Err(refused) => {
            let (what, status) = &**refused;
            say(answer, &BadService { what: what.clone() });
            return all(first, answer, status);
        }
    };
    let mut waiting: Vec<Waiting<'_>> = Vec::new();
    for (n, mail) in mails.iter().enumerate() {
        for target in &mail.job.recipients {
            match setting.find(mail, target, answer) {
                Ok(found) => waiting.push((n, mail, target, found)),
                Err(status) => tell(answer, n, mail, target, &status),
            }
        }
    }
    let several = mails.len() > 1;
    while let Some((_, _, _, next)) = waiting.first() {
        let rights = next.rights.clone();
        // The recipients of one message are served one by one, as each may take its time.
        let take = if several { usize::MAX } else { 1 };
        let (mut these, mut rest) = (Vec::new(), Vec::new());
        for one in waiting {
            if one.3.rights == rights && these.len() < take { these.push(one) } else { rest.push(one) }
        }
        waiting = rest;
        // Nobody gets to see what goes to another owner.
        let content = match these.len() == mails.len() || !several {
            true => Ok(first.content.clone()),
            false => apart(first.content, &mut these),
        };
        let content = match content {
            Ok(content) => content,
            Err(e) => {
                say(answer, &PartDied { what: format!("copying messages: {}", os_text(&e)) });
                continue;
            }
        };
        let all: Vec<&Found> = these.iter().map(|(_, _, _, found)| found).collect();
        let statuses = setting.deliver(&all, &content, answer);
        for ((n, mail, target, _), status) in these.iter().zip(statuses) {
            if let Some(status) = status {
                tell(answer, *n, mail, target, &status);
            }
        }
    }
    answer.send(&Frame::Mailbox(true));
}

/// The content of these messages alone; they then know where in it they begin.
fn apart(content: &Content, these: &mut [Waiting<'_>]) -> io::Result<Content> {
    let messages: Vec<(u64, u64)> = these.iter().map(|(_, _, _, found)| found.at).collect();
    let apart = content.apart(&messages)?;
    let mut offset = 0;
    for (_, _, _, found) in these {
        found.at.0 = offset;
        offset += found.at.1;
    }
    Ok(apart)
}

fn tell(answer: &Answer, place: usize, mail: &Mail<'_>, target: &Target, status: &Status) {
    answer.about(place);
    answer.send(&Frame::Report(Box::new(report(mail, target, status, Action::Delivered))));
}
