//! The long style of queue ids. A test program of its own: the style is one for the process.

use proto::QueueId;

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
    QueueId::show_long(false);
    assert_eq!(id.to_string(), short);
}
