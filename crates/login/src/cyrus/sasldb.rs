//! The passwords that `saslpasswd2` keeps in `/etc/sasldb2`: a Berkeley DB whose keys are user, realm and
//! property with zero bytes between them.

use sasl::Secret;
use std::collections::HashMap;

/// A file that was read.
#[derive(Debug, Default)]
pub struct Sasldb(HashMap<(String, String), Secret>);

impl Sasldb {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> Result<Sasldb, String> {
        Ok(Sasldb::of(tables::bdb::rows(bytes)?))
    }

    /// Takes the passwords out of rows; other properties, and what is no text, are not looked for by anyone.
    pub fn of(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Sasldb {
        let mut all = HashMap::new();
        for (key, value) in rows {
            let mut parts = key.split(|b| *b == 0).map(|p| String::from_utf8(p.to_vec()).ok());
            let (Some(Some(user)), Some(Some(realm)), Some(Some(property)), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if property == "userPassword" && !value.is_empty() {
                all.insert((user, realm), Secret::from(value));
            }
        }
        Sasldb(all)
    }

    /// The password of a user.
    pub fn get(&self, user: &str, realm: &str) -> Option<&Secret> {
        self.0.get(&(user.to_string(), realm.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_of_saslpasswd2() {
        let db = Sasldb::read(include_bytes!("sasldb2.sample")).unwrap();
        let get = |user, realm| db.get(user, realm).map(|s| String::from_utf8_lossy(s.bytes()).into_owned());
        assert_eq!(get("alumno", "mail.mail1.org").as_deref(), Some("clave"));
        assert_eq!(get("alumno", "other.org").as_deref(), Some("clave2"));
        assert_eq!(get("jose", "mail1.org").as_deref(), Some("secreto"));
        assert_eq!((get("jose", "other.org"), get("Alumno", "other.org")), (None, None));
        assert_eq!(db.0.len(), 3);
        assert!(Sasldb::read(b"no database").is_err());
    }

    #[test]
    fn other_rows_are_no_passwords() {
        let row = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        let rows = [
            row("a\0r\0userPassword", ""),
            row("a\0r\0cmusaslsecretOTP", "x"),
            row("a\0r", "x"),
            row("a\0r\0userPassword\0", "x"),
        ];
        assert!(Sasldb::of(rows).0.is_empty());
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_survived(at in 0usize..12288, byte in any::<u8>(), end in 0usize..12288) {
            let mut bytes = include_bytes!("sasldb2.sample").to_vec();
            bytes[at] = byte;
            bytes.truncate(end);
            let _ = Sasldb::read(&bytes);
        }
    }
}
