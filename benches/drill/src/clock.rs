//! The time, and how late this machine is just now: a program that slept a millisecond and then writes a line into a file
//! knows how long it had to wait for its turn and for the file system, and nobody can be blamed for not having acted
//! while he could not.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Waits a millisecond and writes a line, over and over, and notes when that took much longer.
pub struct Pulse {
    /// When it woke up, and by how much too late, microseconds.
    late: Arc<Mutex<Vec<(u64, u64)>>>,
    stop: Arc<AtomicBool>,
}

impl Pulse {
    /// Begins, with a file in the folder where the mail system has its queue.
    pub fn start(folder: &Path) -> Pulse {
        let pulse = Pulse { late: Arc::default(), stop: Arc::default() };
        let (late, stop) = (pulse.late.clone(), pulse.stop.clone());
        let mut file = File::create(folder.join("pulse")).ok();
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let begun = now();
                std::thread::sleep(Duration::from_millis(1));
                // Without such a file nobody is excused by it.
                let _ = file.as_mut().map(|f| writeln!(f, "{begun}"));
                let end = now();
                let over = end.saturating_sub(begun + 1_000);
                if over > 500 {
                    late.lock().unwrap_or_else(PoisonError::into_inner).push((end, over));
                }
            }
        });
        pulse
    }

    /// The longest that a thread had to wait in the quarter of a second before `moment` or just after it.
    pub fn late_at(&self, moment: u64) -> u64 {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let near = late.iter().rev().take_while(|(at, _)| *at + 250_000 > moment);
        near.filter(|(at, over)| at.saturating_sub(*over) < moment).map(|(_, over)| *over).max().unwrap_or(0)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
