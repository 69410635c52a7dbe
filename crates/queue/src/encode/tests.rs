//! Tests of `encode`.

use super::*;
use proptest::prelude::*;

fn status() -> impl Strategy<Value = Status> {
    let remote = (proptest::option::of((".{0,5}", ".{0,20}")), ".{0,5}", ".{0,40}")
        .prop_map(|(mta, a, b)| Remote::of(mta, (a, b)));
    (2u8..6, any::<u16>(), any::<u16>(), ".{0,60}", proptest::option::of(remote))
        .prop_map(|(a, b, c, text, remote)| Status { code: Code(a, b, c), text, remote })
}

fn states() -> impl Strategy<Value = Vec<RecipientState>> {
    let one = (0u8..5, status()).prop_map(|(kind, s)| match kind {
        0 => RecipientState::Pending,
        1 => RecipientState::Deferred(s),
        2 => RecipientState::Owed(s),
        3 => RecipientState::Sent(s),
        _ => RecipientState::Bounced(s),
    });
    proptest::collection::vec(one, 0..6)
}

fn envelopes() -> impl Strategy<Value = Envelope> {
    let address = (".{0,12}", proptest::option::of(".{0,12}")).prop_map(|(l, d)| Address::new(l, d));
    let recipient = (address.clone(), ".{0,9}", proptest::option::of(".{0,9}"), any::<u8>()).prop_map(
        |(address, original, dsn_orcpt, n)| Recipient {
            address,
            original,
            dsn_orcpt,
            notify: Notify { never: n & 1 != 0, success: n & 2 != 0, failure: n & 4 != 0, delay: n & 8 != 0 },
        },
    );
    let client = (proptest::collection::vec(".{0,9}", 10), proptest::option::of(any::<u32>())).prop_map(
        |(mut t, uid)| {
            let mut next = || t.pop().unwrap_or_default();
            Client {
                name: next(),
                reverse_name: next(),
                address: next(),
                port: next(),
                helo: next(),
                protocol: next(),
                sasl_method: next(),
                sasl_username: next(),
                sasl_sender: next(),
                instance: next(),
                uid,
            }
        },
    );
    let rest = (
        any::<(u64, u64, bool, bool, bool)>(),
        0u8..3,
        (0u8..3, 0usize..4),
        proptest::collection::vec(proptest::option::of(".{0,9}"), 3),
    );
    (address, proptest::collection::vec(recipient, 0..5), client, rest).prop_map(
        |(
            sender,
            recipients,
            client,
            ((arrival, size, smtputf8, hold, notice), encoding, (ret, trace), mut texts),
        )| Envelope {
            sender,
            recipients,
            arrival,
            size,
            client,
            encoding: [Encoding::Unknown, Encoding::SevenBit, Encoding::EightBit][usize::from(encoding)],
            smtputf8,
            dsn_envid: texts.pop().flatten(),
            dsn_ret: [None, Some(Ret::Full), Some(Ret::Headers)][usize::from(ret)],
            filter: texts.pop().flatten(),
            hold,
            verp: texts.pop().flatten(),
            notice,
            trace: [Trace::None, Trace::Verify, Trace::Record, Trace::Probe][trace],
        },
    )
}

proptest! {
    #[test]
    fn envelopes_read_back(e in envelopes()) {
        let mut out = Vec::new();
        envelope(&e, &mut out);
        prop_assert_eq!(read_envelope(&out), Some(e));
    }

    #[test]
    fn states_read_back(all in states(), e in proptest::option::of(envelopes())) {
        let mut out = Vec::new();
        state(&all, e.as_ref(), &mut out);
        prop_assert_eq!(read_state(&out), Some(StateBody { all: Some(all.clone()), changes: vec![], envelope: e }));
        let some: Vec<_> = all.into_iter().enumerate().map(|(i, s)| (i * 3, s)).collect();
        let mut out = Vec::new();
        changes(&some, &mut out);
        prop_assert_eq!(read_state(&out), Some(StateBody { all: None, changes: some, envelope: None }));
    }

    #[test]
    fn no_bytes_do_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), e in envelopes(), at in any::<u16>(), flip in 1u8..) {
        read_envelope(&bytes);
        read_state(&bytes);
        bytes.clear();
        envelope(&e, &mut bytes);
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= flip;
        read_envelope(&bytes);
        bytes.truncate(at);
        prop_assert_eq!(read_envelope(&bytes), None);
    }
}

#[test]
fn unknown_keys_are_skipped_and_lengths_are_only_claims() {
    let mut out = Vec::new();
    let mut o = Encoder::new(&mut out);
    o.map(3).unwrap().u8(99).unwrap().array(1).unwrap().str("new").unwrap();
    o.str("word").unwrap().u8(1).unwrap();
    o.u8(2).unwrap().u64(77).unwrap();
    assert_eq!(read_envelope(&out).map(|e| e.arrival), Some(77));
    // A list of 2^60 recipients, and none there.
    assert_eq!(read_envelope(&[0xa1, 0x01, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]), None);
    // A kind of state that a later version may know.
    let later = [0xa1, 0x00, 0x81, 0x81, 0x18, 0x2a];
    assert_eq!(read_state(&later).and_then(|s| s.all), Some(vec![RecipientState::Pending]));
}
