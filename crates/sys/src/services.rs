//! Names of ports.

/// Names that need no `/etc/services`: mail works on a machine without that file.
const KNOWN: &[(&str, u16)] = &[
    ("domain", 53),
    ("lmtp", 24),
    ("qmqp", 628),
    ("smtp", 25),
    ("smtps", 465),
    ("ssmtp", 465),
    ("submission", 587),
    ("submissions", 465),
    ("urd", 465),
];

/// The port of a TCP service: a number, or a name of `/etc/services`. `None` for what is neither.
pub fn port(service: &str) -> Option<u16> {
    if !service.is_empty() && service.bytes().all(|b| b.is_ascii_digit()) {
        return service.parse().ok();
    }
    if let Some((_, port)) = KNOWN.iter().find(|(name, _)| *name == service) {
        return Some(*port);
    }
    in_text(&std::fs::read_to_string("/etc/services").ok()?, service)
}

fn in_text(text: &str, service: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let (name, (port, protocol)) = (words.next()?, words.next()?.split_once('/')?);
        let named = name == service || words.any(|alias| alias == service);
        (named && protocol == "tcp").then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!((port("smtp"), port("submissions"), port("2525")), (Some(25), Some(465), Some(2525)));
        for none in ["", "65536", "+25", "-1", "no-such-service", "25x"] {
            assert_eq!(port(none), None, "{none}");
        }
    }

    #[test]
    fn the_file() {
        let text = "# x\nfoo 1/udp\nfoo\t2/tcp bar baz # foo\nqux 3/tcp\nbad\nodd x/tcp\n";
        let of = |name| in_text(text, name);
        assert_eq!(
            (of("foo"), of("baz"), of("qux"), of("odd"), of("#")),
            (Some(2), Some(2), Some(3), None, None)
        );
    }
}
