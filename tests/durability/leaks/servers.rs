//! What a mail system has beside it: a host that takes its mail, a policy service, a milter.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Serves each connection with a thread of its own; gives the port.
fn listen(serve: fn(TcpStream) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(120)))?;
                serve(stream)
            });
        }
    });
    port
}

/// A server that takes everything but mail for nobody.
pub fn sink() -> u16 {
    listen(serve)
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    lines.get_mut().write_all(b"220 sink ESMTP\r\n")?;
    let (mut line, mut content) = (String::new(), false);
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match line.trim_end() {
            "." => {
                content = false;
                "250 2.0.0 taken\r\n"
            }
            _ if content => continue,
            "DATA" => {
                content = true;
                "354 go\r\n"
            }
            "QUIT" => "221 2.0.0 bye\r\n",
            l if l.starts_with("EHLO") => "250-sink\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n",
            l if l.starts_with("RCPT TO:<nobody") => "550 5.1.1 nobody\r\n",
            _ => "250 2.0.0 ok\r\n",
        };
        lines.get_mut().write_all(reply.as_bytes())?;
    }
}

/// A policy service: refuses the sender `refused`, puts `later` off, says nothing to `silence` but hangs up.
pub fn policy() -> u16 {
    listen(|stream| {
        let mut lines = BufReader::new(stream);
        let (mut line, mut action) = (String::new(), "DUNNO");
        while lines.read_line(&mut line)? > 0 {
            match line.trim_end() {
                "" if action.is_empty() => return Ok(()),
                "" => {
                    lines.get_mut().write_all(format!("action={action}\n\n").as_bytes())?;
                    action = "DUNNO";
                }
                l if l.starts_with("sender=refused@") => action = "REJECT not you",
                l if l.starts_with("sender=later@") => action = "DEFER not now",
                l if l.starts_with("sender=silence@") => action = "",
                _ => {}
            }
            line.clear();
        }
        Ok(())
    })
}

/// A milter: adds a header to each message, refuses those with `refuse` in their subject, and hangs up at
/// `silence`.
pub fn milter() -> u16 {
    listen(|mut stream| {
        let mut said: &[u8] = b"c";
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut packet = vec![0; (u32::from_be_bytes(length) as usize).min(1 << 20)];
            stream.read_exact(&mut packet)?;
            let has = |word: &[u8]| packet.windows(word.len()).any(|w| w == word);
            let mut say = |answer: &[u8]| {
                let length = (answer.len() as u32).to_be_bytes();
                stream.write_all(&[&length, answer].concat())
            };
            match packet.first() {
                // Version 6; it may add headers; it sees every step.
                Some(b'O') => say(b"O\0\0\0\x06\0\0\0\x01\0\0\0\0")?,
                Some(b'D') => {}
                Some(b'A') => said = b"c",
                Some(b'Q') | None => return Ok(()),
                Some(b'L') if has(b"silence") => return Ok(()),
                Some(b'L') if has(b"refuse") => {
                    said = b"r";
                    say(b"c")?;
                }
                Some(b'E') => {
                    say(b"hX-Seen\0yes\0")?;
                    say(said)?;
                    said = b"c";
                }
                Some(_) => say(b"c")?,
            }
        }
    })
}
