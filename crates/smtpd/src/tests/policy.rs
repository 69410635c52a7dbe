//! Policy services: what they are asked, how often, over which connections; those that do harm.

use super::*;
use std::sync::Mutex;
use tokio::net::TcpListener;

/// A service that answers each request by `answer`, which gets the request; an answer of `None`
/// closes the connection. What it was asked: connection, `attribute` of the request.
struct Service {
    port: u16,
    asked: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Service {
    fn asked(&self, attribute: &str) -> Vec<(usize, String)> {
        let find = |request: &String| {
            let lines = request.lines().find_map(|l| l.strip_prefix(attribute)?.strip_prefix('='));
            lines.unwrap_or("-").to_string()
        };
        self.asked.lock().unwrap().iter().map(|(n, request)| (*n, find(request))).collect()
    }
}

async fn service(answer: impl Fn(&str) -> Option<Vec<u8>> + Clone + Send + 'static) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (heard, mut count) = (asked.clone(), 0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count += 1;
            let (number, heard, answer) = (count, heard.clone(), answer.clone());
            tokio::spawn(async move {
                let mut text = Vec::new();
                loop {
                    while !text.ends_with(b"\n\n") {
                        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let request = String::from_utf8(std::mem::take(&mut text)).unwrap();
                    let said = answer(&request);
                    heard.lock().unwrap().push((number, request));
                    match said {
                        Some(bytes) => drop(stream.write_all(&bytes).await),
                        None => return,
                    }
                }
            });
        }
    });
    Service { port, asked }
}

/// With the real clock, as the service has it.
fn live<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ok(_: &str) -> Option<Vec<u8>> {
    Some(b"action=DUNNO\n\n".to_vec())
}

const START: &str = "EHLO pc\r\nMAIL FROM:<a@good.test>\r\n";

#[test]
fn asked_once_for_each_recipient_whatever_else_is_found_out() {
    live(async {
        let service = service(ok).await;
        // Name servers are asked before and behind: the list is gone through several times.
        let list = format!(
            "smtpd_recipient_restrictions = permit_mynetworks, reject_unknown_sender_domain, \
             check_policy_service inet:127.0.0.1:{0}, reject_rbl_client unheard.test, \
             reject_unknown_recipient_domain, check_policy_service inet:127.0.0.1:{0}\n",
            service.port
        );
        let world = world(&list);
        let text =
            format!("{START}RCPT TO:<usuario@example.org>\r\nRCPT TO:<jose@example.org>\r\nVRFY jose\r\n");
        let (replies, _) = world.say(STRANGER, &text).await;
        assert_eq!(replies[2..4], ["250 2.1.5 Ok", "250 2.1.5 Ok"]);
        let (a, b) = ("usuario@example.org".to_string(), "jose@example.org".to_string());
        let c = "jose".to_string();
        let expected = [(1, a.clone()), (1, a), (1, b.clone()), (1, b), (1, c.clone()), (1, c)];
        assert_eq!(service.asked("recipient"), expected);
        // The next session finds the connection, two at a time have one each.
        let text = format!("{START}RCPT TO:<jose@example.org>\r\n");
        world.say(STRANGER, &text).await;
        assert_eq!(service.asked("recipient").last().unwrap().0, 1);
        let (one, two) = tokio::join!(world.connect(STRANGER).1, async {
            world.say(STRANGER, &text).await;
        });
        let ((), ()) = (one, two);
        let messages: HashSet<String> = service.asked("instance").into_iter().map(|(_, i)| i).collect();
        assert_eq!(messages.len(), 3, "each message has a name of its own");
    });
}

#[test]
fn what_is_looked_up_ahead_asks_no_service() {
    live(async {
        let service = service(ok).await;
        let list = format!(
            "smtpd_restriction_classes = ask\nask = check_policy_service inet:127.0.0.1:{}\n\
             smtpd_recipient_restrictions = permit_mynetworks, reject_rbl_client unheard.test, \
             check_sender_mx_access inline:{{ {{ mx.good.test = ask }} }}, reject\n",
            service.port
        );
        let text = format!("{START}RCPT TO:<jose@example.org>\r\n");
        let (replies, _) = world(&list).say(STRANGER, &text).await;
        assert!(replies[2].starts_with("554"), "{replies:?}");
        assert_eq!(service.asked("protocol_state"), [(1, "RCPT".to_string())]);
    });
}

#[test]
fn services_that_do_harm() {
    live(async {
        let long = service(|_| Some(vec![b'x'; 200_000])).await;
        let many = service(|_| Some("x=y\n".repeat(50_000).into_bytes())).await;
        let evil = service(|_| Some(b"action=REJECT a\r\xc2\x85 250 yes\x00\n\n".to_vec())).await;
        let gone = service(|_| None).await;
        let eager = service(|_| Some(b"action=REJECT no\n\naction=OK\n\n".to_vec())).await;
        for (service, expected) in [
            (&long, "451 4.3.5 <jose@example.org>: Recipient address rejected: Server configuration problem"),
            (&many, "451 4.3.5 <jose@example.org>: Recipient address rejected: Server configuration problem"),
            (&evil, "554 5.7.1 <jose@example.org>: Recipient address rejected: a?? 250 yes?"),
            (&gone, "451 4.3.5 <jose@example.org>: Recipient address rejected: Server configuration problem"),
            (&eager, "554 5.7.1 <jose@example.org>: Recipient address rejected: no"),
        ] {
            let list = format!(
                "smtpd_recipient_restrictions = permit_mynetworks, check_policy_service \
                 {{ inet:127.0.0.1:{}, try_limit=1 }}\n",
                service.port
            );
            let text = format!("{START}RCPT TO:<jose@example.org>\r\nRCPT TO:<jose@example.org>\r\n");
            let (replies, log) = world(&list).say(STRANGER, &text).await;
            assert_eq!(replies[2..4], [expected, expected], "{log:?}");
        }
        // A service that says what nobody asked gets a new connection: its yes is not believed.
        assert_eq!(eager.asked("request").iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2]);
    });
}

#[test]
fn what_cannot_be_asked_defers() {
    let say = |argument: &str| {
        let list = format!("smtpd_recipient_restrictions = permit_mynetworks, {argument}\n");
        let text = format!("{START}RCPT TO:<jose@example.org>\r\n");
        let (replies, log) = run(world(&list).say(STRANGER, &text));
        (replies[2].clone(), log)
    };
    for bad in [
        "check_policy_service",
        "check_policy_service nowhere, permit",
        "check_policy_service { inet:h:1, timeout=0 }, permit",
    ] {
        let (reply, log) = say(bad);
        assert_eq!(reply, "451 4.3.5 Server configuration error", "{bad}");
        assert!(log.iter().any(|l| l.contains("restriction check_policy_service")), "{bad}: {log:?}");
    }
}
