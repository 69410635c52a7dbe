//! From the server's greeting to what it can do. RFC 5321 3.2, RFC 2033 4.1

use super::{Answer, Features, Keywords, Stage};

/// How a server is addressed.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// LHLO, and nothing else.
    pub lmtp: bool,
    /// Our name.
    pub name: String,
    /// EHLO whatever the greeting says (`smtp_always_send_ehlo`).
    pub always_ehlo: bool,
    /// Never EHLO (`smtp_never_send_ehlo`).
    pub never_ehlo: bool,
    /// A greeting 5xx is only for now (`smtp_skip_5xx_greeting`).
    pub skip_5xx: bool,
    /// What is not to be noticed of EHLO's answer.
    pub ignored: Keywords,
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be sent; another answer will come.
    Say(String),
    /// Mail can be sent.
    Ready(Box<Features>),
    /// The server does not want to talk.
    Refused(Answer),
}

/// The state of a greeting.
#[derive(Debug)]
pub struct Handshake {
    manner: Manner,
    stage: Stage,
    /// The name by which the server greeted.
    greeted: String,
}

impl Handshake {
    /// The server is to speak first.
    pub fn new(manner: Manner) -> Handshake {
        Handshake { manner, stage: Stage::Greeting, greeted: String::new() }
    }

    /// Once more after STARTTLS: what to send.
    pub fn again(&mut self) -> String {
        self.say(if self.manner.lmtp { Stage::Lhlo } else { Stage::Ehlo })
    }

    /// What is waited for.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The name by which the server greeted.
    pub fn greeted(&self) -> &str {
        &self.greeted
    }

    /// An answer came.
    pub fn answer(&mut self, answer: Answer) -> Step {
        match self.stage {
            Stage::Greeting => self.greeting(answer),
            Stage::Ehlo if answer.is_positive() => self.extended(&answer),
            Stage::Ehlo if answer.code != 421 => Step::Say(self.say(Stage::Helo)),
            Stage::Lhlo if answer.is_positive() => self.extended(&answer),
            Stage::Helo if answer.is_positive() => Step::Ready(Box::new(Features::plain(&answer))),
            _ => Step::Refused(answer),
        }
    }

    fn greeting(&mut self, mut answer: Answer) -> Step {
        if !answer.is_positive() {
            if answer.class() == 5
                && self.manner.skip_5xx
                && let Some(code) = &mut answer.enhanced
            {
                code.0 = 4;
            }
            return Step::Refused(answer);
        }
        let words = |line: &str| -> Vec<String> {
            line.get(4..).unwrap_or_default().split_ascii_whitespace().map(str::to_string).collect()
        };
        let mut esmtp = self.manner.always_ehlo;
        for (n, line) in answer.text.split('\n').enumerate() {
            let words = words(line);
            if n == 0 {
                self.greeted = words.first().cloned().unwrap_or_default();
            }
            esmtp |= words.iter().any(|w| w.eq_ignore_ascii_case("ESMTP"));
        }
        let hello = match () {
            () if self.manner.lmtp => Stage::Lhlo,
            () if esmtp && !self.manner.never_ehlo => Stage::Ehlo,
            () => Stage::Helo,
        };
        Step::Say(self.say(hello))
    }

    fn extended(&self, answer: &Answer) -> Step {
        Step::Ready(Box::new(Features::extended(answer, &self.manner.ignored)))
    }

    fn say(&mut self, stage: Stage) -> String {
        self.stage = stage;
        let verb = match stage {
            Stage::Lhlo => "LHLO",
            Stage::Ehlo => "EHLO",
            _ => "HELO",
        };
        format!("{verb} {}\r\n", self.manner.name)
    }
}
