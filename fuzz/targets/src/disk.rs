//! What programs of ours write for each other: queue, `maildrop`, jobs, questions, kept files.

use crate::{first, pieces, text};
use proto::control::{Answer, Request, listing};
use proto::job::{Ended, Frame, FrameReader, Job, read_jobs, split_job, write_jobs};
use proto::record::{Decoder, Item, Walker};
use proto::supervision::{Ask, Order};

/// Envelopes, states and heads of the queue: what can be read can be written and read again.
pub fn queue_record(bytes: &[u8]) {
    queue::fuzz::records(bytes);
}

/// State logs: all that was written is found, and damage leads nowhere. The first bytes say where a bit is
/// flipped; payloads are lines, what follows the log comes after `%%`.
pub fn state_log(bytes: &[u8]) {
    let (high, rest) = first(bytes);
    let (low, rest) = first(rest);
    let (payloads, tail) = crate::two(rest);
    let payloads: Vec<Vec<u8>> = payloads.split(|b| *b == b'\n').take(100).map(<[u8]>::to_vec).collect();
    queue::fuzz::state_log(&payloads, tail, usize::from(high) * 256 + usize::from(low));
}

fn walk(bytes: &[u8], step: u8) -> (Vec<String>, bool) {
    let (mut decoder, mut walker) = (Decoder::default(), Walker::new(true));
    let mut seen = Vec::new();
    for piece in pieces(bytes, step) {
        decoder.feed(piece);
        while !walker.done() {
            match decoder.next_record() {
                Ok(None) => break,
                Err(fault) => {
                    seen.push(fault.to_string());
                    return (seen, false);
                }
                Ok(Some((kind, data))) => match walker.take(kind, data) {
                    Ok(Item::Text(text, ended)) => seen.push(format!("{} {ended}", text.len())),
                    Ok(item) => seen.push(format!("{item:?}")),
                    Err(fault) => {
                        seen.push(fault.to_string());
                        return (seen, false);
                    }
                },
            }
        }
    }
    (seen, walker.complete())
}

/// The stream that any user gives to postdrop, and the files of `maildrop`: cut anywhere, it means the same.
pub fn record(bytes: &[u8]) {
    let (step, bytes) = first(bytes);
    assert_eq!(walk(bytes, step.max(1)), walk(bytes, 0));
}

/// Delivery jobs, and what children answer: what is understood can be said again.
pub fn job(bytes: &[u8]) {
    let (step, bytes) = first(bytes);
    let _ = split_job(bytes);
    let _ = Ended::decode(bytes);
    if let Some(job) = Job::decode(bytes)
        && let Some(again) = job.encode()
    {
        assert_eq!(Job::decode(&again), Some(job));
    }
    if let Some(jobs) = read_jobs(bytes)
        && let Some(again) = write_jobs(&jobs)
    {
        assert_eq!(read_jobs(&again), Some(jobs));
    }
    if let Some(frame) = Frame::decode(bytes) {
        let again = frame.encode();
        assert_eq!(Frame::decode(&again[4..]), Some(frame));
    }
    let read = |step: u8| {
        let (mut reader, mut seen) = (FrameReader::default(), Vec::new());
        for piece in pieces(bytes, step) {
            if reader.receive(piece).is_err() {
                break;
            }
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => seen.push(format!("{frame:?}")),
                    Ok(None) => break,
                    Err(_) => return seen,
                }
            }
        }
        seen
    };
    // What is too long is refused sooner or later; what was understood before is the same.
    let (cut, whole) = (read(step.max(1)), read(0));
    assert!(cut.starts_with(&whole) || whole.starts_with(&cut));
}

/// Questions and answers of the queue commands, and of master: what is understood can be said again.
pub fn control(bytes: &[u8]) {
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
    if let Some(ask) = Ask::decode(bytes) {
        assert_eq!(Ask::decode(&ask.encode()), Some(ask));
    }
    if let Some(order) = Order::decode(bytes) {
        assert_eq!(Order::decode(&order.encode()), Some(order));
    }
}

/// Files in which the mail role remembers things, in its own directory: verified addresses.
pub fn kept_files(bytes: &[u8]) {
    smtpd::fuzz::verified(&text(bytes));
}
