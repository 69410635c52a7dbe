//! Questions and answers of the queue commands: any bytes; what is understood can be said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::control::{Answer, Request, listing};
use proto::supervision::{Ask, Order};

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
    if let Some(answer) = Answer::decode(bytes) {
        if let Answer::Entry(entry) = &answer {
            let json = listing::json(entry);
            assert!(json.ends_with("}\n") && json.matches('\n').count() == 1);
            assert!(!listing::entry(entry, "Sat Nov 21 10:08:05").contains('\u{1b}'));
        }
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
    let _ = (Ask::decode(bytes), Order::decode(bytes));
});
