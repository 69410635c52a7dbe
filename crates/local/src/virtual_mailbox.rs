//! Mailboxes of addresses that are no accounts of this host: virtual(8).
//!
//! Where a mailbox lies and whose it is, only tables of the administrator say, which this process opens itself, as root.
//! It makes nothing and opens nothing below `virtual_mailbox_base`: that is done by a leaf, which has become the owner
//! first, so that whoever owns directories there gains nothing by links and renames. The recipient's address is a key
//! of tables and never a part of a path: tables of patterns may not substitute.
//!
//! There is no loop detection by Delivered-To, since nothing is forwarded from here.

use crate::answer::{Answer, Tell, say};
use crate::events::{BadNumber, BadService, NotRegular, Owner, PartDied, VirtualTable};
use crate::identity::{self, Rights};
use crate::kept::Kept;
use crate::leaf::{self, Leaf, Record};
use crate::lookups::split_extension;
use crate::mail::{Headers, Item, Mail, headers};
use crate::mbox::{self, Because, Failure};
use crate::mbox_lock::Locks;
use crate::resolve::Resolver;
use crate::setup::{all, misconfigured, patience, report};
use config::params::local::Local;
use config::params::rewrite::Rewrite;
use config::params::virtual_mailbox::VirtualMailbox;
use config::{Config, Problem};
use proto::Address;
use proto::job::{Action, Frame, Target};
use proto::status::{Code, Status};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tables::matchlist::StringList;
use tables::{AddressSearch, Hit, Maps, TableError};

/// Everything that is the same for all recipients of a job.
struct Virtual {
    base: String,
    mailboxes: Maps,
    uids: Maps,
    gids: Maps,
    minimum_uid: u32,
    limit: u64,
    locks: Locks,
    strict_owner: bool,
    mydestination: StringList,
    resolver: Resolver,
    patience: Duration,
}

/// Why a configuration cannot be used: words for the log.
type Unusable = String;

impl Virtual {
    fn load(config: &Config, kept: &Kept) -> Result<Virtual, Unusable> {
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
        // A stranger's address never becomes part of the name of a file.
        let types = &kept.strict;
        let of = |name: &str, list: &config::value::List| Maps::of(types, name, &list.0);
        let mydestination = tables::split_list(&config.get("mydestination").unwrap_or_default());
        Ok(Virtual {
            base,
            mailboxes: of("virtual_mailbox_maps", rewrite.virtual_mailbox_maps()),
            uids: of("virtual_uid_maps", params.virtual_uid_maps()),
            gids: of("virtual_gid_maps", params.virtual_gid_maps()),
            minimum_uid: u32::try_from(*params.virtual_minimum_uid()).unwrap_or(u32::MAX),
            limit,
            locks,
            strict_owner: *local.strict_mailbox_ownership(),
            mydestination: StringList::open(types, "mydestination", &mydestination),
            resolver: Resolver::load(config).map_err(join)?,
            patience: patience(config),
        })
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

    /// What becomes of one recipient.
    fn deliver(&self, mail: &Mail<'_>, target: &Target, tell: &dyn Tell) -> Status {
        let given = &target.recipient.address;
        let address = Address::new(given.local().to_lowercase(), given.domain().map(str::to_lowercase));
        let name = address.internal();
        let mailbox = match self.row(&self.mailboxes, &address) {
            Ok(Some(hit)) => format!("{}/{}", self.base, hit.value),
            Ok(None) => return Status::new(Code(5, 1, 1), format!("unknown user: \"{name}\"")),
            Err(e) => {
                let table = self.mailboxes.parameter().to_string();
                say(tell, &VirtualTable { table, address: name, what: e.to_string() });
                return misconfigured();
            }
        };
        let Some(uid) = self.number(&self.uids, "uid", &address, self.minimum_uid, tell) else {
            return misconfigured();
        };
        let Some(gid) = self.number(&self.gids, "gid", &address, 1, tell) else {
            return misconfigured();
        };
        let maildir = mailbox.ends_with('/');
        if mail.job.probe {
            return crate::actions::would(if maildir {
                "delivers to maildir"
            } else {
                "delivers to mailbox"
            });
        }
        if let Some(why) = identity::refusal(uid) {
            return Status::new(Code(5, 7, 1), why);
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
        let path = PathBuf::from(mailbox);
        let said = leaf::run(&rights, mail.content, self.limit, self.patience, |leaf| {
            leaf.send(&Record::Done(self.write(leaf, &item, &path, maildir, uid)));
        });
        let mut status = None;
        match said {
            Ok(records) => {
                for record in records {
                    match record {
                        Record::Log(level, text) => tell.log(level, text),
                        Record::Done(done) => status = Some(done),
                        Record::Found(..) | Record::End => {}
                    }
                }
            }
            Err(what) => say(tell, &PartDied { what }),
        }
        status.unwrap_or_else(|| Status::new(Code(4, 3, 0), "internal software error"))
    }

    /// The part that runs as the owner of the mailbox.
    fn write(&self, leaf: &Leaf, item: &Item, path: &Path, maildir: bool, uid: u32) -> Status {
        let which = Headers { from_line: !maildir, return_path: true, original_to: true, delivered_to: true };
        let before = headers(item, which, "MAILER-DAEMON", "", b"\n");
        if maildir {
            return match crate::maildir::deliver(path, &before, &leaf.content, self.limit, LATER, leaf) {
                Ok(()) => Status::new(Code(2, 0, 0), "delivered to maildir"),
                Err(failure) => failure.status("maildir delivery failed: "),
            };
        }
        let target = mbox::Target {
            path,
            owner: Some((uid, self.strict_owner)),
            dot_lock: self.locks.dot,
            dot_lock_may_fail: false,
            refuse_executable: false,
            code: LATER,
        };
        match mbox::append(&target, &self.locks, &before, &leaf.content, self.limit, leaf) {
            Ok(()) => Status::new(Code(2, 0, 0), "delivered to mailbox"),
            Err(failure) => {
                let failure = match failure.because {
                    Because::NotRegular => {
                        let path = path.display().to_string();
                        say(leaf, &NotRegular { recipient: item.to.internal(), path });
                        Failure::new(Code(5, 3, 5), "mail system configuration error")
                    }
                    _ => failure,
                };
                failure.status(&format!("delivery failed to mailbox {}: ", path.display()))
            }
        }
    }
}

/// What a mailbox that cannot be opened or locked comes to.
const LATER: Code = Code(4, 2, 0);

/// Delivers a job to virtual mailboxes.
pub(crate) fn deliver(config: &Config, kept: &Kept, mail: &Mail<'_>, answer: &Answer) {
    let setting = match Virtual::load(config, kept) {
        Ok(setting) => setting,
        Err(what) => {
            say(answer, &BadService { what });
            return all(mail, answer, &Status::new(Code(4, 3, 0), "mail transport unavailable"));
        }
    };
    for target in &mail.job.recipients {
        let status = setting.deliver(mail, target, answer);
        answer.send(&Frame::Report(Box::new(report(mail, target, &status, Action::Delivered))));
    }
}
