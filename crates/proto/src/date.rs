//! Dates as mail writes them. The clock and the time zone are the caller's (`sys::time`).

use std::fmt;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment with the zone it is shown in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// Year, four digits.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Day of the week, 0 is Sunday.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Seconds east of UTC.
    pub offset: i32,
    /// The zone's name, such as `UTC`; may be empty.
    pub zone: String,
}

impl DateTime {
    /// Breaks down seconds since 1970 for a zone `offset` seconds east of UTC.
    pub fn new(seconds: i64, offset: i32, zone: &str) -> DateTime {
        let local = seconds + i64::from(offset);
        let (days, rest) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        // Civil date from days since 1970-01-01 in the proleptic Gregorian calendar.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        DateTime {
            year: yoe + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (doy - (153 * mp + 2) / 5 + 1) as u8,
            weekday: (days + 4).rem_euclid(7) as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            offset,
            zone: zone.to_string(),
        }
    }

    /// RFC 5322 3.3 with the zone's name as a comment: `Fri, 20 Nov 2026 15:18:56 +0000 (UTC)`,
    /// the day without leading zero but two columns wide.
    pub fn rfc5322(&self) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs() / 60;
        let mut out = format!(
            "{}, {:2} {} {} {:02}:{:02}:{:02} {}{:02}{:02}",
            DAYS[usize::from(self.weekday)],
            self.day,
            MONTHS[usize::from(self.month) - 1],
            self.year,
            self.hour,
            self.minute,
            self.second,
            sign,
            minutes / 60,
            minutes % 60
        );
        if !self.zone.is_empty() {
            out.push_str(&format!(" ({})", self.zone));
        }
        out
    }

    /// As in the `From ` line of a mailbox and in queue listings: `Fri Nov 20 15:18:56 2026`.
    pub fn ctime(&self) -> String {
        format!("{} {}", self.ctime_without_year(), self.year)
    }

    /// `Fri Nov 20 15:18:56`.
    pub fn ctime_without_year(&self) -> String {
        format!("{} {}", DAYS[usize::from(self.weekday)], self.syslog())
    }

    /// The time stamp of RFC 3164: `Nov  5 15:18:56`.
    pub fn syslog(&self) -> String {
        format!(
            "{} {:2} {:02}:{:02}:{:02}",
            MONTHS[usize::from(self.month) - 1],
            self.day,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// `YYYYMMDDhhmmss`, as in a Message-Id.
    pub fn stamp(&self) -> String {
        format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc5322())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let t = DateTime::new(1_795_187_936, 0, "UTC");
        assert_eq!(t.rfc5322(), "Fri, 20 Nov 2026 15:18:56 +0000 (UTC)");
        assert_eq!(t.ctime(), "Fri Nov 20 15:18:56 2026");
        assert_eq!(t.stamp(), "20261120151856");
        let t = DateTime::new(1_328_551_805, 3_600, "CET");
        assert_eq!(t.rfc5322(), "Mon,  6 Feb 2012 19:10:05 +0100 (CET)");
        assert_eq!(t.syslog(), "Feb  6 19:10:05");
        assert_eq!(DateTime::new(0, -12_600, "").rfc5322(), "Wed, 31 Dec 1969 20:30:00 -0330");
    }
}
