//! Doors for the fuzz targets alone; no other build has them.

use crate::https::{Request, answer_of};
use std::time::Duration;

/// A web server's answer: a page is no longer than it may be.
pub fn page(bytes: &[u8]) {
    let request = Request {
        host: "a.example",
        path: "/x",
        port: 443,
        families: (true, true),
        most: 100,
        limit: Duration::from_secs(5),
    };
    if let Some(page) = answer_of(bytes, request) {
        assert!(page.body.len() <= 100 && page.status / 100 != 1);
    }
}
