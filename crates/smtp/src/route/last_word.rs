//! What becomes of recipients when all places of a list were tried.

use super::NoRoute;
use proto::status::{Code, Status};

/// How the list of places came about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// The first place of the list, as written.
    pub first: &'a str,
    /// `relayhost`, as written.
    pub relayhost: &'a str,
    /// The place that failed last came from `smtp_fallback_relay` (or `lmtp_fallback_relay`).
    pub at_fallback: bool,
    /// Its parameter's name.
    pub fallback_name: &'static str,
    /// `best_mx_transport`.
    pub best_mx_transport: &'a str,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastWord {
    /// The recipients get this status; a warning for the log.
    Status(Status, Option<String>),
    /// The recipients are given to `best_mx_transport`.
    Pass(String),
}

/// Judges the last failure. What may be the fault of our own configuration does not bounce mail.
pub fn last_word(failure: Option<&NoRoute>, around: Circumstances<'_>) -> LastWord {
    let Some(failure) = failure else {
        let text = "server unavailable or unable to receive mail";
        return LastWord::Status(Status::new(Code(4, 3, 0), text), None);
    };
    let mut status = failure.status.clone();
    if status.code.0 == 4 {
        return LastWord::Status(status, None);
    }
    let faulty = match () {
        () if around.at_fallback => Some(around.fallback_name),
        () if !around.relayhost.is_empty() && around.first == around.relayhost => Some("relayhost"),
        () => None,
    };
    if let Some(name) = faulty {
        status.code = Code(4, 3, 5);
        return LastWord::Status(status, Some(format!("{name} configuration problem")));
    }
    if failure.loops && !around.best_mx_transport.is_empty() {
        return LastWord::Pass(around.best_mx_transport.to_string());
    }
    LastWord::Status(status, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code, loops: bool) -> NoRoute {
        NoRoute { status: Status::new(code, "why"), loops, warnings: Vec::new() }
    }

    #[test]
    fn ends() {
        let plain =
            Circumstances { first: "a.b", fallback_name: "smtp_fallback_relay", ..Default::default() };
        let word = |f: Option<&NoRoute>, c: Circumstances<'_>| match last_word(f, c) {
            LastWord::Status(s, warning) => format!("{} {} {}", s.code, s.text, warning.unwrap_or_default()),
            LastWord::Pass(transport) => format!("pass {transport}"),
        };
        let (hard, soft) = (failed(Code(5, 4, 4), false), failed(Code(4, 4, 3), false));
        let looped = failed(Code(5, 4, 6), true);
        assert_eq!(word(None, plain), "4.3.0 server unavailable or unable to receive mail ");
        assert_eq!(word(Some(&hard), plain), "5.4.4 why ");
        assert_eq!(word(Some(&soft), plain), "4.4.3 why ");
        let fallback = Circumstances { at_fallback: true, ..plain };
        assert_eq!(word(Some(&hard), fallback), "4.3.5 why smtp_fallback_relay configuration problem");
        assert_eq!(word(Some(&soft), fallback), "4.4.3 why ");
        let relay = Circumstances { relayhost: "a.b", ..plain };
        assert_eq!(word(Some(&looped), relay), "4.3.5 why relayhost configuration problem");
        let best = Circumstances { best_mx_transport: "local", ..plain };
        assert_eq!(word(Some(&looped), best), "pass local");
        assert_eq!(word(Some(&hard), best), "5.4.4 why ");
        assert_eq!(word(Some(&looped), plain), "5.4.6 why ");
    }
}
