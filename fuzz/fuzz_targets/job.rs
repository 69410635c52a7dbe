//! Delivery jobs and what children answer: any bytes; what is understood can be said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::job::{Ended, Frame, FrameReader, Job, split_job};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let _ = split_job(bytes);
    let _ = Ended::decode(bytes);
    if let Some(job) = Job::decode(bytes)
        && let Some(again) = job.encode()
    {
        assert_eq!(Job::decode(&again), Some(job));
    }
    if let Some(frame) = Frame::decode(bytes) {
        let again = frame.encode();
        assert_eq!(Frame::decode(&again[4..]), Some(frame));
    }
    let mut reader = FrameReader::default();
    for piece in bytes.chunks(usize::from(step).max(1)) {
        if reader.receive(piece).is_err() {
            return;
        }
        while let Ok(Some(_)) = reader.next_frame() {}
    }
});
