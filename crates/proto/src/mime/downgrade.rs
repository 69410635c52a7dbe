//! 8-bit messages for hosts that take only seven bits: entities declared `8bit` or `binary` become
//! quoted-printable, and multiparts and enclosed messages around them say `7bit`. RFC 6152 3, RFC 2045 6.7
//!
//! What is not declared is not touched: bytes above 127 in an entity that says `7bit`, or says
//! nothing, pass as they are. So does every header. Lines that are converted are broken, with `=`,
//! after column 72.

use super::content::{Domain, Kind};
use super::{Entity, Fault, Limits, Part, Scanner};
use crate::header::{self, Field};

/// Past this column a quoted-printable line is broken.
const WIDTH: usize = 72;

/// Converts one message as it streams through.
#[derive(Debug)]
pub struct Downgrade {
    header: header::Scanner,
    scanner: Scanner,
    writer: Writer,
}

#[derive(Debug)]
struct Writer {
    /// Text that comes is encoded.
    encoding: bool,
    /// So many characters stand in the present output line.
    column: usize,
    /// White space that must not end a line, not written yet.
    held: Option<u8>,
    /// A carriage return, perhaps of a line end.
    cr: bool,
    fault: Option<Fault>,
}

impl Downgrade {
    /// For one message.
    pub fn new(limits: Limits) -> Downgrade {
        Downgrade {
            header: header::Scanner::new(limits.header),
            scanner: Scanner::new(limits, false),
            writer: Writer { encoding: false, column: 0, held: None, cr: false, fault: None },
        }
    }

    /// Takes the next piece of the message, cut anywhere, lines ended by CRLF; appends to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let (scanner, writer) = (&mut self.scanner, &mut self.writer);
        self.header.feed(bytes, &mut |part| primary(scanner, writer, part, out));
    }

    /// The message is complete. An error: it has parts nested deeper than the limit, so that it is
    /// not converted as it should, and must not be sent.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (scanner, writer) = (&mut self.scanner, &mut self.writer);
        // A header that only the end of the message ends gets no empty line.
        self.header.finish(&mut |part| match part {
            header::Part::EndOfHeader { .. } => end_of_primary(scanner, writer, out),
            header::Part::Body(bytes) => {
                out.extend_from_slice(b"\r\n");
                scanner.feed(bytes, &mut |part| writer.take(part, out));
            }
            part => primary(scanner, writer, part, out),
        });
        scanner.finish(&mut |part| writer.take(part, out));
        writer.end_line(out);
        writer.fault.map_or(Ok(()), Err)
    }
}

fn primary(scanner: &mut Scanner, writer: &mut Writer, part: header::Part<'_>, out: &mut Vec<u8>) {
    match part {
        header::Part::Field(field) => {
            scanner.primary(&field, &mut |part| writer.hear(part));
            if !(field.is("content-transfer-encoding") && scanner.entity().domain != Domain::SevenBit) {
                put(&field, out);
            }
        }
        header::Part::EndOfHeader { .. } => {
            end_of_primary(scanner, writer, out);
            out.extend_from_slice(b"\r\n");
        }
        header::Part::Body(bytes) => scanner.feed(bytes, &mut |part| writer.take(part, out)),
    }
}

fn end_of_primary(scanner: &mut Scanner, writer: &mut Writer, out: &mut Vec<u8>) {
    let entity = scanner.end_of_primary(&mut |part| writer.hear(part));
    writer.begin(entity, out);
}

fn put(field: &Field<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(field.raw());
    out.extend_from_slice(b"\r\n");
}

impl Writer {
    fn hear(&mut self, part: Part<'_>) {
        if let Part::Fault(Fault::Nesting, _) = part {
            self.fault = Some(Fault::Nesting);
        }
    }

    fn take(&mut self, part: Part<'_>, out: &mut Vec<u8>) {
        match part {
            Part::Field(_, field) => {
                let eight = super::content::encoding(field.value()).0 != Domain::SevenBit;
                if !(field.is("content-transfer-encoding") && eight) {
                    put(&field, out);
                }
            }
            Part::EndOfHeader { entity, blank } => {
                self.begin(entity, out);
                if blank {
                    out.extend_from_slice(b"\r\n");
                }
            }
            Part::Boundary(line) => {
                self.end_line(out);
                self.encoding = false;
                out.extend_from_slice(line);
            }
            Part::Text(bytes) if self.encoding => bytes.iter().for_each(|b| self.encode(*b, out)),
            Part::Text(bytes) => out.extend_from_slice(bytes),
            Part::Fault(..) => self.hear(part),
        }
    }

    /// A header ends: says how its entity is encoded now, if that changes.
    fn begin(&mut self, entity: Entity, out: &mut Vec<u8>) {
        self.encoding = false;
        if entity.domain == Domain::SevenBit {
            return;
        }
        // What is enclosed without a structure is encoded though it says 7bit: better than bytes that
        // the other host may refuse or spoil, and what Postfix does.
        self.encoding = matches!(entity.kind, Kind::Text | Kind::Enclosed);
        let word = if entity.kind == Kind::Text { "quoted-printable" } else { "7bit" };
        out.extend_from_slice(b"Content-Transfer-Encoding: ");
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn encode(&mut self, b: u8, out: &mut Vec<u8>) {
        if b == b'\n' {
            self.cr = false;
            if let Some(space) = self.held.take() {
                hexadecimal(space, out);
            }
            self.column = 0;
            out.extend_from_slice(b"\r\n");
            return;
        }
        if std::mem::take(&mut self.cr) {
            self.write(b'\r', out);
        }
        if b == b'\r' {
            self.cr = true;
        } else {
            self.write(b, out);
        }
    }

    fn write(&mut self, b: u8, out: &mut Vec<u8>) {
        if let Some(space) = self.held.take() {
            out.push(space);
            self.column += 1;
        }
        if self.column > WIDTH {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        match b {
            b' ' | b'\t' => self.held = Some(b),
            b'!'..=b'<' | b'>'..=b'~' => {
                out.push(b);
                self.column += 1;
            }
            _ => {
                hexadecimal(b, out);
                self.column += 3;
            }
        }
    }

    /// What was encoded ends without a line end.
    fn end_line(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.cr) {
            self.write(b'\r', out);
        }
        if let Some(space) = self.held.take() {
            hexadecimal(space, out);
        }
        self.column = 0;
    }
}

fn hexadecimal(b: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'=', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
}

/// The whole of a message at once.
pub fn whole(message: &[u8], limits: Limits) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8);
    let mut downgrade = Downgrade::new(limits);
    downgrade.feed(message, &mut out);
    downgrade.finish(&mut out).map(|()| out)
}

#[cfg(test)]
mod tests;
