//! Tests of `job`.

use super::*;
use crate::envelope::Notify;
use crate::status::{Code, Remote, Status};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z@+.ñ\u{0}\n]{0,12}"]
}

fn address() -> impl Strategy<Value = Address> {
    (text(), proptest::option::of(text())).prop_map(|(l, d)| Address::new(l, d))
}

fn recipient() -> impl Strategy<Value = Recipient> {
    (address(), text(), proptest::option::of(text()), any::<[bool; 4]>()).prop_map(
        |(address, original, orcpt, n)| {
            let notify = Notify { never: n[0], success: n[1], failure: n[2], delay: n[3] };
            Recipient { address, original, dsn_orcpt: orcpt, notify }
        },
    )
}

fn client() -> impl Strategy<Value = Client> {
    (proptest::array::uniform10(text()), proptest::option::of(any::<u32>())).prop_map(|(t, uid)| {
        let [
            name,
            reverse_name,
            address,
            port,
            helo,
            protocol,
            sasl_method,
            sasl_username,
            sasl_sender,
            instance,
        ] = t;
        Client {
            name,
            reverse_name,
            address,
            port,
            helo,
            protocol,
            sasl_method,
            sasl_username,
            sasl_sender,
            uid,
            instance,
        }
    })
}

prop_compose! {
    fn job()(
        texts in proptest::array::uniform3(text()),
        sender in address(),
        targets in proptest::collection::vec((any::<u32>(), recipient()), 0..4),
        client in client(),
        numbers in any::<[u64; 4]>(),
        kinds in (0..3u8, any::<(bool, bool)>(), 0..3u8),
        envid in proptest::option::of(text()),
    ) -> Job {
        let [transport, nexthop, queue_id] = texts;
        let [size, arrival, offset, length] = numbers;
        Job {
            transport, nexthop, queue_id, sender, client, size, arrival, offset, length,
            recipients: targets.into_iter().map(|(place, recipient)| Target { place, recipient }).collect(),
            encoding: [Encoding::Unknown, Encoding::SevenBit, Encoding::EightBit][usize::from(kinds.0)],
            smtputf8: kinds.1.0,
            probe: kinds.1.1,
            shallow: !kinds.1.1,
            dsn_ret: [None, Some(Ret::Full), Some(Ret::Headers)][usize::from(kinds.2)],
            dsn_envid: envid,
        }
    }
}

fn status() -> impl Strategy<Value = Status> {
    let remote = (proptest::option::of((text(), text())), (text(), text()))
        .prop_map(|(mta, diagnostic)| Remote::of(mta, diagnostic));
    (prop_oneof![Just(2u8), Just(4), Just(5)], 0..1000u16, 0..1000u16, text(), proptest::option::of(remote))
        .prop_map(|(class, a, b, text, remote)| Status { code: Code(class, a, b), text, remote })
}

prop_compose! {
    fn report()(
        recipient in 0..9999usize,
        lines in proptest::collection::vec((address(), text(), text(), status(), 0..3usize, any::<bool>()), 0..4),
        result in status(),
        forwards in proptest::collection::vec((address(), proptest::collection::vec(recipient(), 0..3), text()), 1..3),
        passes in proptest::collection::vec((address(), text(), text()), 0..3),
        expanded in proptest::option::of((0..3usize, status())),
    ) -> Report {
        let actions = [Action::Delivered, Action::Relayed, Action::Expanded, Action::Transferred];
        Report {
            recipient,
            lines: lines.into_iter().map(|(to, orig_to, relay, status, a, f)| Line {
                to, orig_to, relay, status, action: actions[a], forward: f.then_some(0), bounce_to: f.then(|| Address::new("owner", Some("x"))),
            }).collect(),
            result,
            forwards: forwards.into_iter().map(|(sender, recipients, delivered_to)| Forward {
                sender, recipients, delivered_to,
            }).collect(),
            expanded: expanded.map(|(n, status)| (actions[n], status)),
            passes: passes.into_iter().map(|(to, transport, nexthop)| Pass { to, transport, nexthop }).collect(),
        }
    }
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        any::<u32>().prop_map(|number| Frame::Begin { number }),
        (0..4usize, text()).prop_map(|(n, text)| Frame::Log {
            say: [Say::Info, Say::Warning, Say::Error, Say::Fatal][n],
            text
        }),
        report().prop_map(|r| Frame::Report(Box::new(r))),
        any::<u32>().prop_map(Frame::About),
        any::<bool>().prop_map(Frame::Mailbox),
        Just(Frame::End),
    ]
}

proptest! {
    #[test]
    fn a_job_reads_back(job in job()) {
        let bytes = job.encode().unwrap();
        prop_assert_eq!(Job::decode(&bytes), Some(job));
        prop_assert_eq!(Job::decode(&bytes[..bytes.len() - 1]), None);
        let message = frame_job(7, &bytes);
        prop_assert_eq!(split_job(&message), Some((7, bytes.as_slice())));
    }

    #[test]
    fn frames_read_back_in_pieces(frames in proptest::collection::vec(frame(), 0..5), piece in 1..40usize) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut reader = FrameReader::default();
        let mut got = Vec::new();
        for part in bytes.chunks(piece) {
            reader.receive(part).unwrap();
            while let Some(f) = reader.next_frame().unwrap() {
                got.push(f);
            }
        }
        prop_assert_eq!(got, frames);
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn any_bytes_are_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Job::decode(&bytes);
        let _ = Ended::decode(&bytes);
        let _ = Frame::decode(&bytes);
        let mut reader = FrameReader::default();
        reader.receive(&bytes).unwrap();
        while let Ok(Some(_)) = reader.next_frame() {}
    }

    #[test]
    fn a_damaged_job_is_refused_or_another_job(job in job(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = job.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Some(read) = Job::decode(&bytes) {
            prop_assert_eq!(read.encode(), Some(bytes));
        }
    }
}

#[test]
fn limits() {
    let target =
        Target { place: 0, recipient: Recipient { original: "x".repeat(500), ..Recipient::default() } };
    let job = Job { recipients: vec![target; 200], ..Job::default() };
    assert_eq!(job.encode(), None);
    let mut reader = FrameReader::default();
    reader.receive(&u32::MAX.to_le_bytes()).unwrap();
    assert!(reader.next_frame().is_err());
    // A line that names a forward which is not there.
    let report = Report {
        recipient: 0,
        lines: vec![Line {
            to: Address::null(),
            orig_to: String::new(),
            relay: "local".into(),
            status: Status::new(Code(2, 0, 0), "forwarded as"),
            action: Action::Relayed,
            forward: Some(0),
            bounce_to: None,
        }],
        result: Status::new(Code(2, 0, 0), ""),
        forwards: vec![],
        expanded: None,
        passes: vec![],
    };
    assert_eq!(Frame::decode(&Frame::Report(Box::new(report)).encode()[4..]), None);
    for ended in [
        Ended { number: 1, how: How::Exit(-1) },
        Ended { number: u64::MAX, how: How::Signal(9) },
        Ended { number: 0, how: How::NotStarted("fork: no memory".into()) },
    ] {
        assert_eq!(Ended::decode(&ended.encode()), Some(ended));
    }
}
