//! Addresses of our own domains that no table lists: `User unknown in local recipient table`.

use super::{Asked, Rejection, Subject, Verdict, split_enhanced};
use crate::world::Trouble;
use proto::Address;
use proto::smtp::server::Faults;
use rewrite::{Existence, Unknown};

/// Refuses an address of ours that is not listed.
pub fn check(a: &mut Asked<'_, '_>, address: &Address, sender: bool) -> Verdict {
    if address.is_null() {
        return Verdict::Dunno;
    }
    let rules = a.q.rules;
    let (code, text) = match a.q.world.existence(address) {
        Ok(Existence::Possible) | Err(Trouble::Invalid) => return Verdict::Dunno,
        Err(trouble) => return a.trouble(trouble),
        Ok(Existence::Refused(text)) => (550, text),
        Ok(Existence::Deferred(text)) => (450, text),
        Ok(Existence::Unknown(unknown)) => {
            let code = match unknown {
                Unknown::Local => rules.unknown_local_recipient_reject_code,
                Unknown::VirtualAlias => rules.unknown_virtual_alias_reject_code,
                Unknown::VirtualMailbox => rules.unknown_virtual_mailbox_reject_code,
                Unknown::Relay => rules.unknown_relay_recipient_reject_code,
            };
            let table = match rules.show_user_unknown_table_name {
                true => format!(" in {}", unknown.table()),
                false => String::new(),
            };
            (code, format!("User unknown{table}"))
        }
    };
    let (subject, enhanced) = match sender {
        true => (Subject::sender(address), "5.1.0"),
        false => (Subject::recipient(address), "5.1.1"),
    };
    let (enhanced, text) = split_enhanced(&text, enhanced, code);
    let rejection = a.refusal_of(&subject, code, &enhanced, text);
    Verdict::Reject(Rejection { fault: Faults::BOUNCE, ..rejection })
}
