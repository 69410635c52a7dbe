//! One page of a web server that is who it says it is: HTTP/1.1 over TLS, one GET, nothing else.
//!
//! No redirects, no cookies, no compression, no second request; all of it bounded in bytes and time. It
//! is for small published policies (MTA-STS), whose servers may be hostile. RFC 9112.

use crate::dial::{self, Source};
use crate::dns::Resolver;
use crate::tls::client::{Connector, Roots, Wish};
use crate::tls::proof::Proof;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The server's name; its certificate must have it.
    pub host: &'a str,
    /// What is wanted of it.
    pub path: &'a str,
    /// Where it listens.
    pub port: u16,
    /// Over IPv4, over IPv6.
    pub families: (bool, bool),
    /// The longest page.
    pub most: usize,
    /// The longest it may take.
    pub limit: Duration,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// 200 is a page.
    pub status: u16,
    /// Without parameters, in lower case.
    pub content_type: String,
    /// The page.
    pub body: Vec<u8>,
}

/// Why there is none, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server's certificate does not prove who it is.
    Certificate(String),
    /// Anything else.
    Other(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Failure::Certificate(why) | Failure::Other(why)) = self;
        f.write_str(why)
    }
}

fn other(why: impl Into<String>) -> Failure {
    Failure::Other(why.into())
}

/// Gets a page.
pub async fn get(
    request: Request<'_>,
    resolver: &Resolver,
    connector: &Connector,
    roots: &Roots,
) -> Result<Page, Failure> {
    let all = async {
        let stream = connect(request, resolver).await?;
        let (key, proof) = (format!("https&{}", request.host), Proof::Names(vec![request.host.to_string()]));
        let wish = Wish {
            server_name: Some(request.host),
            proof: &proof,
            roots: Some(roots),
            ..Wish::new(&key, request.limit)
        };
        let connected = connector.connect(stream, &wish).await;
        let mut connected = connected.map_err(|e| other(format!("TLS: {e}")))?;
        if !connected.judgement.proved {
            let why = connected.judgement.fault.map_or_else(String::new, |f| f.to_string());
            return Err(Failure::Certificate(why));
        }
        exchange(&mut connected.stream, request).await.map_err(Failure::Other)
    };
    let got = tokio::time::timeout(request.limit, Box::pin(all)).await;
    got.unwrap_or_else(|_| Err(other("it takes too long")))
}

/// How many of its addresses are tried.
const MOST_ADDRESSES: usize = 4;

async fn connect(request: Request<'_>, resolver: &Resolver) -> Result<tokio::net::TcpStream, Failure> {
    let (v4, v6) = request.families;
    let (mut found, mut why) = (Vec::new(), other(format!("{}: host not found", request.host)));
    for (kind, answer) in resolver.hosts(&[request.host], v4, v6).await.into_iter().flatten() {
        match answer {
            Ok(answer) => found.extend(answer.records),
            Err(failure) => why = other(failure.words(request.host, kind)),
        }
    }
    let each = request.limit / 4;
    for address in found.into_iter().take(MOST_ADDRESSES) {
        match dial::tcp(SocketAddr::new(address, request.port), &Source::default(), each).await {
            Ok(dialled) => return Ok(dialled.stream),
            Err(failure) => why = other(format!("connect to {}[{address}]: {failure}", request.host)),
        }
    }
    Err(why)
}

/// The longest head of an answer.
const MOST_HEAD: usize = 16 * 1024;

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: Request<'_>,
) -> Result<Page, String> {
    let Request { host, path, .. } = request;
    let asked = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: valija\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
    );
    let io = |e: std::io::Error| crate::plain(&e);
    stream.write_all(asked.as_bytes()).await.map_err(io)?;
    stream.flush().await.map_err(io)?;
    let mut reader = Reader { stream, seen: Vec::new() };
    loop {
        let head = reader.head().await?;
        // An interim answer is followed by another. RFC 9110 15.2
        if head.status / 100 == 1 {
            continue;
        }
        if head.status != 200 {
            return Ok(Page { status: head.status, content_type: head.content_type, body: Vec::new() });
        }
        let body = match (head.chunked, head.length) {
            (true, _) => reader.chunks(request.most).await?,
            (false, Some(length)) if length > request.most => return Err(too_long(request.most)),
            (false, Some(length)) => reader.exactly(length).await?,
            (false, None) => reader.rest(request.most).await?,
        };
        return Ok(Page { status: head.status, content_type: head.content_type, body });
    }
}

/// What a server amounts to that says just this.
#[cfg(any(fuzzing, feature = "fuzz"))]
pub(crate) fn answer_of(bytes: &[u8], request: Request<'_>) -> Option<Page> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(async {
        let (mut here, mut there) = tokio::io::duplex(1 << 20);
        there.write_all(bytes.get(..1 << 19).unwrap_or(bytes)).await.ok()?;
        there.shutdown().await.ok()?;
        exchange(&mut here, request).await.ok()
    })
}

fn too_long(most: usize) -> String {
    format!("the page is longer than {most} bytes")
}

struct Head {
    status: u16,
    content_type: String,
    length: Option<usize>,
    chunked: bool,
}

struct Reader<'a, S> {
    stream: &'a mut S,
    /// What came and was not used yet.
    seen: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    /// More bytes; `false` at the end.
    async fn more(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).await.map_err(|e| crate::plain(&e))?;
        self.seen.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    async fn line(&mut self, most: usize) -> Result<String, String> {
        loop {
            if let Some(end) = self.seen.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.seen.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            if self.seen.len() > most {
                return Err("the head of the answer is too long".into());
            }
            if !self.more().await? {
                return Err("the answer is cut off".into());
            }
        }
    }

    async fn head(&mut self) -> Result<Head, String> {
        let first = self.line(MOST_HEAD).await?;
        let mut words = first.split(' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().filter(|w| w.len() == 3).and_then(|w| w.parse().ok());
        let (true, Some(status)) = (version.starts_with("HTTP/1."), status) else {
            return Err("this is no answer of a web server".into());
        };
        let mut head = Head { status, content_type: String::new(), length: None, chunked: false };
        let mut total = first.len();
        loop {
            let line = self.line(MOST_HEAD).await?;
            total += line.len() + 2;
            if line.is_empty() {
                return Ok(head);
            }
            if total > MOST_HEAD {
                return Err("the head of the answer is too long".into());
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-type" => {
                    let kind = value.split(';').next().unwrap_or_default();
                    head.content_type = kind.trim().to_ascii_lowercase();
                }
                "content-length" => {
                    let length = value.parse().ok().filter(|_| value.bytes().all(|b| b.is_ascii_digit()));
                    if length.is_none() || head.length.is_some_and(|l| Some(l) != length) {
                        return Err("the length of the page makes no sense".into());
                    }
                    head.length = length;
                }
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.chunked = true,
                "transfer-encoding" | "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                    return Err(format!(
                        "the page is encoded as {:?}",
                        value.chars().take(40).collect::<String>()
                    ));
                }
                _ => {}
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.seen.len() < length {
            if !self.more().await? {
                return Err("the page is cut off".into());
            }
        }
        Ok(self.seen.drain(..length).collect())
    }

    async fn rest(&mut self, most: usize) -> Result<Vec<u8>, String> {
        while self.seen.len() <= most {
            if !self.more().await? {
                return Ok(std::mem::take(&mut self.seen));
            }
        }
        Err(too_long(most))
    }

    /// RFC 9112 7.1
    async fn chunks(&mut self, most: usize) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        // Each has at least a byte.
        for _ in 0..=most {
            let line = self.line(1024).await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| "a part of the page has no length")?;
            if size == 0 {
                return Ok(body);
            }
            if size > most || body.len() + size > most {
                return Err(too_long(most));
            }
            body.extend(self.exactly(size).await?);
            if !self.line(1024).await?.is_empty() {
                return Err("a part of the page is longer than it says".into());
            }
        }
        Err(too_long(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: Request<'static> = Request {
        host: "a.example",
        path: "/x",
        port: 443,
        families: (true, true),
        most: 100,
        limit: Duration::from_secs(5),
    };

    fn answer(bytes: &[u8]) -> Result<Page, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut here, mut there) = tokio::io::duplex(1 << 20);
            there.write_all(bytes).await.unwrap();
            there.shutdown().await.unwrap();
            let got = exchange(&mut here, REQUEST).await;
            drop(here);
            let mut asked = String::new();
            there.read_to_string(&mut asked).await.unwrap();
            assert!(
                asked.starts_with("GET /x HTTP/1.1\r\nHost: a.example\r\n") && asked.ends_with("\r\n\r\n")
            );
            got
        })
    }

    #[test]
    fn pages() {
        let body = |text: &str| answer(text.as_bytes()).map(|p| String::from_utf8(p.body).unwrap());
        let page = answer(
            b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nabcdef",
        );
        assert_eq!(page, Ok(Page { status: 200, content_type: "text/plain".into(), body: b"abc".to_vec() }));
        assert_eq!(body("HTTP/1.0 200 OK\n\nto the end"), Ok("to the end".into()));
        assert_eq!(body("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx"), Ok("x".into()));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunked), Ok("abcde".into()));
        assert_eq!(answer(b"HTTP/1.1 301 Moved\r\nLocation: https://b/\r\n\r\n").unwrap().status, 301);
    }

    #[test]
    fn hostile_answers() {
        let long = "x".repeat(200);
        let head = "HTTP/1.1 200 OK\r\n";
        let cases = [
            String::new(),
            "SSH-2.0-x\r\n\r\n".into(),
            "HTTP/1.1 abc OK\r\n\r\n".into(),
            "HTTP/2 200\r\n".into(),
            format!("{head}Content-Length: 101\r\n\r\n{long}"),
            format!("{head}Content-Length: 99999999999999999999999\r\n\r\nx"),
            format!("{head}Content-Length: +3\r\n\r\nabc"),
            format!("{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
            format!("{head}Content-Length: 50\r\n\r\nshort"),
            format!("{head}\r\n{long}"),
            format!("{head}Transfer-Encoding: gzip\r\n\r\nx"),
            format!("{head}Content-Encoding: gzip\r\n\r\nx"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\nx"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"),
            format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n{}",
                "30\r\n".to_string() + &"y".repeat(48) + "\r\n"
            )
            .repeat(9),
            format!("{head}X: {}\r\n\r\nx", "y".repeat(MOST_HEAD)),
            format!("{head}{}", "X: y\r\n".repeat(MOST_HEAD)),
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000),
        ];
        for case in cases {
            assert!(answer(case.as_bytes()).is_err(), "{}", case.chars().take(200).collect::<String>());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn anything_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600), head: bool) {
            let mut all = if head { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
            all.extend(&bytes);
            if let Ok(page) = answer(&all) {
                prop_assert!(page.body.len() <= 100);
            }
        }
    }
}
