//! One message on a connection: its envelope in as few writes as the server takes, the content, and
//! what became of each recipient. RFC 5321 3.3, RFC 2920, RFC 2033 4.2, RFC 3461

use super::{Answer, Features, Stage};
use crate::Address;
use crate::envelope::{Notify, Ret};
use crate::status::Code;

/// So many bytes of commands may be unanswered: a server that reads nothing until its answers are
/// read must not bring both sides to a halt.
const UNANSWERED: usize = 8 * 1024;

/// What MAIL says.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// The reverse path.
    pub sender: Address,
    /// `SIZE`, if the server knows it.
    pub size: u64,
    /// The content is converted on the way, to another size.
    pub converted: bool,
    /// The content is, or claims to be, eight-bit.
    pub eight_bit: bool,
    /// Addresses or headers are international.
    pub smtputf8: bool,
    /// `RET`.
    pub ret: Option<Ret>,
    /// `ENVID`, xtext.
    pub envid: Option<String>,
    /// Say `AUTH=<>` on a connection that was logged in (`smtp_send_dummy_mail_auth`).
    pub dummy_auth: bool,
    /// Local parts are quoted where the grammar asks for it (`smtp_quote_rfc821_envelope`).
    pub unquoted: bool,
    /// Nothing is sent: whether the server takes the recipients is all that is asked.
    pub probe: bool,
    /// Who handed the message over, when the server may be told.
    pub forwarded: Option<Forwarded>,
}

/// What XFORWARD tells. Empty texts are not known. Postfix XFORWARD_README
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `NAME`, `ADDR`, `PORT`, `PROTO`, `HELO`, `IDENT`, `SOURCE` with their values.
    pub attributes: Vec<(&'static str, String)>,
}

/// What RCPT says.
#[derive(Clone, Debug, Default)]
pub struct Rcpt {
    /// The forward path.
    pub address: Address,
    /// `ORCPT`: type, `;`, xtext.
    pub orcpt: Option<String>,
    /// `NOTIFY`.
    pub notify: Notify,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing was said of it yet.
    Open,
    /// RCPT was accepted; the content was not yet.
    Accepted,
    /// The server has taken responsibility.
    Sent(Answer),
    /// The server said no, to this.
    Refused(Stage, Answer),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Write what is in the buffer, then give the next answer.
    Answer(Stage),
    /// Write what is in the buffer, then the content.
    Content,
    /// Write what is in the buffer: nothing more will be said of this message.
    Done,
}

/// The state of one message.
#[derive(Debug)]
pub struct Transaction {
    commands: Vec<(Stage, Vec<u8>)>,
    /// Commands written.
    written: usize,
    /// Commands answered.
    answered: usize,
    /// Bytes of commands that are not answered.
    unanswered: usize,
    pipelining: bool,
    lmtp: bool,
    probe: bool,
    fates: Vec<Fate>,
    mail_refused: bool,
    phase: Phase,
    /// XFORWARD was refused: for the log.
    warnings: Vec<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Envelope,
    Content,
    /// The dot was written for these places; with LMTP each is answered.
    Dot(usize),
    /// The server wanted content though nobody may have it: the dot was written for nothing.
    EmptyDot,
    /// The envelope is to be forgotten.
    Rset,
    AwaitRset,
    Done,
}

impl Transaction {
    /// One message for these recipients, in this order.
    pub fn new(mail: &Mail, recipients: &[Rcpt], features: &Features, lmtp: bool) -> Transaction {
        let mut commands = Vec::with_capacity(recipients.len() + 4);
        if let Some(forwarded) = &mail.forwarded {
            commands.extend(forward(forwarded, features));
        }
        commands.push((Stage::Mail, mail_command(mail, features)));
        for (place, rcpt) in recipients.iter().enumerate() {
            commands.push((Stage::Rcpt(place), rcpt_command(rcpt, mail.unquoted, features)));
        }
        if !mail.probe {
            commands.push((Stage::Data, b"DATA\r\n".to_vec()));
        }
        Transaction {
            commands,
            written: 0,
            answered: 0,
            unanswered: 0,
            pipelining: features.pipelining,
            lmtp,
            probe: mail.probe,
            fates: vec![Fate::Open; recipients.len()],
            mail_refused: false,
            phase: Phase::Envelope,
            warnings: Vec::new(),
        }
    }

    /// What became of each recipient so far, in their order.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// As [`Transaction::fates`].
    pub fn into_fates(self) -> Vec<Fate> {
        self.fates
    }

    /// The last byte of the content may have been seen by the server, and it has not said what it
    /// made of it: trying again may deliver twice.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self.phase, Phase::Dot(_))
    }

    /// Several commands are without answer.
    pub fn is_pipelining(&self) -> bool {
        self.pipelining
    }

    /// Answers to commands whose failure changes nothing.
    pub fn take_warnings(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.warnings)
    }

    /// Appends what can be written now, and says what comes then.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Want {
        match self.phase {
            Phase::Envelope => {
                while let Some((_, command)) = self.commands.get(self.written) {
                    let first = self.written == self.answered;
                    if !first && (!self.pipelining || self.unanswered + command.len() > UNANSWERED) {
                        break;
                    }
                    out.extend_from_slice(command);
                    self.unanswered += command.len();
                    self.written += 1;
                }
                match self.commands.get(self.answered) {
                    Some((stage, _)) => Want::Answer(*stage),
                    None => Want::Done,
                }
            }
            Phase::Content => Want::Content,
            Phase::Dot(place) => Want::Answer(Stage::Dot(place)),
            Phase::EmptyDot => Want::Answer(Stage::Dot(0)),
            Phase::Rset => {
                out.extend_from_slice(b"RSET\r\n");
                self.phase = Phase::AwaitRset;
                Want::Answer(Stage::Rset)
            }
            Phase::AwaitRset => Want::Answer(Stage::Rset),
            Phase::Done => Want::Done,
        }
    }

    /// What is written next ends the content: from here on the server may have all of it.
    pub fn content_ends(&mut self) {
        if self.phase == Phase::Content {
            self.phase = match self.next_accepted(0) {
                Some(place) => Phase::Dot(place),
                None => Phase::Done,
            };
        }
    }

    /// The answer to what [`Transaction::next`] told; appends what must be written at once.
    pub fn answer(&mut self, answer: Answer, out: &mut Vec<u8>) {
        match self.phase {
            Phase::Envelope => self.envelope(answer, out),
            Phase::Dot(place) if self.lmtp => {
                self.decide(place, &answer);
                self.phase = match self.next_accepted(place + 1) {
                    Some(place) => Phase::Dot(place),
                    None => Phase::Done,
                };
            }
            Phase::Dot(_) => {
                let mut place = 0;
                while let Some(next) = self.next_accepted(place) {
                    self.decide(next, &answer);
                    place = next + 1;
                }
                self.phase = Phase::Done;
            }
            Phase::EmptyDot => self.phase = Phase::Rset,
            Phase::Content | Phase::Rset | Phase::AwaitRset | Phase::Done => self.phase = Phase::Done,
        }
    }

    fn envelope(&mut self, answer: Answer, out: &mut Vec<u8>) {
        let Some((stage, command)) = self.commands.get(self.answered) else { return };
        let stage = *stage;
        self.unanswered = self.unanswered.saturating_sub(command.len());
        self.answered += 1;
        match stage {
            Stage::ForwardClient | Stage::ForwardSession if !answer.is_positive() => {
                self.warnings.push(answer);
            }
            Stage::Mail if !answer.is_positive() => {
                self.mail_refused = true;
                self.refuse_all(stage, &answer);
            }
            Stage::Rcpt(place) if !self.mail_refused => {
                let fate = match answer.is_positive() {
                    true if self.probe => Fate::Sent(answer),
                    true => Fate::Accepted,
                    false => Fate::Refused(stage, answer),
                };
                if let Some(slot) = self.fates.get_mut(place) {
                    *slot = fate;
                }
            }
            Stage::Data if answer.class() != 3 => {
                self.refuse_all(stage, &answer);
                self.phase = Phase::Rset;
            }
            Stage::Data if self.next_accepted(0).is_some() => self.phase = Phase::Content,
            // RFC 2920 3.1: it has to be ended all the same.
            Stage::Data => {
                out.extend_from_slice(b".\r\n");
                self.phase = Phase::EmptyDot;
            }
            _ => {}
        }
        // What was not written yet would be for nobody.
        let complete = self.answered == self.commands.len();
        let only_data = self.answered + 1 == self.commands.len() && !self.probe;
        if self.phase == Phase::Envelope
            && self.written == self.answered
            && (complete || self.mail_refused || only_data && self.next_accepted(0).is_none())
        {
            self.phase = Phase::Rset;
        }
    }

    fn refuse_all(&mut self, stage: Stage, answer: &Answer) {
        for fate in &mut self.fates {
            if matches!(fate, Fate::Open | Fate::Accepted) {
                *fate = Fate::Refused(stage, answer.clone());
            }
        }
    }

    fn next_accepted(&self, from: usize) -> Option<usize> {
        let rest = self.fates.iter().enumerate().skip(from);
        rest.filter(|(_, f)| matches!(f, Fate::Accepted)).map(|(n, _)| n).next()
    }

    fn decide(&mut self, place: usize, answer: &Answer) {
        if let Some(fate) = self.fates.get_mut(place) {
            *fate = match answer.is_positive() {
                true => Fate::Sent(answer.clone()),
                false => Fate::Refused(Stage::Dot(place), answer.clone()),
            };
        }
    }
}

fn path(address: &Address, unquoted: bool) -> String {
    let text = if unquoted { address.internal() } else { address.to_string() };
    // No address can add a command.
    text.chars().map(|c| if c.is_ascii_control() { '?' } else { c }).collect()
}

fn mail_command(mail: &Mail, features: &Features) -> Vec<u8> {
    let mut line = format!("MAIL FROM:<{}>", path(&mail.sender, mail.unquoted));
    if features.size.is_some() && !mail.converted {
        line.push_str(&format!(" SIZE={}", mail.size));
    }
    if features.eight_bit && mail.eight_bit {
        line.push_str(" BODY=8BITMIME");
    }
    if features.smtputf8 && mail.smtputf8 {
        line.push_str(" SMTPUTF8");
    }
    if features.dsn {
        if let Some(envid) = &mail.envid {
            line.push_str(&format!(" ENVID={}", word(envid)));
        }
        match mail.ret {
            Some(Ret::Full) => line.push_str(" RET=FULL"),
            Some(Ret::Headers) => line.push_str(" RET=HDRS"),
            None => {}
        }
    }
    if mail.dummy_auth && !features.auth.is_empty() {
        line.push_str(" AUTH=<>");
    }
    line.push_str("\r\n");
    line.into_bytes()
}

fn rcpt_command(rcpt: &Rcpt, unquoted: bool, features: &Features) -> Vec<u8> {
    let mut line = format!("RCPT TO:<{}>", path(&rcpt.address, unquoted));
    if features.dsn {
        if let Some(orcpt) = &rcpt.orcpt {
            line.push_str(&format!(" ORCPT={}", word(orcpt)));
        }
        let notify = rcpt.notify;
        let words = [
            (notify.never, "NEVER"),
            (notify.success, "SUCCESS"),
            (notify.failure, "FAILURE"),
            (notify.delay, "DELAY"),
        ];
        let said: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, w)| *w).collect();
        if !said.is_empty() {
            line.push_str(&format!(" NOTIFY={}", said.join(",")));
        }
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// A value that is one word.
fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()
}

/// XFORWARD in two commands, with what the server takes of each.
fn forward(forwarded: &Forwarded, features: &Features) -> Vec<(Stage, Vec<u8>)> {
    let groups = [
        (Stage::ForwardClient, &["NAME", "ADDR", "PORT"][..]),
        (Stage::ForwardSession, &["PROTO", "HELO", "IDENT", "SOURCE"][..]),
    ];
    let mut commands = Vec::new();
    for (stage, names) in groups {
        let mut line = String::from("XFORWARD");
        for name in names.iter().filter(|n| features.xforward.iter().any(|x| x == **n)) {
            let value = forwarded.attributes.iter().find(|(n, v)| n == name && !v.is_empty());
            if let Some((_, value)) = value {
                let value = if value == "unknown" { "[UNAVAILABLE]".to_string() } else { xtext(value) };
                line.push_str(&format!(" {name}={value}"));
            }
        }
        if line.len() > "XFORWARD".len() {
            line.push_str("\r\n");
            commands.push((stage, line.into_bytes()));
        }
    }
    commands
}

/// What RFC 3461 4 makes of any text.
pub fn xtext(text: &str) -> String {
    let plain = |b: u8| (b'!'..=b'~').contains(&b) && !matches!(b, b'+' | b'=');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("+{b:02X}") }).collect()
}

/// The code of an answer that refuses: what is neither 4xx nor 5xx breaks the protocol.
impl Answer {
    /// The enhanced code for a recipient whom this answer refuses.
    pub fn refusal(&self) -> Code {
        match self.enhanced {
            Some(code) if code.0 != 2 => code,
            _ => Code(5, 5, 0),
        }
    }
}
