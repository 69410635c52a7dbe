//! The long style of queue ids. A test program of its own: the style is one for the process.

use proto::control::{Entry, Queue, State, listing};
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use proto::{Address, QueueId};

#[test]
fn ids_are_shown_as_the_process_was_told() {
    let id = QueueId::at(1_795_187_936_000_000);
    let (short, long) = (id.short(), id.long());
    assert_eq!(id.to_string(), short);
    QueueId::show_long(true);
    assert_eq!(id.to_string(), long);
    assert_eq!((long.len(), long.find('z')), (12, Some(10)));
    assert_eq!(id.short(), short);
    assert_eq!(QueueId::parse(&short), QueueId::parse(&long));
    let entry = Entry {
        id: "4jWqQq4Nh4z5t".into(),
        queue: Queue::Hold,
        expired: false,
        envelope: Envelope {
            sender: Address::from_internal("root@josedomingo.org"),
            recipients: vec![Recipient {
                address: Address::from_internal("alumno@josedomingo.org"),
                ..Recipient::default()
            }],
            size: 267,
            ..Envelope::default()
        },
        states: vec![State::Deferred(Status::new(Code(4, 3, 2), "deferred transport"))],
        next_attempt: 0,
        tries: 1,
    };
    let expected = concat!(
        "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n",
        "4jWqQq4Nh4z5t!         267 Sat Nov 21 11:16:35 root@josedomingo.org\n",
        "                                                          (deferred transport)\n",
        "                                               alumno@josedomingo.org\n\n",
    );
    let listed = listing::entry(&entry, "Sat Nov 21 11:16:35");
    assert_eq!(format!("{}\n{listed}", listing::heading()), expected);
    QueueId::show_long(false);
    assert_eq!(id.to_string(), short);
}
