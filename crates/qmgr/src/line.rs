//! The times of a result line: `delay=0.05, delays=0.04/0.01/0/0.01`.

use std::fmt::Write;

/// Where the time of a delivery went, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Before the queue manager took it up.
    pub before: u64,
    /// In the queue manager.
    pub queue: u64,
    /// Connection set-up.
    pub connect: u64,
    /// Transmission.
    pub transmit: u64,
}

impl Delays {
    /// As the log shows it; `digits` is `delay_logging_resolution_limit`.
    pub fn show(&self, digits: u32) -> String {
        let mut out = String::with_capacity(64);
        let total = self.before + self.queue + self.connect + self.transmit;
        let all = [total, self.before, self.queue, self.connect, self.transmit];
        for (before, time) in ["delay=", ", delays=", "/", "/", "/"].into_iter().zip(all) {
            out.push_str(before);
            seconds(time, digits, &mut out);
        }
        out
    }
}

/// Seconds with at most two significant digits, and whole seconds above nine; at most `digits`
/// behind the point, without zeros at the end.
fn seconds(micros: u64, digits: u32, out: &mut String) {
    let mut decimals = match micros {
        10_000_000.. => 0,
        1_000_000.. => 1,
        100_000.. => 2,
        10_000.. => 3,
        1_000.. => 4,
        100.. => 5,
        _ => 6,
    }
    .min(digits.min(6));
    let unit = 10u64.pow(6 - decimals);
    let mut n = (micros + unit / 2) / unit;
    while decimals > 0 && n.is_multiple_of(10) {
        n /= 10;
        decimals -= 1;
    }
    let scale = 10u64.pow(decimals);
    let _ = match decimals {
        0 => write!(out, "{n}"),
        _ => write!(out, "{}.{:0width$}", n / scale, n % scale, width = decimals as usize),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(micros: u64, digits: u32) -> String {
        let mut out = String::new();
        super::seconds(micros, digits, &mut out);
        out
    }

    #[test]
    fn as_postfix_shows_times() {
        for (micros, text) in [
            (0, "0"),
            (3_400, "0"),
            (5_100, "0.01"),
            (42_000, "0.04"),
            (100_000, "0.1"),
            (868_000, "0.87"),
            (999_900, "1"),
            (1_861_000, "1.9"),
            (4_000_100, "4"),
            (9_960_000, "10"),
            (74_600_000, "75"),
        ] {
            assert_eq!(seconds(micros, 2), text, "{micros}");
        }
        assert_eq!((seconds(3_400, 6), seconds(868_000, 0)), ("0.0034".into(), "1".into()));
        let d = Delays { before: 40_000, queue: 10_000, connect: 0, transmit: 9_000 };
        assert_eq!(d.show(2), "delay=0.06, delays=0.04/0.01/0/0.01");
    }
}
