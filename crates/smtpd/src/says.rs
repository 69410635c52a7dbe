//! What restrictions found on their way, told to the log in the words of Postfix.

use crate::backend::Backend;
use crate::events::{self as news, *};
use crate::restrictions::{Say, Stage};
use crate::session::{Session, place_of};
use proto::Address;
use std::sync::atomic::{AtomicBool, Ordering};

impl<B: Backend> Session<B> {
    pub(crate) fn tell_log(&mut self, stage: Stage, recipient: Option<&Address>, says: Vec<Say>) {
        for say in says {
            match say {
                Say::UnknownRestriction(name) => self.source.say(&UnknownRestriction { name }),
                Say::Bad(name, what) => self.source.say(&BadRestriction { name, what }),
                Say::Mapped(from, class, to) => self.source.say(&MappedStatus { from, class, to }),
                Say::Trouble(what) => self.source.say(&TableTrouble { what }),
                Say::Once(what) => {
                    if !self.said.contains(&what) && self.said.len() < 50 {
                        self.said.push(what.clone());
                        self.source.say(&TableTrouble { what });
                    }
                }
                Say::OldLists => {
                    // Once is enough: it is about the configuration.
                    static SAID: AtomicBool = AtomicBool::new(false);
                    if !SAID.swap(true, Ordering::Relaxed) {
                        self.source.say(&OldLists {});
                    }
                }
                Say::NoSaslSupport(name) => self.source.say(&NoSaslSupport { name }),
                Say::UnknownMacro(name) => self.source.say(&news::UnknownMacro { name }),
                Say::Permit(action, subject, table) => {
                    let table = if table.is_empty() { table } else { format!("from {table}") };
                    let (place, client, about) = (place_of(stage), self.label.clone(), self.about(recipient));
                    let id = self.id.as_deref().unwrap_or("NOQUEUE");
                    self.source.say_of(id, &news::Permit { place, client, action, subject, table, about });
                }
                Say::Requires(table, key, what) => self.source.say(&ActionRequires { table, key, what }),
                Say::EmptyAction(table) => self.source.say(&EmptyAction { table }),
                Say::TableInTable(table, action) => {
                    self.source.say(&TableInTable { table, action });
                    self.source.say(&TableInTableWhy {});
                    self.source.say(&TableInTableRemedy {});
                }
                Say::Access(what, text) => {
                    let (client, about) = (self.label.clone(), self.about(recipient));
                    let id = self.id.as_deref().unwrap_or("NOQUEUE");
                    self.source.say_of(id, &AccessNote { what, place: place_of(stage), client, text, about });
                }
            }
        }
    }
}
