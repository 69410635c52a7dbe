//! AUTH and the responses that follow it. RFC 4954
//!
//! Base64 is passed on as it came, `=` for an empty initial response included; only `*` and the length
//! of a response are decided here. What is said in a login goes into no transcript.

use super::{Auth, Event, Faults, Found, Notice, Pending, Phase, Session};
use crate::smtp::command::Verb;
use crate::smtp::reply::Reply;
use memchr::memchr;
use std::borrow::Cow;

impl Session {
    /// How clients may log in, if they may.
    pub(super) fn auth(&self) -> Option<&Auth> {
        self.settings.auth.as_ref().filter(|_| self.settings.extensions.auth)
    }

    pub(super) fn auth_command(&mut self, arguments: &str) {
        if let Some(reply) = self.settings.auth_gate.as_ref().and_then(|gate| gate()) {
            return self.refuse_for(Faults::POLICY, Verb::Auth, reply);
        }
        if self.helo_missing() {
            return self.send_helo_first(Verb::Auth, "5.5.1 ");
        }
        let reply = match () {
            () if self.auth().is_none() => Reply::new(503, "5.5.1 Error: authentication not enabled"),
            () if self.in_mail => Reply::new(503, "5.5.1 Error: MAIL transaction in progress"),
            () if self.logged_in => Reply::new(503, "5.5.1 Error: already authenticated"),
            () => {
                let mut words = arguments.split([' ', '\t']).filter(|w| !w.is_empty());
                match (words.next(), words.next(), words.next()) {
                    (Some(mechanism), initial, None) => {
                        let (mechanism, initial) = (mechanism.to_string(), initial.map(str::to_string));
                        return self.ask(Verb::Auth, Pending::Auth, Event::Auth { mechanism, initial });
                    }
                    _ => Reply::new(501, "5.5.4 Syntax: AUTH mechanism"),
                }
            }
        };
        self.refuse(Verb::Auth, reply);
    }

    /// Takes the line that answers a challenge.
    pub(super) fn auth_response(&mut self) -> Option<Found> {
        let unread = self.input.get(self.at..).unwrap_or_default();
        let limit = self.auth().map_or(0, |auth| auth.response_limit).max(1);
        let within = unread.get(..unread.len().min(limit + 1)).unwrap_or_default();
        let Some(end) = memchr(b'\n', within) else {
            if unread.len() <= limit {
                return Some(Found::Nothing);
            }
            let start = String::from_utf8_lossy(unread.get(..30).unwrap_or(unread)).into_owned();
            self.at += limit;
            (self.skipping, self.phase) = (true, Phase::Commands);
            self.note(Notice::LongLine { limit, text: start });
            self.note(Notice::AuthAborted { given_up: false });
            self.refuse(Verb::Auth, Reply::new(500, "5.5.6 SASL response limit exceeded"));
            return None;
        };
        let mut line = within.get(..end).unwrap_or_default();
        while let [head @ .., b'\r'] = line {
            line = head;
        }
        let text = String::from_utf8_lossy(line).into_owned();
        // The buffer may live long; what was said in it need not.
        if let Some(said) = self.input.get_mut(self.at..self.at + end) {
            said.fill(0);
        }
        self.at += end + 1;
        self.phase = Phase::Commands;
        if self.settings.notify != Faults::NONE {
            self.transcript.client(if text == "*" { "*" } else { HIDDEN });
        }
        if text == "*" {
            self.note(Notice::AuthAborted { given_up: true });
            self.refuse(Verb::Auth, Reply::new(501, "5.7.0 Authentication aborted"));
        } else {
            self.ask(Verb::Auth, Pending::Auth, Event::AuthResponse(text));
        }
        None
    }
}

/// Stands for what is nobody else's business.
const HIDDEN: &str = "(not shown)";

/// A command without the initial response of AUTH.
pub(super) fn without_secret(line: &str) -> Cow<'_, str> {
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(auth), Some(mechanism), Some(_)) if auth.eq_ignore_ascii_case("AUTH") => {
            Cow::Owned(format!("{auth} {mechanism} {HIDDEN}"))
        }
        _ => Cow::Borrowed(line),
    }
}

/// What came along with `verb`, up to the first word that may be a password.
pub(super) fn before_secrets(verb: Verb, text: &str) -> String {
    if verb == Verb::Auth {
        return HIDDEN.into();
    }
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let shown = without_secret(line);
        out.push_str(&shown);
        if Verb::of(line.split_ascii_whitespace().next().unwrap_or_default()) == Verb::Auth {
            if matches!(shown, Cow::Borrowed(_)) {
                out.push_str(HIDDEN);
            }
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, Extensions, Reason, Settings, Starttls};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn settings() -> Settings {
        let auth = Auth { offered: "PLAIN LOGIN".into(), old_syntax: false, response_limit: 40 };
        Settings {
            hostname: "mx".into(),
            auth: Some(auth),
            starttls: Starttls::Offered,
            ..Settings::default()
        }
    }

    /// Whoever answers `right` last is in; LOGIN asks twice. `asked` is how often it still will.
    fn drive_on(session: &mut Session, log: &mut Vec<String>, asked: &mut u32) {
        while let Some(event) = session.next_event() {
            let last = |text: &str| match text {
                "right" => Decision::Accept,
                _ => Decision::Reply(Reply::new(535, "5.7.8 no")),
            };
            let decision = match event {
                Event::Auth { mechanism, initial } => {
                    log.push(format!("{mechanism} {initial:?}"));
                    *asked = if mechanism.eq_ignore_ascii_case("LOGIN") { 2 } else { 1 };
                    match initial {
                        Some(text) if *asked == 1 => last(&text),
                        _ => Decision::Reply(Reply::new(334, "")),
                    }
                }
                Event::AuthResponse(text) => {
                    *asked -= 1;
                    log.push(text.clone());
                    if *asked == 1 { Decision::Reply(Reply::new(334, "UDo=")) } else { last(&text) }
                }
                event if event.wants_answer() => Decision::Accept,
                event => {
                    log.push(format!("{event:?}"));
                    continue;
                }
            };
            session.answer(decision);
        }
    }

    fn drive(session: &mut Session, log: &mut Vec<String>) {
        drive_on(session, log, &mut 0);
    }

    /// The replies' codes and enhanced codes, the log, the counts.
    fn run(settings: Settings, text: &str) -> (Vec<String>, Vec<String>, String) {
        let mut session = Session::new(settings);
        let mut log = Vec::new();
        session.receive(text.as_bytes());
        drive(&mut session, &mut log);
        let said = String::from_utf8(session.output().to_vec()).unwrap();
        let replies = said.lines().filter(|l| l.as_bytes().get(3) == Some(&b' '));
        let codes = replies.map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" "));
        (codes.collect(), log, session.counts())
    }

    fn codes(settings: Settings, text: &str) -> String {
        let mut codes = run(settings, text).0;
        codes.iter_mut().for_each(|c| c.truncate(3));
        codes.join(" ")
    }

    #[test]
    fn offered_and_not() {
        let words = |settings: Settings| {
            let mut session = Session::new(settings);
            session.receive(b"EHLO a\r\n");
            drive(&mut session, &mut Vec::new());
            let said = String::from_utf8(session.output().to_vec()).unwrap();
            said.lines().filter(|l| l.contains("AUTH")).collect::<Vec<_>>().join("|")
        };
        assert_eq!(words(settings()), "250-AUTH PLAIN LOGIN");
        let auth = |offered: &str| Auth { offered: offered.into(), old_syntax: true, response_limit: 9 };
        let old = Settings { auth: Some(auth("X")), ..settings() };
        assert_eq!(words(old), "250-AUTH X|250-AUTH=X");
        assert_eq!(words(Settings { auth: Some(auth("")), ..settings() }), "");
        assert_eq!(words(Settings { auth: None, ..settings() }), "");
        let mut extensions = Extensions::ALL;
        assert!(extensions.discard("AUTH"));
        let without = Settings { extensions, ..settings() };
        assert_eq!(words(without.clone()), "");
        assert_eq!(codes(without, "AUTH PLAIN right\r\n"), "503");
    }

    #[test]
    fn the_order_of_what_is_wrong() {
        let cases = [
            ("AUTH PLAIN right\r\n", "235"),
            ("AUTH\r\nAUTH PLAIN a b\r\nauth plain right\r\n", "501 501 235"),
            ("AUTH PLAIN right\r\nAUTH\r\nEHLO a\r\nRSET\r\nAUTH PLAIN right\r\n", "235 503 250 250 503"),
            ("MAIL FROM:<a@b>\r\nAUTH\r\nRSET\r\nAUTH PLAIN right\r\n", "250 503 250 235"),
            ("AUTH LOGIN\r\nx\r\nright\r\nQUIT\r\n", "334 334 235 221"),
            ("AUTH LOGIN\r\n*\r\nAUTH LOGIN\r\nx\r\n*\r\n", "334 501 334 334 501"),
            ("AUTH LOGIN\r\nx\r\n\r\nNOOP\r\n", "334 334 535 250"),
            ("AUTH LOGIN\r\n * \r\nwrong\r\nNOOP\r\n", "334 334 535 250"),
        ];
        for (text, expected) in cases {
            assert_eq!(codes(settings(), text), expected, "{text:?}");
        }
        let strict = Settings { helo_required: true, ..settings() };
        assert_eq!(codes(strict, "AUTH PLAIN right\r\nHELO a\r\nAUTH PLAIN right\r\n"), "503 250 235");
        let hidden = Settings { encrypted_only: true, auth: None, ..settings() };
        assert_eq!(run(hidden, "AUTH\r\n").0, ["530 5.7.0"]);
        assert_eq!(run(Settings { auth: None, ..settings() }, "AUTH\r\n").0, ["503 5.5.1"]);
    }

    #[test]
    fn responses_are_bounded() {
        let long = "x".repeat(41);
        let text = format!("AUTH LOGIN\r\n{long}\r\nNOOP\r\nAUTH LOGIN\r\n{}\r\nright\r\n", "y".repeat(39));
        let (codes, log, counts) = run(settings(), &text);
        assert_eq!(codes, ["334 ", "500 5.5.6", "250 2.0.0", "334 ", "334 UDo=", "235 2.7.0"]);
        assert_eq!(counts, "auth=1/2 noop=1 commands=2/3");
        let start = "x".repeat(30);
        assert!(log.contains(&format!("Notice(LongLine {{ limit: 40, text: {start:?} }})")), "{log:?}");
        assert!(log.contains(&"Notice(AuthAborted { given_up: false })".to_string()));
        // Without an end, nothing is kept of it either.
        let mut session = Session::new(settings());
        session.receive(b"AUTH LOGIN\r\n");
        for _ in 0..1000 {
            session.receive(&[b'x'; 1000]);
            drive(&mut session, &mut Vec::new());
        }
        assert!(session.input.len() < 3000);
    }

    #[test]
    fn the_gate_is_asked_each_time() {
        let count = Arc::new(AtomicU32::new(0));
        let gate: super::super::Gate = Arc::new(move || {
            (count.fetch_add(1, Ordering::Relaxed) >= 2).then(|| Reply::new(450, "4.7.1 too many"))
        });
        let text = "AUTH\r\nAUTH PLAIN wrong\r\nAUTH PLAIN right\r\n";
        assert_eq!(codes(Settings { auth_gate: Some(gate), ..settings() }, text), "501 535 450");
    }

    #[test]
    fn encryption_forgets_a_login() {
        let mut session = Session::new(settings());
        session.receive(b"AUTH PLAIN right\r\nSTARTTLS\r\nAUTH PLAIN right\r\n");
        drive(&mut session, &mut Vec::new());
        session.encrypted(true);
        session.sent();
        session.receive(b"AUTH PLAIN wrong\r\n");
        drive(&mut session, &mut Vec::new());
        assert_eq!(session.output(), b"535 5.7.8 no\r\n");
    }

    #[test]
    fn it_ends_in_the_middle() {
        let mut session = Session::new(settings());
        session.receive(b"AUTH LOGIN\r\nx");
        drive(&mut session, &mut Vec::new());
        assert_eq!(session.place(), "AUTH");
        session.break_off();
        assert!(session.is_closed());
        assert_eq!(session.counts(), "auth=0/1 commands=0/1");
    }

    #[test]
    fn nor_does_the_log() {
        let text = |verb, text| before_secrets(verb, text);
        assert_eq!(text(Verb::Ehlo, "NOOP\r\nAUTH PLAIN abc=\r\nx"), "NOOP\r\nAUTH PLAIN (not shown)");
        assert_eq!(text(Verb::Ehlo, "auth login\r\nabc="), "auth login\r\n(not shown)");
        assert_eq!(text(Verb::Ehlo, "AUTHOR x\r\nNOOP"), "AUTHOR x\r\nNOOP");
        assert_eq!(text(Verb::Auth, "abc=\r\nabc="), "(not shown)");
        let log = run(settings(), "EHLO a\r\nNOOP\r\nAUTH PLAIN c2VjcmV0\r\n").1;
        assert!(log[0].contains("AUTH PLAIN (not shown)"), "{log:?}");
    }

    #[test]
    fn too_many_errors() {
        let few = Settings { hard_error_limit: 2, ..settings() };
        let (codes, log, _) = run(few, "AUTH LOGIN\r\n*\r\nAUTH PLAIN wrong\r\nAUTH PLAIN right\r\n");
        assert_eq!(codes, ["334 ", "501 5.7.0", "535 5.7.8", "421 4.7.0"]);
        assert!(log.contains(&format!("{:?}", Event::Close(Reason::TooManyErrors))));
    }

    #[test]
    fn no_transcript_tells_secrets() {
        let all = Settings { notify: Faults::PROTOCOL, ..settings() };
        let mut session = Session::new(all);
        session.receive(
            b"AUTH PLAIN c2VjcmV0\r\nauth\tLOGIN c2VjcmV0 c2VjcmV0\r\nAUTH LOGIN\r\nc2VjcmV0\r\nc2VjcmV0\r\n",
        );
        drive(&mut session, &mut Vec::new());
        let notice = session.take_transcript().unwrap().notice(None);
        assert!(!notice.contains("c2VjcmV0") && notice.matches(HIDDEN).count() == 4, "{notice}");
    }

    #[test]
    fn no_notice_tells_secrets() {
        let same: super::super::LineFilter = Arc::new(|line| Ok(Some(line.to_string())));
        let told = Settings { line_limit: 25, filter: Some(same), keep_line: true, ..settings() };
        let mut session = Session::new(told);
        let mut log = Vec::new();
        for _ in 0..2 {
            session.receive(b"AUTH PLAIN c2VjcmV0c2VjcmV0c2VjcmV0\r\n");
            drive(&mut session, &mut log);
        }
        assert!(
            log.iter().any(|l| l.contains("LongLine")) && log.iter().any(|l| l.contains("Replaced")),
            "{log:?}"
        );
        let notices = log.iter().filter(|l| l.starts_with("Notice"));
        assert!(
            notices.filter(|l| l.contains("c2Vjcm")).count() == 0 && !session.line().contains("c2Vjcm"),
            "{log:?}"
        );
    }

    proptest! {
        #[test]
        fn however_it_is_cut(
            text in "((AUTH( PLAIN| LOGIN)?( right| x)?|x{1,60}|\\*|right|NOOP|EHLO a|MAIL FROM:<a@b>|RSET)\r\n){1,8}",
            step in 1usize..20,
        ) {
            let whole = run(settings(), &text);
            let mut session = Session::new(settings());
            let (mut log, mut asked) = (Vec::new(), 0);
            for piece in text.as_bytes().chunks(step) {
                session.receive(piece);
                drive_on(&mut session, &mut log, &mut asked);
            }
            // Whether the client waited for its turn is a matter of how it is cut.
            let without = |log: Vec<String>| {
                log.into_iter().filter(|l| !l.contains("Pipelining")).collect::<Vec<_>>()
            };
            prop_assert_eq!((without(log), session.counts()), (without(whole.1), whole.2));
        }
    }
}
