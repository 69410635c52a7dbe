//! The deliver role as a process: jobs over its channel, answers on pipes, its end.

use proto::Address;
use proto::envelope::Recipient;
use proto::job::{Ended, Frame, FrameReader, How, Job, Target, frame_job};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use sys::channel::Channel;

const MESSAGE: &[u8] = b"Subject: t\r\n\r\nhola\r\n";

struct Role {
    directory: PathBuf,
    channel: Channel,
    process: std::process::Child,
}

fn start(name: &str, more: &str) -> Role {
    let directory = std::env::temp_dir().join(format!("valija-deliver-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(directory.join("spool")).unwrap();
    let at = directory.display();
    let main_cf = format!(
        "myhostname = mx.example.org\nmyorigin = example.org\nmydestination = example.org\nalias_maps =\n\
         queue_directory = {at}\nmail_spool_directory = {at}/spool\nforward_path =\ncompatibility_level = 3.6\n\
         deliver_lock_delay = 0s\ndeliver_lock_attempts = 1000000\n{more}"
    );
    std::fs::write(directory.join("main.cf"), main_cf).unwrap();
    std::fs::write(directory.join("master.cf"), "local unix - n n - - local\n").unwrap();
    let (ours, theirs) = Channel::pair().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_valija-master"));
    let args = [OsStr::new("-c"), directory.as_os_str()];
    let environment = [("PATH".to_string(), "/usr/bin:/bin".to_string())];
    let process = sys::spawn::spawn(
        program,
        "valija-deliver",
        &args,
        &[theirs.as_fd()],
        None,
        &environment,
        false,
        false,
    )
    .unwrap();
    Role { directory, channel: ours, process }
}

impl Role {
    /// Sends a job; gives the end of the pipe with its answer.
    fn send(&self, number: u64, to: &str) -> std::io::PipeReader {
        let job = Job {
            transport: "local".into(),
            queue_id: "ABC".into(),
            sender: Address::from_internal("a@b.example"),
            recipients: vec![Target {
                place: 0,
                recipient: Recipient {
                    address: Address::from_internal(to),
                    original: to.into(),
                    ..Recipient::default()
                },
            }],
            length: MESSAGE.len() as u64,
            ..Job::default()
        };
        let content = sys::memory_file::sealed(MESSAGE).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let message = frame_job(number, &job.encode().unwrap());
        self.channel.send(&message, &[content.as_fd(), writer.as_fd()]).unwrap();
        reader
    }

    fn ended(&self) -> Ended {
        Ended::decode(&self.channel.receive().unwrap().unwrap().0).unwrap()
    }

    fn end(mut self) {
        self.channel.finish().unwrap();
        assert!(self.process.wait().unwrap().success());
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn frames(mut reader: std::io::PipeReader) -> Vec<Frame> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    let mut reader = FrameReader::default();
    reader.receive(&bytes).unwrap();
    std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
}

fn status(frames: &[Frame]) -> String {
    let report = frames.iter().find_map(|f| match f {
        Frame::Report(report) => Some(report),
        _ => None,
    });
    report.map_or_else(String::new, |r| format!("{} {}", r.result.code, r.result.text))
}

fn own_name() -> String {
    sys::users::by_id(sys::users::identities().euid).unwrap().unwrap().name
}

#[test]
fn several_at_once_each_with_its_own_answer() {
    let role = start("many", "");
    let user = own_name();
    let answers: Vec<_> = (0..20)
        .map(|n| {
            role.send(
                n,
                &if n % 2 == 0 { format!("{user}@example.org") } else { format!("nobody{n}@example.org") },
            )
        })
        .collect();
    for (n, answer) in answers.into_iter().enumerate() {
        let frames = frames(answer);
        assert_eq!(frames.last(), Some(&Frame::End));
        let expected = if n % 2 == 0 {
            "2.0.0 delivered to mailbox".to_string()
        } else {
            format!("5.1.1 unknown user: \"nobody{n}\"")
        };
        assert_eq!(status(&frames), expected, "{frames:?}");
    }
    let mut numbers: Vec<u64> = (0..20)
        .map(|_| {
            let ended = role.ended();
            assert_eq!(ended.how, How::Exit(0));
            ended.number
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<u64>>());
    let mailbox = std::fs::read_to_string(role.directory.join("spool").join(&user)).unwrap();
    assert_eq!(mailbox.matches("\nhola\n\n").count(), 10);
    role.end();
}

#[test]
fn a_killed_child_is_told_and_the_role_goes_on() {
    let role = start("killed", "mailbox_command = sleep 3; true\ndefault_privs = nobody\n");
    let mut answer = role.send(1, &format!("{}@example.org", own_name()));
    let mut head = [0; 9];
    answer.read_exact(&mut head).unwrap();
    let mut reader = FrameReader::default();
    reader.receive(&head).unwrap();
    let Ok(Some(Frame::Begin { number })) = reader.next_frame() else { panic!("{head:?}") };
    sys::signals::send(number, 9).unwrap();
    assert_eq!(role.ended(), Ended { number: 1, how: How::Signal(9) });
    // A message that is no job, and one without descriptors, do no harm.
    role.channel.send(b"x", &[]).unwrap();
    role.channel.send(&frame_job(2, b"garbage"), &[]).unwrap();
    let ended = role.ended();
    assert!(ended.number == 2 && matches!(ended.how, How::NotStarted(_)), "{ended:?}");
    assert_eq!(status(&frames(role.send(3, "nobody3@example.org"))), "5.1.1 unknown user: \"nobody3\"");
    assert_eq!(role.ended(), Ended { number: 3, how: How::Exit(0) });
    role.end();
}
