//! Which name servers are asked, and how: resolv.conf(5). The file is read when it is first needed
//! and again when it has changed; without it, the server of this machine is asked.

use std::fs::Metadata;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The content of a resolv.conf, within the bounds of the C library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In this order; never empty.
    pub servers: Vec<SocketAddr>,
    /// How long one is waited for.
    pub timeout: Duration,
    /// How often the list is gone through.
    pub attempts: u32,
    /// Each question begins with another server.
    pub rotate: bool,
    /// A name with as many dots is complete.
    pub ndots: usize,
    /// What completes a name.
    pub search: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            servers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))],
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            ndots: 1,
            search: Vec::new(),
        }
    }
}

/// As the C library: the first three count.
const MOST_SERVERS: usize = 3;
const MOST_DOMAINS: usize = 16;
const MOST_BYTES: u64 = 64 * 1024;

impl Settings {
    /// Reads a text in that format. What it does not understand is passed over.
    pub fn parse(text: &str) -> Settings {
        let mut settings = Settings { servers: Vec::new(), ..Settings::default() };
        for line in text.lines() {
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if settings.servers.len() < MOST_SERVERS => {
                    settings.servers.extend(words.next().and_then(server));
                }
                Some("domain") => settings.search = domains(words.take(1)),
                Some("search") => settings.search = domains(words),
                Some("options") => words.for_each(|o| settings.option(o)),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers = Settings::default().servers;
        }
        settings
    }

    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = value.parse::<u32>();
        match (name, number) {
            ("timeout", Ok(n)) => self.timeout = Duration::from_secs(n.clamp(1, 30).into()),
            ("attempts", Ok(n)) => self.attempts = n.clamp(1, 5),
            ("ndots", Ok(n)) => self.ndots = n.min(15) as usize,
            ("rotate", _) => self.rotate = true,
            _ => {}
        }
    }
}

fn domains<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words.take(MOST_DOMAINS).filter_map(super::name::ascii).collect()
}

/// `192.0.2.1`, `2001:db8::1`, `fe80::1%eth0`; with a port `[192.0.2.1]:5353`, `192.0.2.1:5353`.
fn server(text: &str) -> Option<SocketAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port = match port {
            "" => 53,
            _ => port.strip_prefix(':')?.parse().ok()?,
        };
        return scoped(address, port);
    }
    scoped(text, 53).or_else(|| text.parse().ok())
}

fn scoped(text: &str, port: u16) -> Option<SocketAddr> {
    let Some((address, scope)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, port));
    };
    let scope = match scope.parse() {
        Ok(number) => number,
        Err(_) if scope.contains('/') || scope.starts_with('.') => return None,
        Err(_) => {
            let index = std::fs::read_to_string(format!("/sys/class/net/{scope}/ifindex")).ok()?;
            index.trim().parse().ok()?
        }
    };
    Some(SocketAddr::V6(SocketAddrV6::new(address.parse().ok()?, port, 0, scope)))
}

/// A file that is read again when it changes.
pub(super) struct Live {
    path: PathBuf,
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    looked: Instant,
    stamp: Option<Stamp>,
    settings: Arc<Settings>,
}

type Stamp = (SystemTime, u64, u64);

/// How often it is looked whether the file has changed.
const LOOK: Duration = Duration::from_secs(1);

impl Live {
    pub fn new(path: &Path) -> Live {
        Live { path: path.to_path_buf(), seen: Mutex::new(None) }
    }

    /// What holds now.
    pub fn settings(&self) -> Arc<Settings> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.as_ref().filter(|s| s.looked.elapsed() < LOOK) {
            return seen.settings.clone();
        }
        let stamp = std::fs::metadata(&self.path).ok().and_then(|m| stamp(&m));
        if let Some(seen) = seen.as_mut().filter(|s| s.stamp == stamp) {
            seen.looked = Instant::now();
            return seen.settings.clone();
        }
        let text = if stamp.is_some() { text(&self.path) } else { String::new() };
        let settings = Arc::new(Settings::parse(&text));
        *seen = Some(Seen { looked: Instant::now(), stamp, settings: settings.clone() });
        settings
    }
}

/// `None` for what is no file: a fifo would be waited for.
fn stamp(metadata: &Metadata) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    metadata.is_file().then(|| Some((metadata.modified().ok()?, metadata.len(), metadata.ino())))?
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|f| f.take(MOST_BYTES).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|s| s.parse().unwrap()).collect()
    }

    #[test]
    fn a_whole_file() {
        let s = Settings::parse(
            "# hola\n; hola\ndomain old.example\nnameserver 192.0.2.1\nnameserver [192.0.2.2]:5353\n\
             nameserver nonsense\nnameserver 2001:db8::1\nnameserver 192.0.2.4\nsearch example.org sub.example.org. bad..one\n\
             options rotate timeout:3 attempts:9 ndots:2 edns0 timeout:x\n",
        );
        assert_eq!(s.servers, of(&["192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:53"]));
        assert_eq!((s.timeout, s.attempts, s.rotate, s.ndots), (Duration::from_secs(3), 5, true, 2));
        assert_eq!(s.search, ["example.org", "sub.example.org"]);
    }

    #[test]
    fn servers() {
        assert_eq!(server("127.0.0.1:5300"), "127.0.0.1:5300".parse().ok());
        assert_eq!(server("[2001:db8::1]:5300"), "[2001:db8::1]:5300".parse().ok());
        assert_eq!(server("[2001:db8::1]"), "[2001:db8::1]:53".parse().ok());
        assert_eq!(server("fe80::1%2").map(|a| a.to_string()).as_deref(), Some("[fe80::1%2]:53"));
        assert!(server("fe80::1%lo").is_some());
        for bad in
            ["", "x", "[1.2.3.4", "[1.2.3.4]x", "[1.2.3.4]:", "[1.2.3.4]:99999", "1.2.3", "fe80::1%../x"]
        {
            assert_eq!(server(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_means_this_machine() {
        assert_eq!(Settings::parse("").servers, of(&["127.0.0.1:53"]));
        assert_eq!(Settings::parse("nameserver\noptions\nsearch\n"), Settings::default());
        let absent = Live::new(Path::new("/nonexistent/resolv.conf"));
        assert_eq!(*absent.settings(), Settings::default());
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let path = std::env::temp_dir().join(format!("valija-resolv-{}", std::process::id()));
        let live = Live::new(&path);
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(live.settings().servers, of(&["192.0.2.1:53"]));
        std::fs::write(&path, "nameserver 192.0.2.22\n").unwrap();
        assert_eq!(live.settings().servers, of(&["192.0.2.1:53"]), "not looked at yet");
        live.seen.lock().unwrap().as_mut().unwrap().looked = Instant::now().checked_sub(LOOK).unwrap();
        assert_eq!(live.settings().servers, of(&["192.0.2.22:53"]));
        std::fs::remove_file(&path).unwrap();
        live.seen.lock().unwrap().as_mut().unwrap().looked = Instant::now().checked_sub(LOOK).unwrap();
        assert_eq!(*live.settings(), Settings::default());
    }
}
