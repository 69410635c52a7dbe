//! Servers that misbehave at every step, each in every way, to one and several recipients, with and
//! without pipelining, on fresh and on used connections: every recipient gets the right result, none is
//! called delivered that was not, and none is delivered twice.

use proto::envelope::{Envelope, Recipient};
use proto::{Address, QueueId};
use qmgr::agent::{Agent, Done, Request};
use queue::store::Body;
use rewrite::Rewriter;
use smtp::{Client, Surroundings};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Content,
    Dot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Close,
    Closing421,
    Later,
    Never,
    Garbage,
    Silence,
}

const STEPS: [Step; 7] =
    [Step::Greeting, Step::Ehlo, Step::Mail, Step::Rcpt, Step::Data, Step::Content, Step::Dot];
const ACTS: [Act; 6] = [Act::Close, Act::Closing421, Act::Later, Act::Never, Act::Garbage, Act::Silence];

#[derive(Clone, Copy, Debug)]
struct Case {
    step: Step,
    act: Act,
    several: bool,
    pipelining: bool,
    /// The step is that of the second message on a connection; further connections behave.
    used: bool,
}

/// Where the server stands.
struct Server {
    case: Case,
    /// How often each recipient's message was accepted.
    accepted: Mutex<HashMap<String, u32>>,
    connections: Mutex<u32>,
}

impl Server {
    async fn run(self: Arc<Server>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let number = {
                let mut n = self.connections.lock().unwrap();
                *n += 1;
                *n
            };
            tokio::spawn(self.clone().talk(stream, number));
        }
    }

    /// `None`: the connection is over.
    async fn talk(self: Arc<Server>, stream: TcpStream, connection: u32) -> Option<()> {
        let case = self.case;
        let (reading, mut writing) = stream.into_split();
        let mut lines = BufReader::new(reading).lines();
        let (mut message, mut mail, mut recipients) = (1, false, Vec::new());
        let mut last = String::new();
        let mut step = Step::Greeting;
        loop {
            let bad = match case.used {
                true => connection == 1 && message == 2,
                false => connection == 1,
            };
            let aimed = case.step == step && (step != Step::Rcpt || !case.several || last.contains("<b@"));
            let good = match step {
                Step::Greeting => "220 mx.test ESMTP".to_string(),
                Step::Ehlo if last.starts_with("EHLO") && case.pipelining => {
                    "250-mx.test\r\n250 PIPELINING".into()
                }
                Step::Ehlo => "250 mx.test".into(),
                Step::Mail => "250 2.1.0 Ok".into(),
                Step::Rcpt if !mail => "503 5.5.1 MAIL first".into(),
                Step::Data if recipients.is_empty() => "503 5.5.1 RCPT first".into(),
                Step::Rcpt => "250 2.1.5 Ok".into(),
                Step::Data => "354 go".into(),
                Step::Content => String::new(),
                Step::Dot => "250 2.0.0 Taken".into(),
            };
            let said = match (bad && aimed, case.act) {
                (false, _) => good,
                // HELO after EHLO behaves.
                (true, Act::Later | Act::Never) if last.starts_with("HELO") => good,
                (true, Act::Close) => return None,
                (true, Act::Closing421) => {
                    let _ = writing.write_all(b"421 4.3.2 not now\r\n").await;
                    // What is unread at the end would make the system forget what was said.
                    while step == Step::Content && last != "." {
                        last = lines.next_line().await.ok()??;
                    }
                    return None;
                }
                (true, Act::Later) => "451 4.7.1 later".into(),
                (true, Act::Never) => "554 5.7.1 never".into(),
                (true, Act::Garbage) => "what is that".into(),
                (true, Act::Silence) => {
                    std::future::pending::<()>().await;
                    return None;
                }
            };
            if step == Step::Mail {
                mail = said.starts_with('2');
            }
            if step == Step::Rcpt && said.starts_with('2') {
                recipients.push(last.clone());
            }
            if step == Step::Dot && said.starts_with('2') {
                for name in &recipients {
                    *self.accepted.lock().unwrap().entry(name.clone()).or_default() += 1;
                }
            }
            if step != Step::Content {
                writing.write_all(format!("{said}\r\n").as_bytes()).await.ok()?;
            }
            let content = step == Step::Data && said.starts_with('3');
            if step == Step::Dot {
                message += 1;
                recipients.clear();
            }
            if content {
                step = Step::Content;
                last = lines.next_line().await.ok()??;
                if last != "." {
                    continue;
                }
            }
            if step == Step::Content {
                while last != "." {
                    last = lines.next_line().await.ok()??;
                }
                step = Step::Dot;
                continue;
            }
            last = lines.next_line().await.ok()??;
            let verb = last.to_ascii_uppercase();
            step = match verb.get(..4).unwrap_or_default() {
                "EHLO" | "HELO" => Step::Ehlo,
                "MAIL" => Step::Mail,
                "RCPT" => Step::Rcpt,
                "DATA" => Step::Data,
                "RSET" => {
                    recipients.clear();
                    writing.write_all(b"250 2.0.0 Reset\r\n").await.ok()?;
                    last = lines.next_line().await.ok()??;
                    match last.get(..4) {
                        Some("MAIL") => Step::Mail,
                        _ => return None,
                    }
                }
                _ => return None,
            };
        }
    }
}

fn client() -> Client {
    let main = "myhostname = me.test\nsmtp_helo_timeout = 1s\nsmtp_mail_timeout = 1s\nsmtp_rcpt_timeout = 1s\n\
                smtp_data_init_timeout = 1s\nsmtp_data_xfer_timeout = 1s\nsmtp_data_done_timeout = 1s\n\
                smtp_rset_timeout = 1s\nsmtp_quit_timeout = 1s\nsmtp_host_lookup = native\n";
    let config = config::Config::from_text(std::path::Path::new("/nowhere"), main).unwrap();
    let services = config::master_cf::read("/nowhere/master.cf", "smtp unix - - n - - smtp\n").unwrap();
    let types = tables::Types::for_config(&config).build();
    let rewriter = Arc::new(Rewriter::open(&config, &types, &[]).unwrap());
    let resolver = net::dns::Resolver::of_servers(Vec::new());
    Client::load(&config, &services, &Surroundings { types: &types, rewriter, own: &[], resolver }).unwrap()
}

async fn deliver(client: &Client, port: u16, names: &[&str]) -> Done {
    let to = |n: &&str| Address::from_internal(&format!("{n}@there.test"));
    let envelope = Envelope {
        sender: Address::from_internal("s@here.test"),
        recipients: names.iter().map(|n| Recipient { address: to(n), ..Recipient::default() }).collect(),
        size: 20,
        ..Envelope::default()
    };
    let request = Request {
        id: QueueId(1),
        envelope: Arc::new(envelope),
        body: Body::Memory(b"Subject: x\r\n\r\n.hola\r\n".to_vec().into()),
        transport: "smtp".into(),
        nexthop: format!("[127.0.0.1]:{port}"),
        recipients: names.iter().map(to).enumerate().collect(),
        arrival: 0,
        active: 0,
        followed: true,
    };
    client.deliver(request).await
}

/// What `a` and `b` must get: the class, and words of the text.
fn expected(case: Case, name: &str) -> (u8, &'static str) {
    use {Act::*, Step::*};
    // A connection that was used before and breaks is no final word: all goes again over a fresh one, but for
    // what was refused, and what may have been taken. 421 to MAIL or RCPT says no more than that it broke.
    let judged = match case.act {
        Later => case.step != Content,
        Closing421 => !matches!(case.step, Mail | Rcpt),
        _ => false,
    };
    if case.used && judged {
        let other = case.several && name == "a" && case.step == Rcpt;
        return if other { (2, "Taken") } else { (4, "said: 4") };
    }
    if case.used && case.act != Never {
        let doubtful = match case.step {
            Dot => !matches!(case.act, Later | Closing421),
            Content => matches!(case.act, Close | Silence),
            _ => false,
        };
        return if doubtful { (4, "message may be sent more than once") } else { (2, "Taken") };
    }
    let other = case.several && name == "a" && case.step == Rcpt;
    match (case.step, case.act) {
        (Greeting, Closing421) => (4, "refused to talk to me: 421 4.3.2 not now"),
        (Greeting, Later) => (4, "refused to talk to me: 451 4.7.1 later"),
        (Greeting, Never) => (4, "refused to talk to me: 554 5.7.1 never"),
        (Greeting, Close) => {
            (4, "lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting")
        }
        (Greeting, _) => (4, "timed out while receiving the initial server greeting"),
        (Ehlo, Closing421) => (4, "refused to talk to me: 421"),
        (Ehlo, Later | Never) => (2, "Taken"),
        (Ehlo, Close) => (4, "while performing the EHLO handshake"),
        (Ehlo, _) => (4, "timed out while performing the EHLO handshake"),
        (Mail, Closing421) => (4, "said: 421 4.3.2 not now (in reply to MAIL FROM command)"),
        (Mail, Later) => (4, "(in reply to MAIL FROM command)"),
        (Mail, Never) => (5, "said: 554 5.7.1 never (in reply to MAIL FROM command)"),
        (Mail, _) => (4, "while sending MAIL FROM"),
        (Rcpt, Later | Never) if other => (2, "Taken"),
        (Rcpt, Closing421) if other => (4, "lost connection with 127.0.0.1[127.0.0.1] while sending"),
        (Rcpt, Closing421 | Later) => (4, "(in reply to RCPT TO command)"),
        (Rcpt, Never) => (5, "(in reply to RCPT TO command)"),
        (Rcpt, _) => (4, "while sending RCPT TO"),
        (Data, Closing421 | Later) => (4, "(in reply to DATA command)"),
        (Data, Never) => (5, "(in reply to DATA command)"),
        (Data, _) => (4, "while sending DATA command"),
        // What is said or done amid the content is heard after it.
        (Content, Close) => (4, "127.0.0.1[127.0.0.1]"),
        (Content, Closing421) => (4, "(in reply to end of DATA command)"),
        (Content, Silence) => (4, "message may be sent more than once"),
        (Content, _) => (2, "Taken"),
        (Dot, Closing421 | Later) => (4, "(in reply to end of DATA command)"),
        (Dot, Never) => (5, "said: 554 5.7.1 never (in reply to end of DATA command)"),
        (Dot, _) => (4, "message may be sent more than once"),
    }
}

async fn play(case: Case) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Arc::new(Server { case, accepted: Mutex::default(), connections: Mutex::default() });
    let running = tokio::spawn(server.clone().run(listener));
    let client = client();
    let names: &[&str] = if case.several { &["a", "b"] } else { &["b"] };
    if case.used {
        let first = deliver(&client, port, names).await;
        assert!(first.reports.iter().all(|r| r.result.code.0 == 2), "{case:?}: {first:?}");
        server.accepted.lock().unwrap().clear();
    }
    let done = tokio::time::timeout(Duration::from_secs(20), deliver(&client, port, names)).await.unwrap();
    running.abort();
    assert_eq!(done.reports.len(), names.len(), "{case:?}");
    for report in &done.reports {
        let name = names[report.recipient];
        let status = &report.result;
        let (class, words) = expected(case, name);
        assert_eq!(status.code.0, class, "{case:?} {name}: {status:?}");
        assert!(status.text.contains(words), "{case:?} {name}: {:?} lacks {words:?}", status.text);
        let path = format!("RCPT TO:<{name}@there.test>");
        let accepted = server.accepted.lock().unwrap().get(&path).copied().unwrap_or(0);
        assert_eq!(accepted, u32::from(class == 2), "{case:?} {name}: accepted {accepted} times, {status:?}");
    }
}

#[test]
fn every_step_in_every_way() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut all = Vec::new();
        for step in STEPS {
            for act in ACTS {
                for bits in 0..8 {
                    let (several, pipelining, used) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                    if used && matches!(step, Step::Greeting | Step::Ehlo) {
                        continue;
                    }
                    let case = Case { step, act, several, pipelining, used };
                    all.push((case, tokio::spawn(play(case))));
                }
            }
        }
        let mut failed = Vec::new();
        for (case, task) in all {
            if task.await.is_err() {
                failed.push(case);
            }
        }
        assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
    });
}
