//! The mail host that the clients send through: submission on 587 and 465, users with passwords, a certificate of an
//! authority that its world trusts.

use std::net::IpAddr;
use std::path::Path;
use valija_tests::debian::{Answers, Kind, edit, main_cf};
use valija_tests::dovecot;
use valija_tests::scenario::{Host, Placed};
use valija_tests::world::{First, Product, World};

/// The name of the host, which its certificate holds.
pub const NAME: &str = "mail.mail1.org";

/// Another name of it, which the certificate does not hold.
pub const OTHER_NAME: &str = "other.mail1.org";

/// Who sends, and with which password.
pub const SENDER: (&str, &str) = ("alumno", "clave alumno: &%");

/// Who receives.
pub const RECIPIENT: (&str, &str) = ("jose", "clave-jose");

/// Who knows the passwords.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logins {
    /// Dovecot, by its authentication socket; mailboxes are read by its IMAP.
    Dovecot,
    /// The mail system's own users (`smtpd_sasl_type = valija`); mailboxes are read as files.
    Own,
}

const MAIN: &str = "\
myhostname = mail.mail1.org
mydestination = mail1.org, $myhostname, localhost
home_mailbox = Maildir/
smtpd_tls_cert_file = /etc/ssl/test/mail.pem
smtpd_tls_key_file = /etc/ssl/test/mail.key
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
smtpd_sasl_authenticated_header = yes
";

/// Builds the world and starts everything in it; the calling thread is then in there, for good.
pub fn start(
    product: Product,
    logins: Logins,
    tree: Option<&Path>,
    files: Vec<Placed>,
) -> Result<World, String> {
    let address = IpAddr::from([10, 77, 1, 10]);
    let mut changes = MAIN.to_string();
    changes.push_str(match logins {
        Logins::Dovecot => "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n",
        Logins::Own => "smtpd_sasl_type = valija\n",
    });
    let answers = Answers {
        kind: Kind::InternetSite,
        fqdn: NAME.into(),
        mailname: "mail1.org".into(),
        relayhost: String::new(),
        procmail: false,
        tls: true,
    };
    let host = Host {
        fqdn: NAME.into(),
        addresses: vec![(address, 16)],
        mailname: "mail1.org".into(),
        main_cf: edit(&main_cf(&answers), &changes),
        master_cf: include_str!("master.cf").into(),
        dovecot: (logins == Logins::Dovecot).then(|| include_str!("dovecot.conf").into()),
        hosts: format!("{address} {NAME} {OTHER_NAME}\n"),
        starts: true,
        files,
    };
    let inside = format!("address add {address}/16 dev eth0\nlink set eth0 up\n");
    let outside = "address add 10.77.9.9/16 dev eth0\nlink set eth0 up\n";
    let mut first = First::build(&host, tree, &inside, outside)?;
    first.ready()?;
    let (world, ()) = World::join(first, product, &host, || Ok(()))?;
    world.furnish(&host, None)?;
    // /etc/hosts of every world has this name on the loopback; clients shall come from an address that is not trusted.
    world.expect_success("root", "sed -i '/^127.0.1.1/d' /etc/hosts")?;
    world.expect_success("root", &format!("set -- {NAME}\n{}", include_str!("authority.sh")))?;
    match logins {
        Logins::Dovecot => dovecot(&world)?,
        Logins::Own => own(&world)?,
    }
    world.start()?;
    Ok(world)
}

fn dovecot(world: &World) -> Result<(), String> {
    let mut users = String::new();
    for (user, password) in [SENDER, RECIPIENT] {
        let encoded = world.run("root", &format!("printf '%s' '{password}' | base64"))?.text;
        let id = format!("{0}:{0}", world.run("root", &format!("id -u {user}"))?.text.trim());
        users.push_str(&format!("{user}:{{PLAIN.b64}}{}:{id}::/home/{user}::\n", encoded.trim()));
    }
    std::fs::write("/etc/dovecot/users", users).map_err(|error| error.to_string())?;
    dovecot::up(world)
}

fn own(world: &World) -> Result<(), String> {
    for (user, password) in [SENDER, RECIPIENT] {
        world.expect_success("root", &format!("printf '%s\\n' '{password}' | valija user add {user}"))?;
    }
    Ok(())
}

/// What hinders the tests: nothing is silently left out.
pub fn missing(programs: &[&str]) -> Vec<String> {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let mut missing = Vec::new();
    if !root {
        missing.push("root is needed".to_string());
    }
    for path in
        programs.iter().chain(&["/usr/lib/postfix/sbin/master", "/usr/sbin/dovecot", "/usr/lib/dovecot/imap"])
    {
        if !Path::new(path).exists() {
            missing.push(format!("{path} is not there"));
        }
    }
    missing
}
