//! Addresses of our own domains that no table lists: `User unknown in local recipient table`.

use super::{Asked, Rejection, Verdict};
use crate::world::{Class, Trouble};
use proto::Address;
use proto::smtp::reply::Reply;

/// Refuses an address of ours that is not listed.
pub fn check(a: &mut Asked<'_, '_>, address: &Address, sender: bool) -> Verdict {
    if address.is_null() {
        return Verdict::Dunno;
    }
    let class = match a.q.world.resolve(address) {
        Ok(resolved) => resolved.class,
        Err(Trouble::Invalid) => return Verdict::Dunno,
        Err(trouble) => return a.trouble(trouble),
    };
    match a.q.world.is_listed(address, sender) {
        Ok(true) | Err(Trouble::Invalid) => return Verdict::Dunno,
        Ok(false) => {}
        Err(trouble) => return a.trouble(trouble),
    }
    let rules = a.q.rules;
    let (code, table) = match class {
        Class::Local => (rules.unknown_local_recipient_reject_code, "local recipient table"),
        Class::VirtualAlias => (rules.unknown_virtual_alias_reject_code, "virtual alias table"),
        Class::VirtualMailbox => (rules.unknown_virtual_mailbox_reject_code, "virtual mailbox table"),
        Class::Relay => (rules.unknown_relay_recipient_reject_code, "relay recipient table"),
        Class::Other => return Verdict::Dunno,
    };
    let table = if rules.show_user_unknown_table_name { format!(" in {table}") } else { String::new() };
    let (role, detail) = if sender { ("Sender", "0") } else { ("Recipient", "1") };
    let text = format!(
        "{}.1.{detail} <{}>: {role} address rejected: User unknown{table}",
        code / 100,
        address.internal()
    );
    Verdict::Reject(Rejection { reply: Reply::new(code, text), why: a.why.clone() })
}
