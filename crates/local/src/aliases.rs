//! The alias tables. aliases(5).

use crate::answer::say;
use crate::events::{AliasLoop, AliasOwner, EmptyAlias, TableTrouble};
use crate::identity::Rights;
use crate::mail::os_text;
use crate::switch::{DEEPEST, Engine, State, Via};
use crate::tokens;
use proto::Address;
use proto::status::{Code, Status};
use sys::users;
use tables::Owner;

impl Engine<'_> {
    /// Expands the alias `name`, `part` of a name with extension; false when there is none. An
    /// alias that names itself means the user.
    pub(crate) fn alias(&mut self, state: &State, name: &str, part: bool) -> bool {
        if state.from.as_deref().is_some_and(|f| f.eq_ignore_ascii_case(name)) {
            return false;
        }
        let found = self.set.lookups.alias(name, part);
        let (hit, owner) = match found {
            Ok(None) => return false,
            Ok(Some(found)) => found,
            Err(e) => {
                say(self.tell, &TableTrouble { what: e.to_string() });
                self.unavailable(state);
                return true;
            }
        };
        if state.level > DEEPEST {
            say(self.tell, &AliasLoop { name: name.to_string() });
            let text = format!("alias database loop for {name}");
            self.done(state, Status::new(Code(5, 4, 6), text));
            return true;
        }
        let rights = match owner {
            Owner::Trusted | Owner::User(0) => None,
            Owner::User(uid) => match users::by_id(uid) {
                Ok(Some(account)) => Some(Rights::from(&account)),
                Ok(None) => return self.ownerless(state, name, format!("no user has the number {uid}")),
                Err(e) => return self.ownerless(state, name, os_text(&e)),
            },
            Owner::Unknown => return self.ownerless(state, name, "it is not known".into()),
        };
        let mut next = State { rights, from: Some(name.to_string()), ..state.clone() };
        match self.owner_of(name) {
            Err(what) => {
                say(self.tell, &TableTrouble { what });
                self.unavailable(state);
                return true;
            }
            Ok(Some(owner)) => (next.owner, next.owns) = (Some(owner), true),
            Ok(None) if *self.set.params.reset_owner_alias() => (next.owner, next.owns) = (None, false),
            Ok(None) => next.owns = false,
        }
        let tokens = tokens::parse(&hit.value);
        if tokens.is_empty() {
            say(self.tell, &EmptyAlias { name: name.to_string() });
            self.unavailable(state);
            return true;
        }
        if self.mail.job.shallow {
            let text = format!("aliased to {}", hit.value.trim());
            self.done(state, crate::actions::would(text));
            return true;
        }
        self.alias_expanded(next.owner.is_some());
        for token in tokens {
            self.token(&next, token, Via::Alias);
        }
        true
    }

    fn unavailable(&mut self, state: &State) {
        self.done(state, Status::new(Code(4, 3, 0), "alias database unavailable"));
    }

    fn ownerless(&mut self, state: &State, name: &str, what: String) -> bool {
        say(self.tell, &AliasOwner { name: name.to_string(), what });
        self.done(state, Status::new(Code(4, 3, 0), "cannot find alias database owner"));
        true
    }

    /// The sender of mail that goes through the list `name`.
    fn owner_of(&self, name: &str) -> Result<Option<Address>, String> {
        let special = self.set.owner_special;
        if special && (name.starts_with("owner-") || name.ends_with("-request")) {
            return Ok(None);
        }
        let key = format!("owner-{name}");
        let Some((hit, _)) = self.set.lookups.alias(&key, false).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let text = if *self.set.params.expand_owner_alias() { hit.value } else { key };
        Ok(Some(self.set.resolver.complete(text.trim())))
    }
}
