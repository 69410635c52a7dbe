//! Several jobs in one message: the messages that wait for the same mailbox.

use super::wire::{Reader, Writer};
use super::{Job, LONGEST_JOB};

/// More messages than one child is given at a time.
pub const MOST_TOGETHER: usize = 200;

/// The first byte of several jobs; a single one begins with its version.
const SEVERAL: u8 = 0x80;

/// One job as [`Job::encode`] writes it, several with their number and lengths before them. `None` when they are too many or
/// too long for one message.
pub fn write_jobs(jobs: &[Job]) -> Option<Vec<u8>> {
    if let [job] = jobs {
        return job.encode();
    }
    if jobs.is_empty() || jobs.len() > MOST_TOGETHER {
        return None;
    }
    let mut w = Writer::default();
    w.u8(SEVERAL);
    w.count(jobs.len());
    for job in jobs {
        w.block(&job.encode()?);
    }
    Some(w.done()).filter(|bytes| bytes.len() + 8 <= LONGEST_JOB)
}

/// The jobs of a message; `None` for what is none of this version.
pub fn read_jobs(bytes: &[u8]) -> Option<Vec<Job>> {
    if bytes.first() != Some(&SEVERAL) {
        return Job::decode(bytes).map(|job| vec![job]);
    }
    let mut r = Reader::new(bytes.get(1..)?);
    let n = r.count()?;
    let jobs: Option<Vec<Job>> = (0..n.min(MOST_TOGETHER)).map(|_| Job::decode(r.block()?)).collect();
    jobs.filter(|jobs| jobs.len() == n && n > 1 && r.finished())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn jobs_read_back_and_cuts_are_refused() {
        let job = |n: u64| Job { transport: "local".into(), offset: n, length: 7, ..Job::default() };
        for n in 1..5 {
            let jobs: Vec<Job> = (0..n).map(job).collect();
            let bytes = write_jobs(&jobs).unwrap();
            assert_eq!(read_jobs(&bytes), Some(jobs));
            for cut in 0..bytes.len() {
                assert_eq!(read_jobs(&bytes[..cut]), None);
            }
        }
        assert_eq!(write_jobs(&[]), None);
        assert_eq!(write_jobs(&vec![job(0); MOST_TOGETHER + 1]), None);
        let long = Job { queue_id: "x".repeat(40_000), ..job(0) };
        assert!(write_jobs(std::slice::from_ref(&long)).is_some());
        assert_eq!(write_jobs(&[long.clone(), long]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), several: bool) {
            if several && let Some(first) = bytes.first_mut() {
                *first = SEVERAL;
            }
            if let Some(jobs) = read_jobs(&bytes) {
                prop_assert_eq!(write_jobs(&jobs), Some(bytes));
            }
        }
    }
}
