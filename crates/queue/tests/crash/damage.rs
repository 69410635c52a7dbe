//! Any bit of any file flipped, any file cut at any length, any sector overwritten with zeros or
//! with what another one holds or held, any file gone, copied to another name, or in another's
//! place: the store opens and runs; lost are at most the messages whose own records were hit, each
//! of them is named in the log and set aside; every other one is whole; and what was delivered does not come
//! back unless it was a state log that was damaged.
//!
//! `QUEUE_DAMAGE=100` takes a hundred times as many samples of the large queue.

use crate::simulated::SimulatedDisk;
use crate::turns::Rng;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use queue::disk::{Engine, Options};
use queue::{Action, Body, Outcome, RecipientState, Selection};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const SECTOR: usize = 512;

fn open(disk: &SimulatedDisk) -> Arc<Engine<SimulatedDisk>> {
    let options = Options { segment: Some(256 * 1024), threads: 1, ..Default::default() };
    let source = events::Source::new("postfix", "queue", 1);
    Arc::new(
        Engine::open(disk.clone(), &options, source, false).expect("the store opens whatever is damaged"),
    )
}

/// A queue with messages in all states, and what is in it.
struct Spool {
    disk: SimulatedDisk,
    /// Those that wait, with their contents.
    messages: BTreeMap<QueueId, Vec<u8>>,
    gone: BTreeSet<QueueId>,
    /// Sectors that files held once, by the file's name.
    old: Vec<(String, Vec<u8>)>,
}

/// `clean`: the process has ended in order; else it was killed.
fn spool(n: u64, unit: usize, clean: bool) -> Spool {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    let (mut messages, mut gone, mut old) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for n in 0..n {
        let id = store.new_id();
        let length = if n == 5 { (1 << 20) + 777 } else { 60 + n as usize * unit };
        let mut bytes = Rng(n + 1);
        let body: Vec<u8> = (0..length).map(|_| bytes.next() as u8).collect();
        let recipient = Recipient { address: Address::new("u", Some("x.test")), ..Default::default() };
        let envelope = Envelope { recipients: vec![recipient; 2], ..Default::default() };
        let mut draft = store.draft(id, 0).unwrap();
        draft.append(&body).unwrap();
        drop(draft.submit(envelope).unwrap());
        if n % 3 == 0 {
            while store.commit_waiting() {}
        }
        messages.insert(id, body);
    }
    while store.commit_waiting() {}
    assert!(store.sync());
    let remember = |old: &mut Vec<(String, Vec<u8>)>| {
        for name in disk.file_names() {
            old.push((name.clone(), disk.bytes(&name)));
        }
    };
    remember(&mut old);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(leased) = store.poll_lease(n as usize * 2 / 3, &mut context) else { panic!() };
    for (n, one) in leased.into_iter().enumerate() {
        let status = Status::new(Code(4, 0, 0), "a text of some length");
        let mut recipients = vec![(0, RecipientState::Deferred(status.clone()))];
        if n % 4 == 0 {
            recipients = vec![(0, RecipientState::Sent(status.clone())), (1, RecipientState::Sent(status))];
            messages.remove(&one.id);
            gone.insert(one.id);
        }
        let outcome = Outcome { recipients, next_attempt: Some(u64::MAX), ..Default::default() };
        store.settle(one.id, outcome, n % 4 == 1).unwrap();
    }
    let held: Vec<QueueId> = messages.keys().copied().skip(n as usize / 2).take(3).collect();
    let _ = store.control(&Selection::Ids(held), Action::Hold).unwrap();
    assert!(store.sync());
    remember(&mut old);
    if clean {
        store.shut();
    }
    Spool { disk: disk.killed(), messages, gone, old }
}

impl Spool {
    /// Which messages the bytes of a file belong to.
    fn owners(&self, name: &str, range: Range<usize>) -> BTreeSet<QueueId> {
        let mut owners = BTreeSet::new();
        if let Some(id) = name.strip_prefix("big/").and_then(QueueId::parse) {
            owners.insert(id);
        }
        if name.ends_with(".seg") {
            let bytes = self.disk.bytes(name);
            for (id, body) in &self.messages {
                // Of a big one only the front is here, and what says where the rest is.
                let big = body.len() > 1 << 20;
                let needle = if big { id.0.to_le_bytes().to_vec() } else { body.clone() };
                let Some(at) = bytes.windows(needle.len()).position(|w| w == needle) else { continue };
                let from = bytes[..at].windows(4).rposition(|w| w == b"VJr1").unwrap();
                let to = if big { from + 400 } else { at + body.len() };
                if from < range.end && range.start < to {
                    owners.insert(*id);
                }
            }
        }
        owners
    }

    /// Opens a damaged copy: all is there but what `may` be lost.
    fn check(&self, what: &str, disk: &SimulatedDisk, may: &BTreeSet<QueueId>, again: bool) {
        let log = events::memory();
        let store = open(disk);
        let mut there = BTreeSet::new();
        let mut after = None;
        while let Some(page) = Some(store.list(after, 100).unwrap()).filter(|p| !p.is_empty()) {
            after = page.last().map(|s| s.id);
            for summary in page {
                let id = summary.id;
                match store.body(id) {
                    Ok(Body::Memory(body)) => {
                        if let Some(expected) = self.messages.get(&id) {
                            assert!(*body == **expected, "{what}: {id} has other content");
                            there.insert(id);
                        } else {
                            assert!(self.gone.contains(&id), "{what}: {id} is invented");
                            assert!(again, "{what}: {id} is back");
                        }
                    }
                    Ok(Body::File(..)) => panic!("no real files here"),
                    Err(_) => assert!(store.get(id).unwrap().is_none(), "{what}: {id} is not set aside"),
                }
            }
        }
        let said = log.take();
        for id in self.messages.keys().filter(|id| !there.contains(id)) {
            assert!(may.contains(id), "{what}: {id} is lost");
            let name = id.to_string();
            let named = said.iter().any(|l| l.contains(&name) && l.contains("damaged in the queue"));
            assert!(named, "{what}: nobody was told that {id} is lost: {said:#?}");
            let aside = disk.file_names().contains(&format!("corrupt/{}", id.short()));
            let missing = said.iter().any(|l| l.contains(&name) && l.contains("is missing"));
            assert!(aside || missing, "{what}: {id} is not set aside");
        }
        // It runs: a message can be added and leased, and the next start finds it.
        let id = store.new_id();
        let envelope = Envelope { recipients: vec![Recipient::default()], ..Default::default() };
        drop(store.draft(id, 0).unwrap().submit(envelope).unwrap());
        while store.commit_waiting() {}
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(leased) = store.poll_lease(1000, &mut context) else { panic!("nothing to lease") };
        assert!(leased.iter().any(|l| l.id == id), "{what}");
        store.shut();
        let _log = events::memory();
        let next = open(&disk.cut());
        for id in there.iter().chain([&id]) {
            assert!(matches!(next.body(*id), Ok(Body::Memory(_))), "{what}: {id} is lost by the next start");
        }
    }

    fn damaged(&self, what: &str, name: &str, range: Range<usize>, bytes: Vec<u8>) {
        let may = self.owners(name, range);
        self.check(what, &self.disk.with(name, bytes), &may, name.ends_with(".st"));
    }

    fn flip(&self, name: &str, at: usize, bit: u64) {
        let mut bytes = self.disk.bytes(name);
        let Some(byte) = bytes.get_mut(at) else { return };
        *byte ^= 1 << bit;
        self.damaged(&format!("bit {bit} of byte {at} of {name}"), name, at..at + 1, bytes);
    }

    fn cut(&self, name: &str, length: usize) {
        let mut bytes = self.disk.bytes(name);
        let whole = bytes.len();
        bytes.truncate(length);
        self.damaged(&format!("{name} cut to {length}"), name, length..whole, bytes);
    }

    fn overwrite(&self, name: &str, sector: usize, with: &[u8], what: &str) {
        let mut bytes = self.disk.bytes(name);
        let from = sector * SECTOR;
        let to = bytes.len().min(from + SECTOR).min(from + with.len());
        if from >= to || bytes[from..to] == with[..to - from] {
            return;
        }
        bytes[from..to].copy_from_slice(&with[..to - from]);
        self.damaged(&format!("sector {sector} of {name} is {what}"), name, from..to, bytes);
    }

    /// How far there is anything in a file: not the space taken ahead.
    fn used(&self, name: &str) -> usize {
        self.disk.bytes(name).iter().rposition(|b| *b != 0).map_or(0, |p| p + 1)
    }
}

#[test]
fn no_bit_of_a_small_queue_costs_more_than_its_message() {
    for clean in [true, false] {
        let spool = spool(4, 40, clean);
        for name in spool.disk.file_names() {
            for at in 0..spool.used(&name) + 9 {
                for bit in 0..8 {
                    // What is written in letters has few bits that matter, and zeros have one fate.
                    let zeros = spool.disk.bytes(&name).get(at) == Some(&0);
                    if zeros && (bit != 3 || at % 13 != 0) || name == "format" && bit != 3 {
                        continue;
                    }
                    spool.flip(&name, at, bit);
                }
            }
        }
    }
}

#[test]
fn no_cut_of_a_small_queue_costs_more_than_what_was_cut_off() {
    for clean in [true, false] {
        let spool = spool(4, 40, clean);
        for name in spool.disk.file_names() {
            (0..spool.used(&name) + 20)
                .filter(|l| name != "format" && *l > 4000 || l % 7 == 0 || *l < 60)
                .for_each(|l| spool.cut(&name, l));
        }
    }
}

#[test]
fn sectors_in_the_wrong_place_cost_only_what_was_there() {
    for clean in [true, false] {
        // Enough that whole records of one sector fit another.
        let spool = spool(90, 8, clean);
        let files: Vec<(String, Vec<u8>)> = spool
            .disk
            .file_names()
            .into_iter()
            .filter(|n| !n.starts_with("big/"))
            .map(|n| (n.clone(), spool.disk.bytes(&n)))
            .collect();
        let mut rng = Rng(9);
        for (name, bytes) in &files {
            let used = spool.used(name).div_ceil(SECTOR);
            for sector in 0..used {
                spool.overwrite(name, sector, &[0; SECTOR], "zeros");
                if name.ends_with(".st") {
                    // All others of this log, and what it held here before.
                    for other in 0..used {
                        let with = &bytes[other * SECTOR..((other + 1) * SECTOR).min(bytes.len())];
                        spool.overwrite(name, sector, with, &format!("sector {other}"));
                    }
                }
                for (from, old) in &spool.old {
                    let n = old.len().div_ceil(SECTOR) as u64;
                    let other = if from == name { sector as u64 } else { rng.below(n.min(60)) } as usize;
                    let with = old.get(other * SECTOR..((other + 1) * SECTOR).min(old.len()));
                    let Some(with) = with else { continue };
                    if from == name || rng.one_in(4) {
                        spool.overwrite(name, sector, with, &format!("sector {other} of an old {from}"));
                    }
                }
            }
        }
    }
}

#[test]
fn files_that_are_gone_or_in_anothers_place() {
    for clean in [true, false] {
        let spool = spool(12, 300, clean);
        let names = spool.disk.file_names();
        for name in &names {
            let all = spool.owners(name, 0..usize::MAX);
            let log = name.ends_with(".st");
            spool.check(&format!("{name} is gone"), &spool.disk.without(name), &all, log);
            for other in &names {
                let what = format!("{name} is {other}");
                spool.check(&what, &spool.disk.with(name, spool.disk.bytes(other)), &all, log);
            }
            let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
            let mut copies = vec![format!("{name}.copy"), format!("{name}~")];
            let number = stem.rsplit('/').next().and_then(|s| u32::from_str_radix(s, 16).ok());
            if let Some(number) = number.filter(|_| name.starts_with("seg/")) {
                copies.push(format!("seg/{:08x}.{ending}", number + 1));
                copies.push(format!("seg/{:08x}.{ending}", number - 1));
                copies.push(format!("seg/{number:08x}.st.new"));
            }
            if let Some(id) = name.strip_prefix("big/") {
                copies.push(format!("big/{id}0"));
            }
            for copy in copies {
                let what = format!("{name} is also {copy}");
                let disk = spool.disk.with(&copy, spool.disk.bytes(name));
                spool.check(&what, &disk, &BTreeSet::new(), false);
            }
        }
        // Both files of a segment under another number.
        let seg = names.iter().find(|n| n.ends_with(".seg")).unwrap();
        let (bytes, log) = (spool.disk.bytes(seg), spool.disk.bytes(&seg.replace(".seg", ".st")));
        let disk = spool.disk.with("seg/7fffffff.seg", bytes).with("seg/7fffffff.st", log);
        spool.check("a segment is there twice", &disk, &BTreeSet::new(), false);
        assert!(disk.file_names().contains(&"corrupt/7fffffff.seg".to_string()), "{:?}", disk.file_names());
    }
}

#[test]
fn random_damage_of_a_large_queue() {
    let more: u64 = std::env::var("QUEUE_DAMAGE").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    let mut rng = Rng(3);
    for clean in [true, false] {
        let spool = spool(24, 700, clean);
        for name in spool.disk.file_names() {
            let used = spool.used(&name) as u64;
            for _ in 0..6 * more {
                spool.flip(&name, rng.below(used + 64) as usize, rng.below(8));
                spool.cut(&name, rng.below(spool.disk.bytes(&name).len() as u64 + 1) as usize);
                let sector = rng.below(used.div_ceil(SECTOR as u64)) as usize;
                spool.overwrite(&name, sector, &[0; SECTOR], "zeros");
                let garbage: Vec<u8> = (0..SECTOR).map(|_| rng.next() as u8).collect();
                spool.overwrite(&name, sector, &garbage, "garbage");
            }
        }
    }
}
