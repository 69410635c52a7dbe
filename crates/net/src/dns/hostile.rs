//! Tests: name servers that lie, and others that answer in their stead.

use super::servers::Settings;
use super::*;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

type Record = hickory_proto::rr::Record;
/// From a question, and whether it came over TCP, to the datagrams or the bytes that go back.
type Script = Box<dyn FnMut(Message, bool) -> Vec<Vec<u8>> + Send>;

struct Liar {
    address: SocketAddr,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|t| t.abort());
    }
}

async fn liar(script: impl FnMut(Message, bool) -> Vec<Vec<u8>> + Send + 'static) -> Liar {
    let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let over_udp = script.clone();
    let udp = tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            let answers = over_udp.lock().unwrap()(Message::from_vec(&buffer[..length]).unwrap(), false);
            for answer in answers {
                udp.send_to(&answer, client).await.unwrap();
            }
        }
    });
    let tcp = tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            let answers = script.lock().unwrap()(Message::from_vec(&question).unwrap(), true);
            for answer in answers {
                let _ = stream.write_all(&answer).await;
            }
        }
    });
    Liar { address, tasks: [udp, tcp] }
}

fn reply(asked: &Message) -> Message {
    let mut message = Message::response(asked.metadata.id, asked.metadata.op_code);
    message.add_query(asked.queries[0].clone());
    message
}

fn name(text: &str) -> Name {
    wire::name(text).unwrap()
}

fn a(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 60, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
}

fn cname(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
}

fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.to_vec().unwrap();
    [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
}

fn quick(liar: &Liar) -> Resolver {
    let timeout = Duration::from_secs(5);
    let settings = Settings { servers: vec![liar.address], timeout, attempts: 1, ..Settings::default() };
    Resolver::of_settings(settings)
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn last(answer: Result<Answer<Ipv4Addr>, Failure>) -> u8 {
    answer.unwrap().records[0].octets()[3]
}

#[test]
fn an_answer_that_does_not_fit_is_passed_over() {
    run(async {
        let liar = liar(|asked, _| {
            let good = reply(&asked);
            let mut number = good.clone();
            number.metadata.id ^= 1;
            number.add_answer(a("a.b", 66));
            let mut question = good.clone();
            question.queries[0].set_name(name("b.b"));
            question.add_answer(a("a.b", 66));
            let mut kind = good.clone();
            kind.queries[0].set_query_type(hickory_proto::rr::RecordType::AAAA);
            let mut two = good.clone();
            two.add_query(asked.queries[0].clone());
            two.add_answer(a("a.b", 66));
            let mut good = good;
            good.add_answer(a("a.b", 1));
            let all = [number, question, kind, two, asked, good];
            all.iter().map(|m| m.to_vec().unwrap()).chain([b"x".to_vec()]).collect()
        });
        let liar = liar.await;
        assert_eq!(last(quick(&liar).a("a.b").await), 1);
    });
}

#[test]
fn where_somebody_guesses_tcp_is_used() {
    run(async {
        let liar = liar(|asked, tcp| {
            let mut good = reply(&asked);
            if tcp {
                good.add_answer(a("a.b", 1));
                return vec![framed(&good)];
            }
            good.add_answer(a("a.b", 66));
            let guess = |n: u16| {
                let mut guess = good.clone();
                guess.metadata.id = good.metadata.id.wrapping_add(n);
                guess.to_vec().unwrap()
            };
            (1..=20).chain([0]).map(guess).collect()
        });
        let liar = liar.await;
        assert_eq!(last(quick(&liar).a("a.b").await), 1);
    });
}

#[test]
fn nothing_is_learnt_that_was_not_asked() {
    run(async {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let liar = liar(move |question, _| {
            let name = question.queries[0].name().to_ascii();
            let mut reply = reply(&question);
            if name == "evil.test." {
                for record in [a("bank.test", 66), a("evil.test", 1)] {
                    reply.add_answer(record);
                }
                reply.add_authority(a("bank.test", 66));
                reply.add_additional(a("bank.test", 66));
            } else {
                reply.add_answer(a("bank.test", 2));
            }
            seen.lock().unwrap().push(name);
            vec![reply.to_vec().unwrap()]
        });
        let liar = liar.await;
        let resolver = quick(&liar);
        let evil = resolver.a("evil.test").await.unwrap();
        assert_eq!(evil.records, [Ipv4Addr::new(192, 0, 2, 1)]);
        assert_eq!(last(resolver.a("bank.test").await), 2);
        assert_eq!(*asked.lock().unwrap(), ["evil.test.", "bank.test."]);
    });
}

#[test]
fn an_alias_gives_no_name_to_others() {
    run(async {
        let liar = liar(|question, _| {
            let mut reply = reply(&question);
            match question.queries[0].name().to_ascii().as_str() {
                "evil.test." => {
                    reply.add_answer(cname("evil.test", "bank.test")).add_answer(a("bank.test", 66));
                }
                _ => {
                    reply.add_answer(a("bank.test", 2));
                }
            }
            vec![reply.to_vec().unwrap()]
        });
        let liar = liar.await;
        let resolver = quick(&liar);
        // What evil.test has is what it says; bank.test itself is still asked for.
        assert_eq!(last(resolver.a("evil.test").await), 66);
        assert_eq!(last(resolver.a("bank.test").await), 2);
    });
}

#[test]
fn endless_aliases() {
    run(async {
        let count = Arc::new(Mutex::new(0));
        let seen = count.clone();
        let liar = liar(move |question, _| {
            *seen.lock().unwrap() += 1;
            let mut reply = reply(&question);
            let owner = question.queries[0].name().to_ascii();
            reply.add_answer(cname(&owner, &format!("x{}.test", *seen.lock().unwrap())));
            vec![reply.to_vec().unwrap()]
        });
        let liar = liar.await;
        let failure = quick(&liar).a("a.test").await.unwrap_err();
        assert_eq!(failure, Failure::Temporary("Name server loop for a.test".into()));
        assert!(*count.lock().unwrap() <= 11);
    });
}

#[test]
fn thousands_of_records() {
    run(async {
        let liar = liar(|question, tcp| {
            let mut reply = reply(&question);
            if !tcp {
                reply.metadata.truncation = true;
                return vec![reply.to_vec().unwrap()];
            }
            for n in 0..3000u32 {
                let address = Ipv4Addr::from(0xc000_0200 + n);
                reply.add_answer(Record::from_rdata(name("a.b"), 60, RData::A(A(address))));
            }
            vec![framed(&reply)]
        });
        let liar = liar.await;
        let answer = quick(&liar).a("a.b").await.unwrap();
        assert_eq!(answer.records.len(), MOST_RECORDS);
        let warning =
            "DNS record count limit (100) exceeded -- dropping excess record(s) after qname=a.b qtype=A";
        assert_eq!(answer.warnings, [warning]);
    });
}

#[test]
fn answers_over_tcp_that_do_not_come() {
    run(async {
        for (bytes, why) in [
            (vec![], "the answer is cut off"),
            (vec![0xff, 0xff, 1, 2, 3], "the answer is cut off"),
            (vec![0, 0], ""),
            (vec![0, 3, 1, 2, 3], ""),
        ] {
            let liar = liar(move |question, tcp| {
                let mut reply = reply(&question);
                reply.metadata.truncation = true;
                vec![if tcp { bytes.clone() } else { reply.to_vec().unwrap() }]
            });
            let liar = liar.await;
            let failure = quick(&liar).a("a.b").await.unwrap_err();
            match why {
                "" => assert_eq!(failure, Failure::Garbage),
                why => {
                    assert_eq!(failure, Failure::Temporary(format!("name server {}: {why}", liar.address)))
                }
            }
        }
    });
}

#[test]
fn a_word_about_authenticity_holds_for_the_whole_chain() {
    run(async {
        let liar = liar(|question, _| {
            let mut reply = reply(&question);
            let first = question.queries[0].name().to_ascii() == "a.test.";
            reply.metadata.authentic_data = first;
            reply.add_answer(if first { cname("a.test", "b.test") } else { a("b.test", 1) });
            vec![reply.to_vec().unwrap()]
        });
        let liar = liar.await;
        assert!(!quick(&liar).a("a.test").await.unwrap().secure);
    });
}

#[test]
fn other_codes() {
    run(async {
        for code in [ResponseCode::YXDomain, ResponseCode::NotAuth, ResponseCode::Refused] {
            let liar = liar(move |question, _| {
                let mut reply = reply(&question);
                reply.metadata.response_code = code;
                vec![reply.to_vec().unwrap()]
            });
            let liar = liar.await;
            let Err(Failure::Temporary(why)) = quick(&liar).a("a.b").await else { panic!("{code}") };
            assert!(why.starts_with(&format!("name server {}: ", liar.address)), "{why}");
        }
    });
}

#[test]
fn idle_is_small() {
    let resolver = Resolver::system();
    assert!(std::mem::size_of_val(&*resolver.shared) < 1024, "{}", std::mem::size_of_val(&*resolver.shared));
}

proptest::proptest! {
    #[test]
    fn damaged_answers_do_no_harm(
        changes in proptest::collection::vec((proptest::prelude::any::<u16>(), proptest::prelude::any::<u8>()), 0..20),
        cut in 0usize..400,
        kind in 0usize..7,
    ) {
        let kind = [Kind::A, Kind::Aaaa, Kind::Mx, Kind::Ptr, Kind::Txt, Kind::Ns, Kind::Tlsa][kind];
        let zone = Zone::parse(
            "a.b MX 10 c.d\na.b A 192.0.2.1\na.b AAAA ::1\na.b TXT \"x y\" \"z\"\na.b NS c.d\na.b PTR c.d\n\
             a.b TLSA 3 1 1 0a0b\nc.d CNAME a.b\n",
        ).unwrap();
        for asked in ["a.b", "c.d", "e.f"] {
            let asked = name(asked);
            let question = wire::question(0, &asked, wire::record_type(kind), true).unwrap();
            let mut bytes = zone.respond(&question, false).unwrap();
            for (place, byte) in &changes {
                let length = bytes.len();
                bytes[usize::from(*place) % length] = *byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(300)));
            if let wire::Reply::Answer(message) = wire::answer(&bytes, 0, &asked, wire::record_type(kind)) {
                read::meaning(&message, &asked, kind);
            }
            zone.respond(&bytes, false);
        }
    }
}
