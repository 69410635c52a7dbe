//! What a mail filter answers: packets, and what the machine makes of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::milter::{Decoder, Event, Machine, Offer, Sent};

const EVENTS: [Event; 10] = [
    Event::Connect,
    Event::Helo,
    Event::Mail,
    Event::Rcpt,
    Event::Data,
    Event::Unknown,
    Event::Header,
    Event::EndOfHeader,
    Event::Body,
    Event::EndOfMessage,
];

fuzz_target!(|bytes: &[u8]| {
    let Some(offer) = Offer::of(&["6".to_string()]) else { return };
    let mut machine = Machine::new(offer, Default::default());
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    let mut agreed = false;
    for piece in bytes.chunks(13) {
        decoder.feed(piece);
        while let Ok(Some(packet)) = decoder.next_packet() {
            if !agreed {
                agreed = machine.agree(&packet).is_ok();
                continue;
            }
            let event = EVENTS[packet.data.len() % EVENTS.len()];
            if machine.tell(event, std::iter::empty(), &[b"x"], &mut out) == Sent::Await
                && machine.answer(&packet).is_err()
            {
                machine.fail();
            }
            machine.abort(&mut out);
            out.clear();
        }
    }
    machine.quit(&mut out);
});
