//! Services of master.cf that run a program for each connection: spawn(8).
//!
//! The program gets the connection as its standard streams, and the rights of the user that
//! master.cf names, which are never root's nor the mail system's. Nobody here reads a byte of what
//! is said: whoever connected talks to the program alone.

use crate::command;
use crate::events::{SpawnBad, SpawnEnded, SpawnTime};
use crate::identity;
use crate::mail::os_text;
use crate::pipe::Attributes;
use crate::setup::Setup;
use config::params::main::Main;
use config::params::master::Master;
use config::value::{Time, Value};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use sys::children::Ended;

/// What is needed to run it.
struct Run {
    attributes: Attributes,
    rights: identity::Rights,
    time: Duration,
    environment: std::collections::BTreeMap<String, std::ffi::OsString>,
    directory: PathBuf,
}

/// Serves one connection of the service `name`, in a child of the deliver role. Gives the exit status.
pub fn spawned(setup: &Setup, name: &str, connection: OwnedFd) -> i32 {
    let config = setup.config();
    let tag = Main::load(config).map_or_else(|_| "postfix".to_string(), |m| m.syslog_name().clone());
    if let Ok(master) = Master::load(config)
        && let Ok(sink) = events::sink_for(
            master.maillog_file(),
            &master.maillog_file_prefixes().0,
            master.syslog_facility(),
        )
    {
        events::install(sink);
    }
    let say = events::Source::new(&tag, "spawn", std::process::id());
    let run = match prepare(setup, name) {
        Ok(run) => run,
        Err(what) => {
            say.say(&SpawnBad { what });
            return 1;
        }
    };
    let program = run.attributes.argv().first().cloned().unwrap_or_default();
    let (uid, gid) = (run.rights.uid, run.rights.gid);
    let started = sys::children::fork(vec![connection], |mut fds| {
        let Some(connection) = fds.pop() else { return 1 };
        if identity::can_change() && sys::users::become_user(uid, gid).is_err() {
            return 1;
        }
        let _ = std::env::set_current_dir(&run.directory);
        execute(&run, connection)
    });
    let child = match started {
        Ok(child) => child,
        Err(e) => {
            say.say(&SpawnBad { what: format!("cannot start a process: {}", os_text(&e)) });
            return 1;
        }
    };
    match child.wait_for(run.time) {
        Ok(Some(Ended::Exit(0))) => 0,
        Ok(Some(Ended::Exit(status))) => {
            say.say(&SpawnEnded { command: program, how: format!("exit status {status}") });
            1
        }
        Ok(Some(Ended::Signal(signal))) => {
            say.say(&SpawnEnded { command: program, how: format!("killed by signal {signal}") });
            1
        }
        Ok(None) => {
            child.kill_group();
            let _ = child.wait();
            say.say(&SpawnTime { command: program, process: child.number() });
            1
        }
        Err(e) => {
            child.kill_group();
            say.say(&SpawnBad { what: os_text(&e) });
            1
        }
    }
}

fn prepare(setup: &Setup, name: &str) -> Result<Run, String> {
    let service = setup.services().iter().find(|s| s.name == name && s.command() == "spawn");
    let service = service.ok_or_else(|| format!("service {name} is not in master.cf"))?;
    let config = service.config(setup.config());
    let words = service.argv.get(1..).unwrap_or_default();
    for word in words.iter().take_while(|w| !w.starts_with("argv=")) {
        if !word.starts_with("user=") {
            return Err(format!("unknown attribute name: {word}"));
        }
    }
    let attributes = Attributes::read(words)?;
    let get = |parameter: &str| config.get(parameter).map_err(|e| e.to_string());
    let rights = attributes.rights(&get("mail_owner")?);
    let rights = rights.map_err(|e| if e.ends_with("root privileges") { AS_ROOT.to_string() } else { e })?;
    if let Some(why) = identity::refusal(rights.uid) {
        return Err(format!("service {name}: {why}"));
    }
    let time = config.of_transport(name, "time_limit").map_err(|e| e.to_string())?;
    let time = if time.is_empty() { get("command_time_limit")? } else { time };
    let time = Time::read(&format!("{name}_time_limit"), &time).map_err(|e| e.to_string())?;
    let export = tables::split_list(&get("export_environment")?);
    let environment = command::exported(&export, config.directory());
    Ok(Run { attributes, rights, time, environment, directory: get("queue_directory")?.into() })
}

/// Becomes the program; comes back only when that fails.
fn execute(run: &Run, connection: OwnedFd) -> i32 {
    let [program, arguments @ ..] = run.attributes.argv() else { return 1 };
    let streams = (connection.try_clone(), connection.try_clone());
    let (Ok(output), Ok(errors)) = streams else { return 1 };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&run.environment);
    command.stdin(Stdio::from(connection)).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    let _ = command.exec();
    // As a shell has it for what is no program.
    127
}

/// Postfix's words.
const AS_ROOT: &str = "request to deliver as root";

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    fn setup(line: &str) -> Setup {
        let main = "queue_directory = /tmp\nslow_time_limit = 1s\nmaillog_file = /dev/stdout\n";
        let config = Config::from_text(Path::new("/nowhere"), main).unwrap();
        Setup::of(config, config::master_cf::read("/nowhere/master.cf", line).unwrap().all)
    }

    fn me() -> String {
        let who = sys::users::identities().euid;
        if who == 0 { "nobody".into() } else { sys::users::by_uid_text(who) }
    }

    #[test]
    fn the_connection_is_the_programs_streams() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let line =
            format!("x unix - n n - 0 spawn user={} argv=/bin/sh -c\n  {{read a; echo got $a; pwd}}\n", me());
        let setup = setup(&line);
        let child =
            sys::children::fork(vec![theirs.into()], |mut fds| spawned(&setup, "x", fds.pop().unwrap()));
        ours.write_all(b"hola\n").unwrap();
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert_eq!(said, "got hola\n/tmp\n");
        assert_eq!(child.unwrap().wait().unwrap(), Ended::Exit(0));
    }

    #[test]
    fn what_may_not_run_does_not() {
        for (line, why) in [
            ("x unix - n n - 0 spawn user=root argv=/bin/true\n", AS_ROOT),
            ("x unix - n n - 0 spawn argv=/bin/true\n", "missing user="),
            ("x unix - n n - 0 spawn user=nobody\n", "missing argv="),
            (
                "x unix - n n - 0 spawn flags=F user=nobody argv=/bin/true\n",
                "unknown attribute name: flags=F",
            ),
            ("x unix - n n - 0 pipe user=nobody argv=/bin/true\n", "not in master.cf"),
            ("x unix - n n - 0 spawn user=nosuchuser argv=/bin/true\n", "nosuchuser"),
        ] {
            let Err(what) = prepare(&setup(line), "x") else { panic!("{line}") };
            assert!(what.contains(why), "{line}: {what}");
        }
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let setup = setup(&format!("slow unix - n n - 0 spawn user={} argv=/bin/sleep 60\n", me()));
        let child =
            sys::children::fork(vec![theirs.into()], |mut fds| spawned(&setup, "slow", fds.pop().unwrap()));
        let mut said = Vec::new();
        assert_eq!(ours.read_to_end(&mut said).unwrap(), 0);
        assert_eq!(child.unwrap().wait().unwrap(), Ended::Exit(1));
    }
}
