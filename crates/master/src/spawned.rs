//! The sockets of services that run a program for each connection (`spawn` in master.cf). They are
//! bound here, stay bound across reloads, and are handed to each new deliver role, which accepts.

use crate::sockets::{Listeners, Wanted};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// What such services listen on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Ports.
    pub inet: Vec<Wanted>,
    /// Sockets below the queue directory, and the service of each.
    pub unix: Vec<(String, PathBuf)>,
}

/// The bound ones.
#[derive(Default)]
pub struct Spawned {
    inet: Listeners,
    unix: BTreeMap<(String, PathBuf), UnixListener>,
}

impl Spawned {
    /// Binds what is new, keeps what is bound, forgets the rest. On a fault nothing changes.
    pub fn change(&mut self, places: &Places, backlog: i32, say: &events::Source) -> Result<(), String> {
        let mut new = Vec::new();
        for place in places.unix.iter().filter(|p| !self.unix.contains_key(*p)) {
            let path = place.1.display();
            let listener = sys::listen::unix(&place.1).map_err(|e| format!("socket {path}: {e}"))?;
            new.push((place.clone(), listener));
        }
        self.inet.change(&places.inet, backlog, say)?;
        self.unix.retain(|place, _| {
            let stays = places.unix.contains(place);
            if !stays {
                let _ = std::fs::remove_file(&place.1);
            }
            stays
        });
        self.unix.extend(new);
        Ok(())
    }

    /// Each with the name of its service.
    pub fn iter(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        let inet = self.inet.iter().map(|(want, listener)| (want.service.as_str(), listener.as_fd()));
        inet.chain(self.unix.iter().map(|((service, _), listener)| (service.as_str(), listener.as_fd())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    #[test]
    fn sockets_stay_while_they_are_wanted() {
        let say = events::Source::new("postfix", "master", 1);
        let directory = std::env::temp_dir().join(format!("valija-spawned-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let place = |name: &str| (name.to_string(), directory.join(name));
        let mut all = Spawned::default();
        let both = Places { inet: Vec::new(), unix: vec![place("one"), place("two")] };
        all.change(&both, 5, &say).unwrap();
        assert_eq!(all.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["one", "two"]);
        let mode = std::fs::metadata(directory.join("one")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o666, "the directory decides who may");
        let _client = UnixStream::connect(directory.join("one")).unwrap();
        let bad = Places { inet: Vec::new(), unix: vec![("x".into(), directory.join("no/x"))] };
        assert!(all.change(&bad, 5, &say).is_err());
        assert_eq!(all.iter().count(), 2);
        all.change(&Places { inet: Vec::new(), unix: vec![place("one")] }, 5, &say).unwrap();
        assert!(UnixStream::connect(directory.join("two")).is_err());
        assert!(UnixStream::connect(directory.join("one")).is_ok());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
