//! The transports that need no other process: error, retry and discard. error(8), discard(8)

use proto::status::{Code, Status};

/// What a transport of master.cf runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// `error`: fails for good; the service named `retry` only for now.
    Error,
    /// `discard`: is delivered to nobody.
    Discard,
}

impl Own {
    /// The one that a command of master.cf names.
    pub fn of(command: &str) -> Option<Own> {
        match command {
            "error" => Some(Own::Error),
            "discard" => Some(Own::Discard),
            _ => None,
        }
    }

    /// The status of every recipient: the next hop is the reason, with an enhanced code before it
    /// perhaps. `service` is the name in master.cf.
    pub fn status(self, service: &str, nexthop: &str) -> Status {
        let class = match self {
            Own::Discard => 2,
            Own::Error if service == "retry" => 4,
            Own::Error => 5,
        };
        let (code, text) = match nexthop.split_once(|c: char| c.is_ascii_whitespace()) {
            Some((word, rest)) => match Code::parse(word) {
                Some(code) => (Some(code), rest.trim_start()),
                None => (None, nexthop),
            },
            None => (None, nexthop),
        };
        // A code of the wrong class cannot turn a failure into success.
        let code = code.map_or(Code(class, 0, 0), |c| Code(class, c.1, c.2));
        Status::new(code, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_hop_is_the_reason() {
        let show = |own: Own, service: &str, hop: &str| {
            let s = own.status(service, hop);
            format!("{} {}", s.code, s.text)
        };
        assert_eq!(show(Own::Error, "error", "josedomingo.org"), "5.0.0 josedomingo.org");
        assert_eq!(show(Own::Error, "error", "5.7.9 go away"), "5.7.9 go away");
        assert_eq!(show(Own::Error, "error", "5.1.1"), "5.0.0 5.1.1");
        assert_eq!(show(Own::Error, "retry", "4.5.6 later"), "4.5.6 later");
        assert_eq!(show(Own::Error, "retry", "5.5.6 later"), "4.5.6 later");
        assert_eq!(show(Own::Discard, "discard", "go away"), "2.0.0 go away");
    }
}
