//! Asking saslauthd: four texts with their lengths before them, and an answer in the same form. One
//! connection for each question, as Cyrus SASL does it.

use sasl::Secret;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long it may take; PAM itself waits two seconds after a wrong password.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many questions at once: saslauthd has five processes, and a few may wait for them.
const MOST: usize = 40;
/// Of these, so many are for whoever logged in lately from the same place: guessers do not fill them.
const KEPT: usize = 8;

/// What is asked of it.
#[derive(Debug)]
pub struct Question<'a> {
    /// The name without its realm.
    pub user: &'a str,
    /// The password.
    pub secret: &'a Secret,
    /// Such as `smtp`; the name of the file in /etc/pam.d.
    pub service: &'a str,
    /// The realm, or nothing.
    pub realm: &'a str,
}

impl Question<'_> {
    /// As it is sent; `None` when a text is too long.
    pub fn bytes(&self) -> Option<Secret> {
        let parts =
            [self.user.as_bytes(), self.secret.bytes(), self.service.as_bytes(), self.realm.as_bytes()];
        let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 2).sum());
        for part in parts {
            // What saslauthd itself takes.
            let length = u16::try_from(part.len()).ok().filter(|l| *l <= 1024)?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(part);
        }
        Some(out.into())
    }
}

/// Whether an answer says yes; `None` when it says neither.
pub fn answer(text: &[u8]) -> Option<bool> {
    match text.get(..2) {
        Some(b"OK") => Some(true),
        Some(b"NO") => Some(false),
        _ => None,
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// Too many questions are open.
    Full,
    /// In words.
    Other(String),
}

/// Where saslauthd listens.
#[derive(Debug)]
pub struct Saslauthd {
    places: Vec<PathBuf>,
    open: AtomicUsize,
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Saslauthd {
    /// The first of these sockets that is there.
    pub fn at(places: Vec<PathBuf>) -> Saslauthd {
        Saslauthd { places, open: AtomicUsize::new(0) }
    }

    /// Asks; `familiar`: for one who logged in lately from the same place.
    pub async fn ask(&self, question: Question<'_>, familiar: bool) -> Result<bool, Trouble> {
        let Some(bytes) = question.bytes() else { return Ok(false) };
        let counted = Counted(&self.open);
        let most = if familiar { MOST } else { MOST - KEPT };
        if self.open.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(Trouble::Full);
        }
        let asked = timeout(PATIENCE, self.talk(&bytes)).await;
        drop(counted);
        asked.unwrap_or_else(|_| Err("saslauthd does not answer".into())).map_err(Trouble::Other)
    }

    async fn talk(&self, question: &Secret) -> Result<bool, String> {
        let mut connection = self.connect().await?;
        let said = |what: &str| {
            let what = what.to_string();
            move |e: io::Error| format!("{what} saslauthd: {}", tables::live::words(&e))
        };
        connection.write_all(question.bytes()).await.map_err(said("writing to"))?;
        let length = connection.read_u16().await.map_err(said("reading from"))?;
        let mut text = vec![0; usize::from(length.min(1024))];
        connection.read_exact(&mut text).await.map_err(said("reading from"))?;
        answer(&text).ok_or_else(|| "saslauthd says neither OK nor NO".to_string())
    }

    async fn connect(&self) -> Result<UnixStream, String> {
        let mut first = None;
        for place in &self.places {
            match UnixStream::connect(place).await {
                Ok(connection) => return Ok(connection),
                Err(e) => drop(first.get_or_insert_with(|| said(place, &e))),
            }
        }
        Err(first.unwrap_or_else(|| "saslauthd has no socket".into()))
    }
}

fn said(place: &Path, e: &io::Error) -> String {
    let remedy = match e.kind() {
        io::ErrorKind::PermissionDenied => "; run \"adduser postfix sasl\" and restart the mail system",
        _ => "; is it running (START=yes in /etc/default/saslauthd)?",
    };
    format!("cannot connect to saslauthd server at {}: {}{remedy}", place.display(), tables::live::words(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use tokio::net::UnixListener;

    fn question(secret: &Secret) -> Question<'_> {
        Question { user: "alumno", secret, service: "smtp", realm: "mail1.org" }
    }

    #[test]
    fn the_question_is_as_cyrus_asks_it() {
        let secret = Secret::from("clave");
        let bytes = question(&secret).bytes().unwrap();
        assert_eq!(bytes.bytes(), b"\x00\x06alumno\x00\x05clave\x00\x04smtp\x00\x09mail1.org");
        assert!(question(&vec![b'x'; 1025].into()).bytes().is_none());
    }

    /// A server that answers each connection with the next of these bytes, and then closes.
    async fn server(answers: Vec<Vec<u8>>) -> (PathBuf, Saslauthd) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("valija-sad-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut bytes = [0; 64];
                let _ = connection.read(&mut bytes).await.unwrap();
                let _ = connection.write_all(&answer).await;
            }
        });
        (path.clone(), Saslauthd::at(vec![PathBuf::from("/nonexistent/mux"), path]))
    }

    #[tokio::test]
    async fn answers_good_and_bad() {
        let of = |text: &[u8]| [&(text.len() as u16).to_be_bytes(), text].concat();
        let answers = vec![
            of(b"OK"),
            of(b"NO"),
            of(b"NO no such user"),
            of(b"what"),
            of(b""),
            b"\xff\xffOK".to_vec(),
            vec![0],
            vec![],
        ];
        let (path, saslauthd) = server(answers).await;
        let secret = Secret::from("clave");
        let mut said = Vec::new();
        for _ in 0..8 {
            said.push(match saslauthd.ask(question(&secret), false).await {
                Ok(yes) => yes.to_string(),
                Err(Trouble::Full) => "full".into(),
                Err(Trouble::Other(what)) => what,
            });
        }
        assert_eq!(said[..3], ["true", "false", "false"]);
        assert!(said[3..5].iter().all(|s| s.contains("neither OK nor NO")), "{said:?}");
        assert!(said[5..].iter().all(|s| s.contains("reading from saslauthd")), "{said:?}");
        std::fs::remove_file(path).unwrap();
        let gone = Saslauthd::at(vec!["/nonexistent/mux".into()]).ask(question(&secret), false).await;
        assert!(
            matches!(gone, Err(Trouble::Other(what)) if what.contains("cannot connect to saslauthd server"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_one_is_not_waited_for_and_fills_up() {
        let path = std::env::temp_dir().join(format!("valija-sad-silent-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let _listener = UnixListener::bind(&path).unwrap();
        let saslauthd = Arc::new(Saslauthd::at(vec![path.clone()]));
        let asking = |familiar| {
            let saslauthd = saslauthd.clone();
            tokio::spawn(async move { saslauthd.ask(question(&"clave".into()), familiar).await })
        };
        let mut all: Vec<_> = (0..MOST - KEPT).map(|_| asking(false)).collect();
        while saslauthd.open.load(Ordering::Relaxed) < MOST - KEPT {
            tokio::task::yield_now().await;
        }
        assert!(matches!(saslauthd.ask(question(&"clave".into()), false).await, Err(Trouble::Full)));
        all.extend((0..KEPT).map(|_| asking(true)));
        while saslauthd.open.load(Ordering::Relaxed) < MOST {
            tokio::task::yield_now().await;
        }
        assert!(matches!(saslauthd.ask(question(&"clave".into()), true).await, Err(Trouble::Full)));
        assert!(matches!(saslauthd.ask(question(&"clave".into()), false).await, Err(Trouble::Full)));
        for one in all {
            let said = one.await.unwrap();
            assert!(matches!(said, Err(Trouble::Other(what)) if what.contains("does not answer")));
        }
        assert_eq!(saslauthd.open.load(Ordering::Relaxed), 0);
        std::fs::remove_file(path).unwrap();
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            let said = answer(&bytes);
            prop_assert_eq!(said == Some(true), bytes.starts_with(b"OK"));
        }
    }
}
