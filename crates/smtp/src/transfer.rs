//! One transaction on a session.

use crate::session::{Session, Trouble};
use crate::settings::Settings;
use cleanup::outgoing::Message;
use proto::smtp::client::{Answer, Fate, Garbage, Mail, Rcpt, Stage, Stuffer, Transaction, Want};
use proto::status::Status;
use queue::store::Body;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Content goes to the system in pieces of this size; what is read of a file, too.
const PIECE: usize = 128 * 1024;
/// More parts than this are copied together rather than handed to the system one by one.
const MOST_PARTS: usize = 256;

/// What is sent.
pub struct Content<'a> {
    /// As it is in the queue.
    pub body: &'a Body,
    /// What changes it on the way.
    pub filter: Option<Message>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Of each recipient, in the order given.
    pub fates: Vec<Fate>,
    /// The conversation broke, and where.
    pub broken: Option<(Stage, Trouble)>,
    /// The server may have taken the message without our hearing of it.
    pub in_doubt: bool,
    /// What is told to those whom the server accepted, when it is our fault that nothing was sent.
    pub ours: Option<Status>,
    /// For the log.
    pub findings: Vec<cleanup::checks::Finding>,
    /// A line was broken.
    pub broke_a_line: bool,
    /// XFORWARD was refused with this.
    pub warnings: Vec<Answer>,
}

/// What ends a transaction early.
enum Stop {
    Broken(Stage, Trouble),
    Ours(Box<Status>),
}

/// Runs it. `quit`: the session ends with it, and QUIT goes with the dot where the server takes that.
pub async fn run(
    session: &mut Session,
    mail: &Mail,
    recipients: &[Rcpt],
    content: Content<'_>,
    settings: &Settings,
    quit: bool,
) -> Outcome {
    let mut transaction = Transaction::new(mail, recipients, &session.features, session.is_lmtp());
    let mut sender = Sender { content, stuffer: Stuffer::new(settings.line_limit), broke_a_line: false };
    let stop = sender.talk(session, &mut transaction, settings, quit).await.err();
    let (broken, ours) = match stop {
        None => (None, None),
        Some(Stop::Broken(stage, trouble)) => (Some((stage, trouble)), None),
        Some(Stop::Ours(status)) => (None, Some(*status)),
    };
    Outcome {
        in_doubt: broken.is_some() && transaction.is_in_doubt(),
        warnings: transaction.take_warnings(),
        fates: transaction.into_fates(),
        findings: sender.content.filter.as_mut().map(Message::findings).unwrap_or_default(),
        broke_a_line: sender.broke_a_line,
        broken,
        ours,
    }
}

struct Sender<'a> {
    content: Content<'a>,
    stuffer: Stuffer,
    broke_a_line: bool,
}

impl Sender<'_> {
    async fn talk(
        &mut self,
        session: &mut Session,
        transaction: &mut Transaction,
        settings: &Settings,
        quit: bool,
    ) -> Result<(), Stop> {
        let mut out = Vec::new();
        loop {
            let want = transaction.next(&mut out);
            if want == Want::Answer(Stage::Rset) && !out.is_empty() && quit && session.features.pipelining {
                out.extend_from_slice(b"QUIT\r\n");
                session.quit = true;
            }
            if !out.is_empty() {
                let stage = match want {
                    Want::Answer(stage) => stage,
                    Want::Content => Stage::Content,
                    Want::Done => Stage::Rset,
                };
                let written = session.write(&out, settings.times.of(stage)).await;
                written.map_err(|t| Stop::Broken(stage, t))?;
                out.clear();
            }
            match want {
                Want::Done => return Ok(()),
                Want::Content => self.send(session, transaction, settings, quit).await?,
                Want::Answer(stage) => {
                    let answer = session.answer(stage, false).await;
                    let answer = answer.map_err(|t| Stop::Broken(stage, t))?;
                    // Who is about to close, or does not forget, is not given another message.
                    session.reusable &= answer.code != 421 && (stage != Stage::Rset || answer.is_positive());
                    transaction.answer(answer, &mut out);
                }
            }
        }
    }

    /// The content, the dot, and perhaps QUIT.
    async fn send(
        &mut self,
        session: &mut Session,
        transaction: &mut Transaction,
        settings: &Settings,
        quit: bool,
    ) -> Result<(), Stop> {
        if session.says_yes_early() {
            let early = Garbage::NoReply("an answer before the content".into());
            return Err(Stop::Broken(Stage::Content, Trouble::Garbage(early)));
        }
        let quit = quit && session.features.pipelining && !session.is_lmtp();
        let body = self.content.body.clone();
        match &body {
            Body::Memory(bytes) => {
                let mut pieces = bytes.chunks(PIECE).peekable();
                if pieces.peek().is_none() {
                    return self.piece(session, transaction, settings, &[], true, quit).await;
                }
                while let Some(piece) = pieces.next() {
                    let last = pieces.peek().is_none();
                    self.piece(session, transaction, settings, piece, last, quit).await?;
                }
                Ok(())
            }
            Body::File(file, length) => {
                let (mut at, mut buffer) = (0, Vec::new());
                loop {
                    buffer = read(file.clone(), at, *length, buffer).await.map_err(|what| {
                        Stop::Ours(Box::new(Status::new(proto::status::Code(4, 3, 0), what)))
                    })?;
                    at += buffer.len() as u64;
                    let last = at >= *length;
                    self.piece(session, transaction, settings, &buffer, last, quit).await?;
                    if last {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn piece(
        &mut self,
        session: &mut Session,
        transaction: &mut Transaction,
        settings: &Settings,
        bytes: &[u8],
        last: bool,
        quit: bool,
    ) -> Result<(), Stop> {
        let mut changed = Vec::new();
        let bytes = match self.content.filter.as_mut() {
            None => bytes,
            Some(filter) => {
                filter.feed(bytes, &mut changed);
                if last {
                    filter.finish(&mut changed).map_err(Stop::Ours)?;
                }
                &changed
            }
        };
        let mut parts = Vec::new();
        self.stuffer.feed(bytes, &mut parts);
        if last {
            self.broke_a_line = self.stuffer.broke_a_line();
            std::mem::replace(&mut self.stuffer, Stuffer::new(0)).finish(&mut parts);
            if quit {
                parts.push(b"QUIT\r\n");
                session.quit = true;
            }
            transaction.content_ends();
        }
        let limit = settings.times.data_xfer;
        let written = match parts.len() > MOST_PARTS {
            true => session.write(&parts.concat(), limit).await,
            false => session.write_pieces(&parts, limit).await,
        };
        let stage = if last { Stage::Dot(0) } else { Stage::Content };
        written
            .map_err(|t| Stop::Broken(if last && t == Trouble::TimedOut { Stage::Content } else { stage }, t))
    }
}

/// The next piece of a file, read where it keeps nobody waiting.
async fn read(
    file: Arc<std::fs::File>,
    at: u64,
    length: u64,
    mut buffer: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let size = usize::try_from(length.saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
    let reading = tokio::task::spawn_blocking(move || {
        buffer.resize(size, 0);
        file.read_exact_at(&mut buffer, at).map(|()| buffer)
    });
    match reading.await {
        Ok(Ok(buffer)) => Ok(buffer),
        Ok(Err(e)) => Err(format!("queue file read error: {}", net::plain(&e))),
        Err(_) => Err("queue file read error".into()),
    }
}
