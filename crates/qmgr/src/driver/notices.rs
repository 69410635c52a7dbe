//! Messages made here: notices and forwards. Both enter the queue through `cleanup`.

use super::message::Message;
use super::{Parts, Shared, finish, verp};
use crate::bounce::notice::{Notice, Reported, Returned, headers_end};
use crate::bounce::plan::{Plan, Planned, plan};
use crate::bounce::template::Kind;
use crate::events::{NoticeFailed, PostmasterNotified, SenderNotified};
use cleanup::{Origin, Source};
use proto::date::DateTime;
use proto::envelope::{Envelope, Notify};
use proto::job::Forward;
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use queue::{Body, Store};
use std::io;
use std::os::unix::fs::FileExt;

const PIECE: usize = 64 * 1024;
/// Headers of a big message end within so many bytes, or are cut there.
const MOST_HEADERS: usize = 1 << 20;

/// Makes the notices of one kind durable; false when one could not be.
pub(super) async fn send<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    kind: Kind,
    all: &[(Notify, Reported)],
) -> bool {
    tell(shared, parts, message, &message.envelope, kind, all).await
}

/// The same of failures, each to the sender that the copy of its recipient had.
pub(super) async fn send_verp<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    all: &[(usize, (Notify, Reported))],
) -> bool {
    let mut told = true;
    for (place, one) in all {
        let envelope = verp::envelope(&message.envelope, *place);
        told &= tell(shared, parts, message, &envelope, Kind::Failure, std::slice::from_ref(one)).await;
    }
    told
}

/// Tells the owner of a list, instead of the sender, of a delivery that failed.
pub(super) async fn tell_owner<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    owner: &Address,
    reported: Reported,
) -> bool {
    let envelope = Envelope { sender: owner.clone(), ..(*message.envelope).clone() };
    tell(shared, parts, message, &envelope, Kind::Failure, &[(Notify::default(), reported)]).await
}

async fn tell<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    envelope: &Envelope,
    kind: Kind,
    all: &[(Notify, Reported)],
) -> bool {
    let settings = &parts.settings;
    let Plan { notices, discarded } = plan(&settings.policy, kind, envelope, all);
    let voice = &settings.bounce_voice;
    if discarded {
        finish::discarded(voice, message);
    }
    for planned in &notices {
        match make(shared, parts, message, planned, all).await {
            Ok(id) => {
                let id = id.to_string();
                let what = match kind {
                    Kind::Failure => "non-delivery",
                    Kind::Delay => "delay",
                    Kind::Success | Kind::Verify => "delivery status",
                };
                if planned.postmaster {
                    voice.say_of(message.id, &PostmasterNotified { what, id });
                } else {
                    voice.say_of(message.id, &SenderNotified { what, id });
                }
            }
            Err(why) => {
                voice.say_of(message.id, &NoticeFailed { why });
                return false;
            }
        }
    }
    true
}

async fn make<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    planned: &Planned,
    all: &[(Notify, Reported)],
) -> Result<QueueId, String> {
    let settings = &parts.settings;
    let body = message.body(&shared.store).await.map_err(|e| e.to_string())?;
    let template = settings.templates.get(planned.kind);
    let introduction = template.expanded(&settings.config).map_err(|e| e.to_string())?;
    let now = sys::time::now_micros();
    let envelope = &message.envelope;
    let host = settings.main.myhostname();
    let sender =
        if envelope.sender.is_null() { format!("MAILER-DAEMON@{host}") } else { envelope.sender.to_string() };
    let recipients: Vec<Reported> =
        planned.about.iter().filter_map(|i| all.get(*i)).map(|(_, r)| r.clone()).collect();
    let until = local_time(envelope.arrival.saturating_add(settings.patience.lifetime));
    let id = message.id.to_string();
    let notice = Notice {
        kind: planned.kind,
        postmaster: planned.postmaster,
        template: &template,
        introduction: &introduction,
        myhostname: host,
        id: &id,
        envelope,
        sender: &sender,
        arrival: &local_time(envelope.arrival),
        until: (planned.kind == Kind::Delay).then_some(&until),
        date: &local_time(now),
        seconds: now / 1_000_000,
        to: &planned.to.to_string(),
        recipients: &recipients,
        returned: planned.returned,
    };
    let (head, tail) = notice.frame();
    let mut origin = Origin::new(Source::Internal, planned.sender.clone(), now);
    (origin.notice, origin.class) = (true, Some("bounce"));
    origin.smtputf8 = envelope.smtputf8;
    let mut new = parts.intake.begin(origin);
    new.recipient(planned.to.clone(), None, Notify::default());
    new.write(&head).await;
    let length = match planned.returned {
        Returned::Whole => None,
        Returned::Headers => {
            let prefix = piece(&body, 0, MOST_HEADERS).map_err(|e| e.to_string())?;
            Some(headers_end(&prefix))
        }
    };
    copy(&body, length, &mut new).await.map_err(|e| e.to_string())?;
    new.write(&tail).await;
    new.finish().await.map(|accepted| accepted.id).map_err(|refused| refused.text)
}

/// Sends a message on: a new one with the same content, Delivered-To before it.
pub(super) async fn forward<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    forward: &Forward,
) -> Result<QueueId, Status> {
    let later = |why: String| Status::new(Code(4, 3, 0), why);
    let body = message.body(&shared.store).await.map_err(|e| later(e.to_string()))?;
    let envelope = &message.envelope;
    let mut origin = Origin::new(Source::Internal, forward.sender.clone(), sys::time::now_micros());
    origin.client = envelope.client.clone();
    origin.encoding = envelope.encoding;
    origin.smtputf8 = envelope.smtputf8;
    origin.dsn_envid = envelope.dsn_envid.clone();
    origin.dsn_ret = envelope.dsn_ret;
    let mut new = parts.intake.begin(origin);
    for recipient in &forward.recipients {
        new.forward_to(recipient.clone());
    }
    if !forward.delivered_to.is_empty() {
        new.write(format!("Delivered-To: {}\r\n", forward.delivered_to).as_bytes()).await;
    }
    copy(&body, None, &mut new).await.map_err(|e| later(e.to_string()))?;
    match new.finish().await {
        Ok(accepted) => Ok(accepted.id),
        Err(refused) => {
            let (code, text) = refused.text.split_once(' ').unwrap_or(("", &refused.text));
            let class = if refused.is_temporary() { 4 } else { 5 };
            let code = Code::parse(code).map_or(Code(class, 3, 0), |c| Code(class, c.1, c.2));
            Err(Status::new(code, text))
        }
    }
}

fn local_time(micros: u64) -> DateTime {
    let seconds = (micros / 1_000_000) as i64;
    let zone = sys::time::zone_at(seconds);
    DateTime::new(seconds, zone.offset, &zone.name)
}

/// Up to `most` bytes from `offset`; fewer only at the end.
pub(crate) fn piece(body: &Body, offset: usize, most: usize) -> io::Result<Vec<u8>> {
    match body {
        Body::Memory(bytes) => {
            let rest = bytes.get(offset..).unwrap_or_default();
            Ok(rest.get(..most).unwrap_or(rest).to_vec())
        }
        Body::File(file, length) => {
            let rest = length.saturating_sub(offset as u64).min(most as u64);
            let mut buffer = vec![0; rest as usize];
            file.read_exact_at(&mut buffer, offset as u64)?;
            Ok(buffer)
        }
    }
}

/// Writes the content, or its first bytes, into a new message.
async fn copy<S: Store>(body: &Body, length: Option<usize>, new: &mut cleanup::Message<S>) -> io::Result<()> {
    let mut offset = 0;
    loop {
        let most = length.map_or(PIECE, |l| PIECE.min(l - offset.min(l)));
        let bytes = if most == 0 { Vec::new() } else { piece(body, offset, most)? };
        if bytes.is_empty() {
            return Ok(());
        }
        new.write(&bytes).await;
        offset += bytes.len();
    }
}
