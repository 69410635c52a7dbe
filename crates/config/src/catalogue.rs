//! Names that Postfix 3.7 documents and valija does not obey yet, or never will: their types and
//! defaults, what becomes of them, and why. One data file, sorted by name, searched where it lies.
//!
//! Whoever obeys a parameter declares it in `params/` and deletes its line here; a test holds that
//! no name is in both. Should one be, the declaration wins.

use std::cmp::Ordering;

/// What becomes of a setting that is not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It needs no obeying here: what it asks for is so anyway, or means nothing in this house.
    Accepted,
    /// It is kept and printed, but has no effect though it should have one.
    Unsupported,
    /// An old name that Postfix documents but no longer has; it counts only where a default mentions it.
    Legacy,
}

/// One line of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The parameter's name.
    pub name: &'static str,
    /// boolean, number, time, list or text.
    pub kind: &'static str,
    /// Its default before expansion, as `postconf -d` prints it.
    pub default: &'static str,
    /// What becomes of a setting.
    pub fate: Fate,
    /// Why, and what to do instead.
    pub note: &'static str,
}

const TEXT: &str = include_str!("catalogue.tsv");

/// The entry of `name`.
pub fn find(name: &str) -> Option<Entry> {
    let (mut low, mut high) = (0, TEXT.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = TEXT.as_bytes().get(..middle)?.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let start = start.max(low);
        let line = TEXT.get(start..)?.split('\n').next()?;
        let here = line.split('\t').next()?;
        match here.as_bytes().cmp(name.as_bytes()) {
            Ordering::Equal => return entry(line),
            Ordering::Less => low = start + line.len() + 1,
            Ordering::Greater => high = start,
        }
    }
    None
}

/// The default of `name` before expansion; old names have none.
pub fn default_of(name: &str) -> Option<&'static str> {
    find(name).filter(|e| e.fate != Fate::Legacy).map(|e| e.default)
}

/// All entries, sorted by name.
pub fn entries() -> impl Iterator<Item = Entry> {
    TEXT.lines().filter_map(entry)
}

fn entry(line: &'static str) -> Option<Entry> {
    let mut fields = line.split('\t');
    Some(Entry {
        name: fields.next().filter(|n| !n.is_empty())?,
        kind: fields.next()?,
        default: fields.next()?,
        fate: match fields.next()? {
            "accepted" => Fate::Accepted,
            "legacy" => Fate::Legacy,
            _ => Fate::Unsupported,
        },
        note: fields.next()?,
    })
}

/// Parameters that every transport of master.cf has under its own name, `<transport>_<suffix>`, with
/// what they are when nothing sets them.
pub const TRANSPORT: [(&str, &str); 16] = [
    ("delivery_slot_cost", "$default_delivery_slot_cost"),
    ("delivery_slot_discount", "$default_delivery_slot_discount"),
    ("delivery_slot_loan", "$default_delivery_slot_loan"),
    ("destination_concurrency_failed_cohort_limit", "$default_destination_concurrency_failed_cohort_limit"),
    ("destination_concurrency_limit", "$default_destination_concurrency_limit"),
    ("destination_concurrency_negative_feedback", "$default_destination_concurrency_negative_feedback"),
    ("destination_concurrency_positive_feedback", "$default_destination_concurrency_positive_feedback"),
    ("destination_rate_delay", "$default_destination_rate_delay"),
    ("destination_recipient_limit", "$default_destination_recipient_limit"),
    ("extra_recipient_limit", "$default_extra_recipient_limit"),
    ("initial_destination_concurrency", "$initial_destination_concurrency"),
    ("minimum_delivery_slots", "$default_minimum_delivery_slots"),
    ("recipient_limit", "$default_recipient_limit"),
    ("recipient_refill_delay", "$default_recipient_refill_delay"),
    ("recipient_refill_limit", "$default_recipient_refill_limit"),
    ("transport_rate_delay", "$default_transport_rate_delay"),
];

/// The same for every service that runs `pipe` or `spawn`.
pub const COMMAND: [(&str, &str); 1] = [("time_limit", "$command_time_limit")];

/// What `<transport>_<suffix>` is when nothing sets it, before expansion.
pub fn transport_default(suffix: &str) -> Option<&'static str> {
    TRANSPORT.iter().chain(&COMMAND).find(|(s, _)| *s == suffix).map(|(_, d)| *d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;

    #[test]
    fn sorted_complete_and_found() {
        let all: Vec<Entry> = entries().collect();
        assert_eq!(all.len(), TEXT.lines().count(), "a line of catalogue.tsv lacks a column");
        for pair in all.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} stands before {}", pair[0].name, pair[1].name);
        }
        for entry in &all {
            assert_eq!(find(entry.name), Some(*entry));
            assert!(["boolean", "number", "time", "list", "text"].contains(&entry.kind), "{}", entry.name);
            assert!(!entry.note.is_empty(), "{} has no reason", entry.name);
        }
        assert_eq!(find("no_such_name"), None);
        assert_eq!(find(""), None);
        assert_eq!(find("zzz"), None);
    }

    #[test]
    fn no_declared_name_is_in_the_catalogue() {
        let both: Vec<&str> = params::GROUPS
            .iter()
            .flat_map(|g| g.iter())
            .map(|d| d.name)
            .filter(|name| find(name).is_some())
            .collect();
        assert!(
            both.is_empty(),
            "declared in params/ and still in catalogue.tsv: delete these lines of crates/config/src/catalogue.tsv: {both:?}"
        );
    }
}
