//! A small name server for a [`Zone`], over UDP and TCP: the lab's, and of tests.

use super::Zone;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A running name server; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    tasks: [JoinHandle<()>; 2],
}

struct State {
    zone: RwLock<Zone>,
    questions: AtomicU64,
}

/// TCP clients at a time, and how long one may be silent.
const MOST_CLIENTS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// Listens; with port 0 on a port of the system's choice, the same for UDP and TCP.
    pub async fn start(address: SocketAddr, zone: Zone) -> io::Result<Server> {
        let (udp, tcp) = both(address).await?;
        let address = udp.local_addr()?;
        let state = Arc::new(State { zone: RwLock::new(zone), questions: AtomicU64::new(0) });
        let tasks =
            [tokio::spawn(datagrams(udp, state.clone())), tokio::spawn(connections(tcp, state.clone()))];
        Ok(Server { address, state, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from another zone from now on.
    pub fn replace(&self, zone: Zone) {
        *self.state.zone.write().unwrap_or_else(PoisonError::into_inner) = zone;
    }

    /// How many questions have come.
    pub fn questions(&self) -> u64 {
        self.state.questions.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl State {
    fn respond(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner).clone();
        zone.respond(question, tcp)
    }
}

/// A port that is free for TCP may be taken for UDP: then another one is tried.
async fn both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(e) if address.port() != 0 || tries == 20 => return Err(e),
            Err(_) => tries += 1,
        }
    }
}

async fn datagrams(socket: UdpSocket, state: Arc<State>) {
    let mut buffer = vec![0; 4096];
    loop {
        // An error here is about an earlier answer that could not be delivered.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = state.respond(buffer.get(..length).unwrap_or_default(), false) {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

async fn connections(listener: TcpListener, state: Arc<State>) {
    let slots = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    let _ = client(stream, state).await;
                    drop(slot);
                });
            }
            // Out of descriptors, say: not a reason to spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn client(mut stream: TcpStream, state: Arc<State>) -> io::Result<()> {
    loop {
        let question = tokio::time::timeout(PATIENCE, async {
            let length = stream.read_u16().await?;
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await?;
            io::Result::Ok(question)
        });
        let question = question.await??;
        let Some(answer) = state.respond(&question, true) else { continue };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        tokio::time::timeout(PATIENCE, stream.write_all(&framed)).await??;
    }
}
