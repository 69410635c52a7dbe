//! fail2ban's filter finds in the log who guesses passwords, each time, and nobody else.

use crate::host::{Logins, NAME, SENDER};
use valija_tests::world::World;

/// What is needed besides the programs of the table.
pub const NEEDED: [&str; 2] = ["/usr/bin/fail2ban-regex", "/usr/bin/swaks"];

/// Guesses: the address they come from, the name, the mechanism.
const GUESSES: [(&str, &str, &str); 6] = [
    ("10.77.9.9", "alumno", "PLAIN"),
    ("10.77.9.9", "alumno", "LOGIN"),
    ("10.77.9.9", "nobody-by-this-name", "PLAIN"),
    ("10.77.9.10", "alumno", "LOGIN"),
    ("10.77.9.10", "root@mail1.org", "PLAIN"),
    ("10.77.9.9", "%s<x>", "PLAIN"),
];

/// Some guess, one logs in; the filter is asked about the log.
pub fn finds(world: &World, _logins: Logins) -> Result<(), String> {
    world.expect_success("root", "ip -n outside address add 10.77.9.10/16 dev eth0")?;
    let swaks = format!("swaks --server 10.77.1.10 --port 587 --tls --quit-after AUTH --helo {NAME}");
    for (from, user, method) in GUESSES {
        let output = world.run(
            "root",
            &format!(
                "ip netns exec outside {swaks} --local-interface {from} --auth {method} --auth-user '{user}' \
                 --auth-password guess"
            ),
        )?;
        if output.status == 0 || !output.text.contains("<~* 535 5.7.8 Error: authentication failed") {
            return Err(format!("{user} from {from} by {method}: {}", output.text));
        }
    }
    let (user, password) = SENDER;
    world.expect_success(
        user,
        &format!("{swaks} --auth PLAIN --auth-user {user} --auth-password '{password}'"),
    )?;
    world.log.drain(valija_tests::world::SYSLOG)?;
    let log: String = world
        .log
        .lines()
        .iter()
        .map(|line| format!("Jan  1 00:00:00 mail {}[17]: {}\n", line.tag, line.text))
        .collect();
    std::fs::write("/tmp/mail.log", &log).map_err(|error| error.to_string())?;
    let output = world.run("root", "fail2ban-regex -o ip /tmp/mail.log 'postfix[mode=auth]'")?;
    let found: Vec<&str> = output.text.lines().filter(|line| line.starts_with("10.")).collect();
    let wanted = GUESSES.map(|(from, ..)| from);
    if found == wanted {
        return Ok(());
    }
    Err(format!("fail2ban found {found:?} and not {wanted:?}: {}\n{log}", output.text))
}
