//! Tests of `control`.

use super::*;
use crate::Address;
use crate::envelope::Recipient;
use proptest::prelude::*;

fn entry() -> Entry {
    let recipient = |t: &str| Recipient { address: Address::from_internal(t), ..Recipient::default() };
    let status = Status {
        code: Code(4, 4, 1),
        text: "connect: refused".into(),
        remote: Some(Remote::of(Some(("dns".into(), "mx".into())), ("smtp".into(), "x".into()))),
    };
    Entry {
        id: "89ABCDEF012".into(),
        queue: Queue::Deferred,
        expired: true,
        envelope: Envelope {
            sender: Address::from_internal("jose@example.org"),
            recipients: vec![recipient("a@b"), recipient("c@d")],
            dsn_ret: Some(Ret::Headers),
            size: 318,
            ..Envelope::default()
        },
        states: vec![State::Deferred(status), State::Pending],
        next_attempt: 7,
        tries: 3,
    }
}

#[test]
fn requests_read_back() {
    for request in [
        Request::List,
        Request::FlushAll,
        Request::FlushSite("example.org".into()),
        Request::FlushId("ABC".into()),
        Request::Control { action: Action::ExpireRelease, ids: vec!["A".into()], queues: vec![Queue::Hold] },
        Request::Get("X".into()),
    ] {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
    let mut other = Request::List.encode();
    other[0] = VERSION + 1;
    assert_eq!(Request::decode(&other), None);
}

#[test]
fn answers_read_back() {
    for answer in [
        Answer::Entry(Box::new(entry())),
        Answer::Content(b"\r\n\xff".to_vec()),
        Answer::Touched(vec!["A".into(), "B".into()]),
        Answer::End,
        Answer::Refused("no".into()),
        Answer::Failed("x".into()),
    ] {
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
}

#[test]
fn a_conversation() {
    use std::os::unix::net::UnixStream;
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut head = [0; 4];
        theirs.read_exact(&mut head).unwrap();
        let mut body = vec![0; length(head).unwrap()];
        theirs.read_exact(&mut body).unwrap();
        assert_eq!(Request::decode(&body), Some(Request::List));
        for answer in [Answer::Entry(Box::new(entry())), Answer::End] {
            theirs.write_all(&frame(&answer.encode())).unwrap();
        }
    });
    let mut pieces = Vec::new();
    let last = ask(&mut ours, &Request::List, |piece| {
        pieces.push(piece);
        Ok(())
    });
    assert_eq!(last.unwrap(), Answer::End);
    assert_eq!(pieces, [Answer::Entry(Box::new(entry()))]);
    server.join().unwrap();
    // A server that dies is an error, not an end.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(ask(&mut ours, &Request::List, |_| Ok(())).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::decode(&bytes);
        let _ = Answer::decode(&bytes);
    }

    #[test]
    fn a_cut_answer_is_none(cut in 1usize..60) {
        let whole = Answer::Entry(Box::new(entry())).encode();
        prop_assert_eq!(Answer::decode(&whole[..whole.len() - cut]), None);
    }
}
