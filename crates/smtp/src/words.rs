//! What recipients, and so senders and the log, are told of a failure. The words are Postfix's.

use crate::session::{Peer, Trouble};
use net::dial::Failure;
use proto::smtp::client::{Answer, Stage};
use proto::status::{Code, Remote, Status};
use std::sync::Arc;

/// The connection failed while something was said.
pub fn broken(peer: &Peer, stage: Stage, trouble: &Trouble) -> Status {
    let (label, doing) = (&peer.label, stage.doing());
    match trouble {
        Trouble::Lost => Status::new(Code(4, 4, 2), format!("lost connection with {label} while {doing}")),
        Trouble::TimedOut => {
            Status::new(Code(4, 4, 2), format!("conversation with {label} timed out while {doing}"))
        }
        Trouble::Garbage(_) => {
            Status::new(Code(4, 5, 0), format!("remote protocol error in reply from {label} while {doing}"))
        }
    }
}

/// There is no connection.
pub fn no_connection(peer: &Peer, failure: &Failure) -> Status {
    match failure {
        Failure::Bind(_) => Status::new(Code(4, 4, 0), failure.to_string()),
        Failure::Connect(..) => Status::new(Code(4, 4, 1), format!("connect to {}: {failure}", peer.relay)),
    }
}

/// This process died over the server more than once.
pub fn shunned(peer: &Peer, seconds: u64) -> Status {
    let text = format!(
        "connect to {}: not tried for {seconds}s more, as the mail process died over it more than once",
        peer.relay
    );
    Status::new(Code(4, 3, 0), text)
}

/// The server does not want to talk.
pub fn refused_to_talk(peer: &Peer, answer: &Answer) -> Status {
    by_server(peer, answer, format!("host {} refused to talk to me: {}", peer.label, answer.one_line()))
}

/// The server refused something.
pub fn said(peer: &Peer, answer: &Answer, stage: Stage) -> Status {
    let (label, text, command) = (&peer.label, answer.one_line(), stage.command());
    by_server(peer, answer, format!("host {label} said: {text} (in reply to {command})"))
}

/// What `text` says is the server's decision.
pub fn by_server(peer: &Peer, answer: &Answer, text: String) -> Status {
    // A yes where none is wanted; of codes without a meaning (1xx, 3xx, 715) Postfix says no more than that.
    let text = if answer.is_positive() { format!("Protocol error: {text}") } else { text };
    Status { code: answer.refusal(), text, remote: Some(remote(peer, answer)) }
}

/// The server took responsibility.
pub fn sent(peer: &Peer, answer: &Answer) -> Status {
    let code = answer.enhanced.unwrap_or(Code(2, 0, 0));
    Status { code, text: answer.one_line(), remote: Some(remote(peer, answer)) }
}

/// The message is larger than the server takes.
pub fn too_big(peer: &Peer, size: u64, limit: u64) -> Status {
    let text = format!("message size {size} exceeds size limit {limit} of server {}", peer.label);
    Status::new(Code(5, 3, 4), text)
}

/// The message needs what the server does not have.
pub fn no_smtputf8(peer: &Peer) -> Status {
    let text = format!("SMTPUTF8 is required, but was not offered by host {}", peer.label);
    Status::new(Code(5, 6, 7), text)
}

/// We are talking to ourselves.
pub fn loops(nexthop: &str, best: bool) -> Status {
    let code = if best { Code(5, 4, 6) } else { Code(4, 4, 6) };
    Status::new(code, format!("mail for {nexthop} loops back to myself"))
}

fn remote(peer: &Peer, answer: &Answer) -> Arc<Remote> {
    Remote::of(Some(("dns".into(), peer.host.clone())), ("smtp".into(), answer.one_line()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_where_none_is_wanted_is_called_a_protocol_error() {
        let peer = Peer::host("mx.org", "10.0.0.1:25".parse().unwrap(), true);
        let heard = |code: u16, enhanced: Option<Code>| {
            let status =
                by_server(&peer, &Answer { code, enhanced, text: String::new() }, "it said so".into());
            (status.code, status.text)
        };
        for code in [0, 199, 354, 615, 715, 999] {
            assert_eq!(heard(code, None), (Code(5, 5, 0), "it said so".into()), "{code}");
        }
        assert_eq!(heard(250, Some(Code(2, 0, 0))), (Code(5, 5, 0), "Protocol error: it said so".into()));
        assert_eq!(heard(451, Some(Code(4, 3, 0))), (Code(4, 3, 0), "it said so".into()));
    }
}
