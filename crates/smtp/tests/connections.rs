//! Connections that must not be trusted with the next message, and answers that must not be taken for
//! what they are not.

use proto::envelope::{Envelope, Recipient};
use proto::{Address, QueueId};
use qmgr::agent::{Agent, Done, Request};
use queue::store::Body;
use rewrite::Rewriter;
use smtp::{Client, Surroundings};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What a server says to a command, and whether it hangs up after it.
type Says = fn(&str) -> (&'static str, bool);

/// What was said to it: each line behind the number of its connection.
type Heard = Arc<Mutex<Vec<(u32, String)>>>;

async fn serve(says: Says) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let all = heard.clone();
    tokio::spawn(async move {
        for number in 1.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            let heard = all.clone();
            tokio::spawn(async move {
                let (reading, mut writing) = stream.into_split();
                let mut lines = BufReader::new(reading).lines();
                let (mut line, mut content) = (String::new(), false);
                loop {
                    let (answer, last) = match content && line != "." {
                        true => ("", false),
                        false => says(&line),
                    };
                    content = (content && line != ".") || answer.starts_with("354");
                    if writing.write_all(answer.as_bytes()).await.is_err() || last {
                        return;
                    }
                    let Ok(Some(next)) = lines.next_line().await else { return };
                    line = next;
                    heard.lock().unwrap().push((number, line.clone()));
                }
            });
        }
    });
    (port, heard)
}

/// A server that does nothing wrong.
fn good(line: &str) -> (&'static str, bool) {
    let answer = match line.get(..4).unwrap_or(line) {
        "" => "220 mx.test ESMTP\r\n",
        "DATA" => "354 go\r\n",
        "." => "250 2.0.0 Taken\r\n",
        _ => "250 Ok\r\n",
    };
    (answer, false)
}

fn client(more: &str) -> Client {
    let main = format!(
        "myhostname = me.test\nsmtp_host_lookup = native\nsmtp_helo_timeout = 1s\nsmtp_data_done_timeout = 1s\n{more}"
    );
    let config = config::Config::from_text(std::path::Path::new("/nowhere"), &main).unwrap();
    let services = config::master_cf::read("/nowhere/master.cf", "smtp unix - - n - - smtp\n").unwrap();
    let types = tables::Types::for_config(&config).build();
    let rewriter = Arc::new(Rewriter::open(&config, &types, &[]).unwrap());
    let resolver = net::dns::Resolver::of_servers(Vec::new());
    Client::load(&config, &services, &Surroundings { types: &types, rewriter, own: &[], resolver }).unwrap()
}

/// Delivers a message of this age, while others for the same place follow.
async fn deliver(client: &Client, port: u16, age: Duration) -> Done {
    let to = Address::from_internal("a@there.test");
    let envelope = Envelope {
        sender: Address::from_internal("s@here.test"),
        recipients: vec![Recipient { address: to.clone(), ..Recipient::default() }],
        size: 20,
        ..Envelope::default()
    };
    let request = Request {
        id: QueueId(1),
        envelope: Arc::new(envelope),
        body: Body::Memory(b"Subject: x\r\n\r\n.hola\r\n".to_vec().into()),
        transport: "smtp".into(),
        nexthop: format!("[127.0.0.1]:{port}"),
        recipients: vec![(0, to)],
        arrival: 0,
        active: age.as_micros() as u64,
        followed: true,
    };
    tokio::time::timeout(Duration::from_secs(20), client.deliver(request)).await.unwrap()
}

fn status(done: &Done) -> (u8, &str) {
    let [report] = done.reports.as_slice() else { panic!("{done:?}") };
    (report.result.code.0, &report.result.text)
}

/// On which connections a command was heard.
fn connections(heard: &Heard, command: &str) -> Vec<u32> {
    heard.lock().unwrap().iter().filter(|(_, line)| line.starts_with(command)).map(|(n, _)| *n).collect()
}

#[tokio::test]
async fn a_yes_before_the_content_is_no_yes_to_the_content() {
    let says: Says = |line| match line {
        "DATA" => ("354 go\r\n250 2.0.0 Taken\r\n", false),
        "." => ("554 5.6.0 No\r\n", false),
        line => good(line),
    };
    let (port, heard) = serve(says).await;
    let done = deliver(&client(""), port, Duration::ZERO).await;
    let (class, text) = status(&done);
    assert_eq!(class, 4, "{text}");
    assert!(text.starts_with("remote protocol error in reply from"), "{text}");
    assert_eq!(connections(&heard, "."), [] as [u32; 0], "what is not ended cannot be delivered");
}

#[tokio::test]
async fn a_server_that_does_not_forget_gets_no_other_message() {
    // The next RCPT on the connection would be one more of the first message.
    let says: Says = |line| match line.get(..4) {
        Some("RCPT") => ("550 5.1.1 No\r\n", false),
        Some("RSET") => ("500 5.5.1 What\r\n", false),
        _ => good(line),
    };
    let (port, heard) = serve(says).await;
    let client = client("");
    for _ in 0..2 {
        assert_eq!(status(&deliver(&client, port, Duration::ZERO).await).0, 5);
    }
    assert_eq!(connections(&heard, "MAIL"), [1, 2]);
}

#[tokio::test]
async fn a_server_that_is_about_to_close_gets_no_other_message() {
    let says: Says = |line| match line {
        "." => ("421 4.3.2 Closing\r\n", false),
        line => good(line),
    };
    let (port, heard) = serve(says).await;
    let client = client("");
    for _ in 0..2 {
        assert_eq!(status(&deliver(&client, port, Duration::ZERO).await).0, 4);
    }
    assert_eq!(connections(&heard, "MAIL"), [1, 2]);
}

#[tokio::test]
async fn a_good_connection_is_used_again() {
    let (port, heard) = serve(good).await;
    let client = client("");
    for _ in 0..2 {
        assert_eq!(status(&deliver(&client, port, Duration::ZERO).await).0, 2);
    }
    assert_eq!(connections(&heard, "MAIL"), [1, 1]);
}

#[tokio::test]
async fn a_connection_in_the_clear_for_want_of_another_is_for_one_message() {
    let says: Says = |line| match line.get(..4) {
        Some("EHLO") => ("250-mx.test\r\n250 STARTTLS\r\n", false),
        Some("STAR") => ("220 go\r\n", true),
        _ => good(line),
    };
    let (port, heard) = serve(says).await;
    let client = client("smtp_tls_security_level = may\n");
    assert_eq!(status(&deliver(&client, port, Duration::from_secs(3600)).await).0, 2);
    // This one is young: it waits for encryption.
    let done = deliver(&client, port, Duration::ZERO).await;
    assert_eq!(status(&done), (4, "Cannot start TLS: handshake failure"));
    assert_eq!(connections(&heard, "STARTTLS"), [1, 3]);
}

#[tokio::test]
async fn a_password_never_goes_in_the_clear_because_encryption_fails() {
    let says: Says = |line| match line.get(..4) {
        Some("EHLO") => ("250-mx.test\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", false),
        Some("STAR") => ("220 go\r\n", true),
        _ => good(line),
    };
    let (port, heard) = serve(says).await;
    let login = "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:jose:secreto\n\
        smtp_sasl_security_options = noanonymous\n";
    let client = client(&format!("smtp_tls_security_level = may\n{login}"));
    let done = deliver(&client, port, Duration::from_secs(3600)).await;
    assert_eq!(status(&done), (4, "Cannot start TLS: handshake failure"));
    assert_eq!(connections(&heard, "STARTTLS"), [1]);
    assert_eq!(connections(&heard, "AUTH"), [] as [u32; 0]);
}

#[tokio::test]
async fn policies_that_cannot_be_looked_up_make_mail_wait() {
    let (port, heard) = serve(good).await;
    for table in ["smtp_tls_policy_maps", "smtp_tls_per_site"] {
        let client = client(&format!("smtp_tls_security_level = may\n{table} = hash:/nowhere/x\n"));
        let done = deliver(&client, port, Duration::ZERO).await;
        assert_eq!(status(&done), (4, "client TLS configuration problem"), "{table}");
    }
    assert_eq!(connections(&heard, "MAIL"), [] as [u32; 0]);
}

#[tokio::test]
async fn an_answer_in_drops_comes_to_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while stream.write_all(b"2").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
    });
    let done = deliver(&client("daemon_timeout = 2s\n"), port, Duration::ZERO).await;
    let (class, text) = status(&done);
    assert_eq!(class, 4);
    assert!(text.contains("timed out while receiving the initial server greeting"), "{text}");
}

#[tokio::test]
async fn the_old_way_to_demand_encryption_demands_a_proof_as_well() {
    let (port, heard) = serve(good).await;
    let words = "TLS is required, but was not offered";
    for more in ["", "smtp_tls_enforce_peername = no\n"] {
        let done = deliver(&client(&format!("smtp_enforce_tls = yes\n{more}")), port, Duration::ZERO).await;
        let (class, text) = status(&done);
        assert_eq!(class, 4, "{text}");
        assert!(text.starts_with(words), "{text}");
    }
    assert_eq!(connections(&heard, "MAIL"), [] as [u32; 0]);
}
