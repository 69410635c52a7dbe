//! See `crate::fuzz`.

use super::format::{self, Header, Identity, Kind};
use crate::ledger::Plan;
use proto::QueueId;

const SPOOL: Identity = Identity { spool: 7, key: [1; 16] };

pub fn heads(bytes: &[u8]) {
    let _ = format::read_segment_head(bytes);
    let _ = Header::read(bytes, &SPOOL);
    let _ = format::read_big_body(bytes);
    let _ = format::read_state(bytes, &SPOOL, (3, 16));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = format::read_format(text);
    }
    if let Some(plan) = Plan::read(bytes) {
        assert_eq!(Plan::read(&plan.write()), Some(plan));
    }
}

pub fn log(payloads: &[Vec<u8>], tail: &[u8], flip: usize) {
    let mut log = Vec::new();
    for (n, payload) in payloads.iter().enumerate() {
        let id = QueueId(n as u64 + 1);
        format::write_state(&mut log, &SPOOL, (3, 0), (Kind::Put, id, n as u32), |out| {
            out.extend_from_slice(payload)
        });
    }
    let whole = log.len();
    log.extend_from_slice(tail);
    let (mut at, mut read) = (0, 0);
    while at < whole {
        let Ok(record) = format::read_state(&log[at..], &SPOOL, (3, at as u64)) else {
            panic!("record {read} is lost")
        };
        assert_eq!((record.id, record.payload), (QueueId(read as u64 + 1), payloads[read].as_slice()));
        at += record.length;
        read += 1;
    }
    assert_eq!((at, read), (whole, payloads.len()));
    if let Some(byte) = log.get_mut(flip) {
        *byte ^= 1;
        let mut at = 0;
        while let Ok(record) = format::read_state(&log[at..], &SPOOL, (3, at as u64)) {
            at += record.length;
            assert!(record.length > 0 && at <= log.len());
        }
    }
}
