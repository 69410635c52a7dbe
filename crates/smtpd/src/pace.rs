//! How long a client is waited for.

use crate::backend::Backend;
use crate::service::Service;
use std::time::{Duration, Instant};

/// How long to wait: for each read and write, or with deadlines for a whole command.
pub(crate) struct Pace {
    timeout: Duration,
    deadlines: bool,
    rate: u32,
    until: Instant,
}

impl Pace {
    /// A session begins.
    pub(crate) fn new<B: Backend>(service: &Service<B>) -> Pace {
        let timeout = service.timeout().max(Duration::from_secs(1));
        let rate = u32::try_from(*service.smtpd.smtpd_min_data_rate()).unwrap_or(500).max(1);
        let deadlines = *service.smtpd.smtpd_per_request_deadline();
        Pace { timeout, deadlines, rate, until: Instant::now() + timeout }
    }

    /// A wait begins; with deadlines only when a command was answered.
    pub(crate) fn restart(&mut self, answered: bool) {
        if answered || !self.deadlines {
            self.until = Instant::now() + self.timeout;
        }
    }

    /// So long may be waited now.
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Content buys time at the minimal rate.
    pub(crate) fn took(&mut self, n: usize, content: bool) {
        if self.deadlines && content {
            let bought = Duration::from_secs_f64(n as f64 / f64::from(self.rate));
            self.until = (self.until + bought).min(Instant::now() + self.timeout);
        }
    }
}
