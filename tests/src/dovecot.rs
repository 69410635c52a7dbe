//! A real Dovecot in a world, beside its mail system: for logins (`private/auth`), to be delivered to (`private/dovecot-lmtp`,
//! the LDA), and for reading back by IMAP what arrived. A host has one when its folder holds a file `dovecot.conf`, whose
//! lines follow those of [`BASE`] and may be none. It keeps mail below `/run/vmail`, where no scenario looks for files.

use crate::processes::{children, processes};
use crate::world::{PATIENCE, World, put};
use std::path::Path;
use std::time::{Duration, Instant};

/// What every Dovecot of a scenario begins with. Users are those of [`passwd`].
const BASE: &str = "\
base_dir = /run/dovecot
state_dir = /run/dovecot-state
syslog_facility = mail
protocols = imap lmtp
listen = *
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %Ln
mail_location = maildir:/run/vmail/%n
mail_plugins = $mail_plugins quota
first_valid_uid = 500
postmaster_address = postmaster@localhost
passdb {
  driver = passwd-file
  args = scheme=PLAIN /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
namespace inbox {
  inbox = yes
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
  unix_listener auth-userdb {
    mode = 0666
  }
  inet_listener {
    address = 127.0.0.1
    port = 12345
  }
}
service anvil {
  # Wrong passwords do not make the next try wait.
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = 24
  }
}
service imap-login {
  inet_listener imap {
    port = 143
  }
  inet_listener imaps {
    port = 0
  }
}
";

/// Who may log in, and is delivered to: the world's users but josedom24, each with the password `clave-NAME`.
fn passwd(users: &str) -> String {
    users
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| !matches!(*name, "josedom24" | "vmail"))
        .filter_map(|(name, rest)| Some((name, rest.split(':').next()?)))
        .map(|(name, uid)| format!("{name}:clave-{name}:{uid}:{uid}::/home/{name}::\n"))
        .collect()
}

/// Prints what is in a mailbox: `imap-read USER [PASSWORD [FOLDER]]`.
const READ: &str = r#"#!/usr/bin/python3
import imaplib, sys
user = sys.argv[1]
password = sys.argv[2] if len(sys.argv) > 2 else "clave-" + user
folder = sys.argv[3] if len(sys.argv) > 3 else "INBOX"
imap = imaplib.IMAP4("127.0.0.1", 143, timeout=20)
imap.login(user, password)
status, counted = imap.select('"%s"' % folder, readonly=True)
if status != "OK":
    sys.exit("%s: %s" % (folder, counted))
numbers = imap.search(None, "ALL")[1][0].split()
print("messages: %d" % len(numbers))
for place, number in enumerate(numbers):
    print("--- message %d" % (place + 1))
    sys.stdout.flush()
    sys.stdout.buffer.write(imap.fetch(number, "(BODY.PEEK[])")[1][0][1].replace(b"\r\n", b"\n"))
    sys.stdout.flush()
imap.logout()
"#;

/// Writes its configuration and the reader.
pub fn furnish(conf: &str, users: &str) -> Result<(), String> {
    if !Path::new("/usr/sbin/dovecot").exists() {
        return Err("Dovecot is missing (apt-get install dovecot-core dovecot-imapd dovecot-lmtpd)".into());
    }
    put("/etc/dovecot/dovecot.conf", format!("{BASE}{conf}").as_bytes(), 0o644)?;
    put("/etc/dovecot/users", passwd(users).as_bytes(), 0o644)?;
    put("/usr/local/bin/imap-read", READ.as_bytes(), 0o755)?;
    // Everybody's mailboxes, made by those who own them.
    std::fs::create_dir_all("/run/vmail")
        .and_then(|()| {
            std::fs::set_permissions("/run/vmail", std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        })
        .map_err(|error| format!("/run/vmail: {error}"))
}

/// Starts it, and waits until it says so.
pub fn up(world: &World) -> Result<(), String> {
    let starts = |lines: &[crate::log::Line]| {
        lines.iter().filter(|line| line.tag == "dovecot" && line.text.contains(" starting up ")).count()
    };
    let before = starts(&world.log.lines());
    world.expect_success("root", "dovecot")?;
    world.log.wait("Dovecot to say that it started", PATIENCE, |lines| starts(lines) > before)
}

/// Stops it, and waits until all of it is gone: what it started listens at the same sockets.
pub fn down(world: &World) -> Result<(), String> {
    let started = children(PID);
    world.expect_success("root", "doveadm stop")?;
    let end = Instant::now() + PATIENCE;
    while Path::new(PID).exists() || processes().iter().any(|process| started.contains(&process.id)) {
        if Instant::now() > end {
            return Err("Dovecot does not stop".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

const PID: &str = "/run/dovecot/master.pid";
