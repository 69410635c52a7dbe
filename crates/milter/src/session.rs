//! All filters of one SMTP session, or of one message that came without SMTP. They are told each event in their order,
//! until one of them objects.

use crate::content::Content;
use crate::link::{Heard, Link};
use crate::macros::Macros;
use crate::plan::Plan;
use events::Source;
use proto::milter::machine::Word;
use proto::milter::{Edit, Event, wire};
use std::net::IpAddr;
use std::sync::Arc;

/// The client, as filters are told.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its name; `[address]` when it has none.
    pub name: &'a str,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
}

/// What filters may change at the end of a message.
pub trait Subject: Send {
    /// The message itself.
    fn content(&mut self) -> &mut Content;
    /// Changes it; an error is what there is too much of. `leading_space`: values bring their own.
    fn edit(&mut self, edit: Edit, leading_space: bool) -> Result<(), &'static str>;
    /// A filter is done with the message; `good` unless it failed.
    fn settle(&mut self, good: bool);
}

/// What filters found of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// One of them objects.
    pub word: Option<Word>,
    /// One of them wants it held.
    pub hold: bool,
}

/// The filters of a session.
pub struct Session {
    plan: Arc<Plan>,
    links: Vec<Link>,
    /// What they are told besides.
    pub macros: Macros,
    opened: bool,
}

impl Session {
    /// Not connected to any yet.
    pub fn new(plan: Arc<Plan>) -> Session {
        let links = plan.targets.iter().map(Link::new).collect();
        let mut macros = Macros::default();
        macros.set("{daemon_name}", Some(plan.manner.daemon_name.clone()));
        macros.set("v", Some(plan.manner.v.clone()));
        Session { plan, links, macros, opened: false }
    }

    /// Connects to them and tells of the client.
    pub async fn connect(&mut self, client: Client<'_>, say: &Source) -> Option<Word> {
        let address = client.ip.map(|ip| ip.to_string()).unwrap_or_default();
        let port = client.port.to_be_bytes();
        let name = [wire::text(client.name.as_bytes()), b"\0"].concat();
        let family: &[u8] = match client.ip {
            Some(IpAddr::V4(_)) => b"4",
            Some(IpAddr::V6(_)) => b"6",
            None => b"U",
        };
        let pieces: &[&[u8]] = match client.ip {
            Some(_) => &[&name, family, &port, address.as_bytes(), b"\0"],
            None => &[&name, family],
        };
        self.tell(Event::Connect, pieces, false, say).await
    }

    /// Tells of HELO or EHLO.
    pub async fn helo(&mut self, name: &str, say: &Source) -> Option<Word> {
        self.tell(Event::Helo, &[wire::text(name.as_bytes()), b"\0"], false, say).await
    }

    /// Tells of a sender: the address in its brackets, and each parameter.
    pub async fn mail(&mut self, arguments: &[String], say: &Source) -> Option<Word> {
        let arguments = joined(arguments);
        self.tell(Event::Mail, &[&arguments], false, say).await
    }

    /// Tells of a recipient.
    pub async fn rcpt(&mut self, arguments: &[String], say: &Source) -> Option<Word> {
        let arguments = joined(arguments);
        self.tell(Event::Rcpt, &[&arguments], false, say).await
    }

    /// Tells those who want to know of a recipient that was refused already.
    pub async fn rejected(&mut self, arguments: &[String], say: &Source) {
        let arguments = joined(arguments);
        self.tell(Event::Rcpt, &[&arguments], true, say).await;
    }

    /// Somebody wants to know of refused recipients.
    pub fn wants_rejected(&self) -> bool {
        self.links.iter().any(|link| link.machine.wants_rejected())
    }

    /// Tells of DATA.
    pub async fn data(&mut self, say: &Source) -> Option<Word> {
        self.tell(Event::Data, &[], false, say).await
    }

    /// Tells of a command that nobody knows.
    pub async fn unknown(&mut self, line: &str, say: &Source) -> Option<Word> {
        self.tell(Event::Unknown, &[wire::text(line.as_bytes()), b"\0"], false, say).await
    }

    /// What holds for commands that filters are not told of.
    pub fn standing(&self) -> Option<Word> {
        self.links.iter().find_map(|link| link.machine.standing())
    }

    /// The message is over, whatever became of it.
    pub async fn abort(&mut self) {
        for (link, target) in self.links.iter_mut().zip(&self.plan.targets) {
            link.abort(target).await;
        }
    }

    /// The session is over.
    pub async fn quit(&mut self) {
        for link in &mut self.links {
            link.quit().await;
        }
    }

    async fn tell(&mut self, event: Event, pieces: &[&[u8]], rejected: bool, say: &Source) -> Option<Word> {
        let opening = !std::mem::replace(&mut self.opened, true);
        let mut hold = None;
        let Session { plan, links, macros, .. } = self;
        for (link, target) in links.iter_mut().zip(&plan.targets) {
            if rejected && !link.machine.wants_rejected() {
                continue;
            }
            let failed = match opening {
                true => link.open(target, say).await,
                false => None,
            };
            let word = match failed {
                Some(word) => Some(word),
                None => {
                    let named = values(plan, macros, link, event);
                    link.exchange(target, event, named.into_iter(), pieces, None, say).await.word
                }
            };
            match word {
                Some(Word::Hold) => hold = Some(Word::Hold),
                // A filter that objects is not asked again; nor are those after it.
                Some(word) => return Some(word),
                None => {}
            }
        }
        hold
    }

    /// Shows a message to them, one after the other, each with the changes of those before.
    pub async fn content(&mut self, subject: &mut dyn Subject, say: &Source) -> Found {
        let mut found = Found::default();
        for at in 0..self.links.len() {
            let heard = self.show(at, subject, say).await;
            let good = self.links.get(at).is_some_and(|link| !link.machine.is_over());
            subject.settle(good);
            found.hold |= heard.hold;
            match heard.word {
                None => {}
                Some(Word::Hold) => found.hold = true,
                word => return Found { word, ..found },
            }
        }
        found
    }

    async fn show(&mut self, at: usize, subject: &mut dyn Subject, say: &Source) -> Heard {
        let Session { plan, links, macros, .. } = self;
        let (Some(link), Some(target)) = (links.get_mut(at), plan.targets.get(at)) else {
            return Heard::default();
        };
        if !link.machine.hears(Event::EndOfMessage) {
            return Heard::default();
        }
        if link.machine.hears(Event::Header) {
            let (mut place, space) = (0, link.machine.leading_space());
            while let Some((name, value, next)) = subject.content().field(place, space) {
                place = next;
                let pieces: [&[u8]; 4] = [wire::text(&name), b"\0", wire::text(&value), b"\0"];
                let named = values(plan, macros, link, Event::Header);
                let heard = link.exchange(target, Event::Header, named.into_iter(), &pieces, None, say).await;
                if heard.word.is_some() || !link.machine.hears(Event::EndOfMessage) {
                    return heard;
                }
                if heard.enough {
                    break;
                }
            }
        }
        let named = values(plan, macros, link, Event::EndOfHeader);
        let heard = link.exchange(target, Event::EndOfHeader, named.into_iter(), &[], None, say).await;
        if heard.word.is_some() || !link.machine.hears(Event::EndOfMessage) {
            return heard;
        }
        if link.machine.hears(Event::Body) {
            let (mut piece, mut place) = (Vec::new(), 0);
            loop {
                if let Err(e) = subject.content().read_body(place, wire::CHUNK, &mut piece) {
                    subject.content().broken(e);
                    return Heard::default();
                }
                if piece.is_empty() {
                    break;
                }
                place += piece.len() as u64;
                let named = values(plan, macros, link, Event::Body);
                let heard = link.exchange(target, Event::Body, named.into_iter(), &[&piece], None, say).await;
                if heard.word.is_some() || !link.machine.hears(Event::EndOfMessage) {
                    return heard;
                }
                if heard.enough {
                    break;
                }
            }
        }
        let named = values(plan, macros, link, Event::EndOfMessage);
        link.exchange(target, Event::EndOfMessage, named.into_iter(), &[], Some(subject), say).await
    }
}

/// The macros for an event: those that the filter asked for, or else those that are configured, as far as they have
/// values.
fn values<'a>(plan: &'a Plan, macros: &'a Macros, link: &Link, event: Event) -> Vec<(&'a str, &'a str)> {
    if !link.machine.hears_macros(event) {
        return Vec::new();
    }
    let stage = event.stage();
    let defaults = &plan.manner.defaults;
    let value = |name: &str| macros.get(name, stage).or_else(|| defaults.get(name).map(String::as_str));
    let named = |name: &str| -> Option<(&'a str, &'a str)> {
        let name = crate::macros::braced(name);
        Some((macros.known(&name, defaults)?, value(&name)?))
    };
    match link.machine.macros(stage) {
        Some(names) => names.iter().filter_map(|name| named(name)).collect(),
        None => plan.manner.macros.get(&stage).into_iter().flatten().filter_map(|name| named(name)).collect(),
    }
}

fn joined(arguments: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for argument in arguments {
        out.extend_from_slice(wire::text(argument.as_bytes()));
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests;
