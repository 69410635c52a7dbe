//! The clock and the local time zone.

use std::time::{SystemTime, UNIX_EPOCH};

/// A zone at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Seconds east of UTC.
    pub offset: i32,
    /// Its name, such as `UTC` or `CEST`.
    pub name: String,
}

/// Microseconds since 1970.
pub fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// The local zone at `seconds` since 1970 (`TZ`, else /etc/localtime).
pub fn zone_at(seconds: i64) -> Zone {
    let tm = broken_down(seconds);
    let name = if tm.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: tm_zone points to a NUL-terminated name that the C library keeps for the life
        // of the process (zone names are never freed by glibc or musl).
        unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) }.to_string_lossy().into_owned()
    };
    Zone { offset: tm.tm_gmtoff as i32, name }
}

/// The time stamp of a log line in local time: `Nov  5 15:18:56`.
pub fn syslog_stamp(micros: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let tm = broken_down((micros / 1_000_000) as i64);
    format!(
        "{} {:2} {:02}:{:02}:{:02}",
        MONTHS[tm.tm_mon.clamp(0, 11) as usize],
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec
    )
}

fn broken_down(seconds: i64) -> libc::tm {
    let t: libc::time_t = seconds;
    // SAFETY: an all-zero tm is a valid value (its pointer is null); localtime_r writes only to
    // the tm given to it and reads only t; both outlive the call.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&t, &mut tm);
        tm
    }
}
