//! Doors for the fuzz targets alone; no other build has them.

use crate::disk::fuzz as formats;
use crate::encode;

/// Everything that is read from the disk takes any bytes; what can be read can be written and read
/// again.
pub fn records(bytes: &[u8]) {
    if let Some(envelope) = encode::read_envelope(bytes) {
        let mut out = Vec::new();
        encode::envelope(&envelope, &mut out);
        assert_eq!(encode::read_envelope(&out), Some(envelope));
    }
    if let Some(body) = encode::read_state(bytes)
        && let (Some(all), []) = (&body.all, body.changes.as_slice())
    {
        let mut out = Vec::new();
        encode::state(all, body.envelope.as_ref(), &mut out);
        assert_eq!(encode::read_state(&out), Some(body));
    }
    formats::heads(bytes);
}

/// A state log: every record of a log that was written is found, whatever follows it; from a
/// damaged log nothing is read beyond its end.
pub fn state_log(payloads: &[Vec<u8>], tail: &[u8], flip: usize) {
    formats::log(payloads, tail, flip);
}
