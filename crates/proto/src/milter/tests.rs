//! The machine, packets and terms against well-behaved and other filters.

use super::machine::Fallback;
use super::terms::Disagreement;
use super::wire::{self, Broken};
use super::*;
use crate::smtp::reply::Reply;
use proptest::prelude::*;

fn offer() -> Offer {
    Offer::of(&["6".to_string()]).unwrap()
}

fn packet(letter: u8, data: &[u8]) -> Packet {
    Packet { letter, data: data.to_vec() }
}

/// A machine that agreed on version 6 and these steps.
fn open(steps: u32) -> Machine {
    let mut machine = Machine::new(offer(), Fallback::Tempfail);
    let words = [6, 0x1ff, steps].map(u32::to_be_bytes).concat();
    machine.agree(&packet(b'O', &words)).unwrap();
    machine
}

fn tell(machine: &mut Machine, event: Event) -> (Sent, Vec<u8>) {
    let mut out = Vec::new();
    let sent = machine.tell(event, std::iter::empty(), &[b"x\0"], &mut out);
    (sent, out)
}

fn word(code: u16, text: &str) -> Option<Word> {
    Some(Word::Reply(Reply::new(code, text)))
}

#[test]
fn offers() {
    let of = |text: &str| {
        let words: Vec<String> = text.split(' ').map(str::to_string).collect();
        Offer::of(&words).map(|offer| {
            let mut out = Vec::new();
            offer.write(&mut out);
            out
        })
    };
    assert_eq!(of("6").unwrap(), b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
    assert_eq!(of("2").unwrap()[8..], *b"\x02\0\0\x01\xff\0\0\0\x7f");
    assert_eq!(of("no_header_reply 4").unwrap()[13..], *b"\0\0\x03\xff");
    assert_eq!((of("5"), of("no_header_reply"), of("6 foo")), (None, None, None));
}

#[test]
fn agreements() {
    let of = |data: &[u8]| Terms::read(&offer(), &packet(b'O', data));
    let six = b"\0\0\0\x06\0\0\x01\xff\0\0\0\x01\0\0\0\x01{tls_version}, i\0\0\0\0\x09x\0";
    let terms = of(six).unwrap();
    assert_eq!(terms.macros, [(Stage::Helo, vec!["{tls_version}".to_string(), "i".to_string()])]);
    assert_eq!(of(b"\0\0\0\x06\0").unwrap_err(), Disagreement::Broken(Broken::NoNumber));
    assert_eq!(of(b"\0\0\0\x09\0\0\0\0\0\0\0\0").unwrap_err(), Disagreement::Version(9, 6));
    let greedy = of(b"\0\0\0\x06\0\0\xff\xff\0\0\0\0").unwrap_err();
    assert_eq!(greedy.to_string(), "request mask 0xffff conflict with MTA request mask 0x1ff");
    assert_eq!(Terms::read(&offer(), &packet(b'c', b"")).unwrap_err(), Disagreement::Unexpected(b'c'));
    let endless = b"\0\0\0\x06\0\0\x01\xff\0\0\0\x01\0\0\0\x01abc";
    assert_eq!(of(endless).unwrap_err(), Disagreement::Broken(Broken::NoEnd));
}

#[test]
fn events_that_are_left_out_or_not_answered() {
    let mut machine = open(0x1 | 0x2000);
    assert_eq!(tell(&mut machine, Event::Connect), (Sent::Done(None), b"\0\0\0\x02DC".to_vec()));
    assert_eq!(tell(&mut machine, Event::Helo), (Sent::Done(None), b"\0\0\0\x02DH\0\0\0\x03Hx\0".to_vec()));
    assert_eq!(tell(&mut machine, Event::Mail), (Sent::Await, b"\0\0\0\x02DM\0\0\0\x03Mx\0".to_vec()));
    let mut brief = open(0x20);
    assert_eq!(tell(&mut brief, Event::Header), (Sent::Done(None), vec![]));
    let mut out = Vec::new();
    machine.tell(Event::Rcpt, [("i", "A1"), ("{x}", "y\0z")].into_iter(), &[b"<a@b>", b"\0"], &mut out);
    assert_eq!(out, b"\0\0\0\x0dDRi\0A1\0{x}\0y\0\0\0\0\x07R<a@b>\0");
    let mut old = Machine::new(offer(), Fallback::Accept);
    old.agree(&packet(b'O', &[2, 0x3f, 0].map(u32::to_be_bytes).concat())).unwrap();
    assert_eq!(tell(&mut old, Event::Data).1, b"");
}

#[test]
fn verdicts_hold_as_long_as_they_should() {
    let refused = || word(550, "5.7.1 Command rejected");
    // On a recipient: for it alone.
    let mut machine = open(0);
    tell(&mut machine, Event::Rcpt);
    assert_eq!(machine.answer(&packet(b'r', b"")), Ok(Answer::Done(refused())));
    assert_eq!((machine.standing(), tell(&mut machine, Event::Rcpt).0), (None, Sent::Await));
    // On a sender: until the message is over.
    tell(&mut machine, Event::Mail);
    assert_eq!(machine.answer(&packet(b'y', b"554 5.7.3 No\0")), Ok(Answer::Done(word(554, "5.7.3 No"))));
    assert_eq!(tell(&mut machine, Event::Rcpt), (Sent::Done(word(554, "5.7.3 No")), vec![]));
    let mut out = Vec::new();
    machine.abort(&mut out);
    assert_eq!((out.as_slice(), tell(&mut machine, Event::Mail).0), (&b"\0\0\0\x01A"[..], Sent::Await));
    // On the session: for good, and the connection is of no more use.
    tell(&mut machine, Event::Helo);
    assert_eq!(machine.answer(&packet(b'r', b"")), Ok(Answer::Done(refused())));
    out.clear();
    machine.abort(&mut out);
    machine.quit(&mut out);
    assert_eq!((out.is_empty(), machine.is_over()), (true, true));
}

#[test]
fn accepting_discarding_and_failing() {
    let mut machine = open(0);
    tell(&mut machine, Event::Connect);
    let odd = machine.answer(&packet(b'd', b"")).unwrap();
    assert_eq!(odd, Answer::Odd(None, Fault::Discard));
    tell(&mut machine, Event::Data);
    assert_eq!(machine.answer(&packet(b'd', b"")), Ok(Answer::Done(Some(Word::Discard))));
    assert!(!machine.hears(Event::Header) && machine.standing().is_none());
    machine.abort(&mut Vec::new());
    tell(&mut machine, Event::Body);
    assert_eq!(machine.answer(&packet(b's', b"")), Ok(Answer::Enough));
    tell(&mut machine, Event::EndOfMessage);
    assert_eq!(machine.answer(&packet(b'q', b"why\0")), Ok(Answer::Hold));
    assert_eq!(machine.answer(&packet(b'q', b"why")), Err(Fault::Broken(Broken::NoEnd)));
    let edit = Edit::Insert { at: 1, name: b"A".to_vec(), value: b"b".to_vec() };
    assert_eq!(machine.answer(&packet(b'i', b"\0\0\0\x01A\0b\0")), Ok(Answer::Edit(edit)));
    let unexpected = machine.answer(&packet(b'f', b"")).unwrap_err();
    assert_eq!(
        unexpected.to_string(),
        "unexpected filter response SMFIR_CONN_FAIL after event SMFIC_BODYEOB"
    );
    assert_eq!(machine.fail(), word(451, "4.7.1 Service unavailable - try again later"));
    assert!(machine.is_over());
    for (text, expected) in [
        ("accept", None),
        ("reject", word(550, "5.5.0 Service unavailable")),
        ("quarantine", Some(Word::Hold)),
        ("shutdown", word(451, "4.3.5 Server configuration problem - try again later")),
    ] {
        let mut machine = Machine::new(offer(), Fallback::of(text));
        assert_eq!(machine.fail(), expected, "{text}");
    }
}

#[test]
fn replies() {
    let of = |text: &[u8]| {
        let mut machine = open(0);
        tell(&mut machine, Event::Mail);
        machine.answer(&packet(b'y', &[text, b"\0"].concat())).unwrap()
    };
    assert_eq!(of(b"550 5.7.1 a\r\n550 5.7.1 b"), Answer::Done(word(550, "5.7.1 a\n5.7.1 b")));
    assert_eq!(of(b"451-4.7.1 a\n451 4.7.1 100%%\r\n"), Answer::Done(word(451, "4.7.1 a\n4.7.1 100%")));
    for bad in [&b"250 2.0.0 Good"[..], b"550", b"550 ", b"5x0 a", b"", b"550 a\r\n451 b", b"\xff\xff\xff a"]
    {
        assert!(matches!(of(bad), Answer::Odd(Some(_), Fault::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn streams() {
    let mut decoder = Decoder::default();
    decoder.feed(b"\0\0\0\x01c\0\0\0\x03y");
    assert_eq!(decoder.next_packet(), Ok(Some(packet(b'c', b""))));
    assert_eq!(decoder.next_packet(), Ok(None));
    decoder.feed(b"ab");
    assert_eq!(decoder.next_packet(), Ok(Some(packet(b'y', b"ab"))));
    assert!(decoder.is_empty());
    decoder.feed(b"\0\0\0\0");
    assert_eq!(decoder.next_packet(), Err(Broken::Empty));
    let mut liar = Decoder::default();
    liar.feed(b"\xff\xff\xff\xffc");
    assert_eq!(liar.next_packet(), Err(Broken::TooLong(u32::MAX)));
}

proptest! {
    #[test]
    fn what_is_put_is_read(letter: u8, data in prop::collection::vec(any::<u8>(), 0..80), cut in 0usize..90) {
        let mut bytes = Vec::new();
        wire::put(&mut bytes, letter, &[&data]);
        let mut decoder = Decoder::default();
        let cut = cut.min(bytes.len());
        decoder.feed(&bytes[..cut]);
        let early = decoder.next_packet().unwrap();
        decoder.feed(&bytes[cut..]);
        let late = decoder.next_packet().unwrap();
        prop_assert_eq!(early.or(late), Some(packet(letter, &data)));
        prop_assert!(decoder.is_empty());
    }

    /// Whatever a filter answers: no panic, and no verdict outlives its end.
    #[test]
    fn any_answers(terms in prop::collection::vec(any::<u8>(), 0..40), answers in prop::collection::vec((0usize..10, any::<u8>(), prop::collection::vec(any::<u8>(), 0..24)), 0..20)) {
        let mut machine = Machine::new(offer(), Fallback::Tempfail);
        if machine.agree(&packet(b'O', &terms)).is_err() {
            machine = open(0);
        }
        const EVENTS: [Event; 10] = [
            Event::Connect, Event::Helo, Event::Mail, Event::Rcpt, Event::Data, Event::Unknown, Event::Header,
            Event::EndOfHeader, Event::Body, Event::EndOfMessage,
        ];
        let mut out = Vec::new();
        for (event, letter, data) in answers {
            let over = machine.is_over();
            let sent = tell(&mut machine, EVENTS[event]);
            prop_assert!(!over || sent.1.is_empty());
            if sent.0 == Sent::Await && machine.answer(&packet(letter, &data)).is_err() {
                machine.fail();
            }
            if letter % 7 == 0 {
                machine.abort(&mut out);
            }
        }
        machine.quit(&mut out);
        prop_assert!(machine.is_over() && machine.standing().is_none());
    }
}
