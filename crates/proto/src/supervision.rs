//! What `master` and the roles it starts tell each other, one message each on a socket pair.

/// From `master` to the mail role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A listening socket of this master.cf service comes along.
    Listener {
        /// The service as master.cf names it: `smtp`, `127.0.0.1:10025`.
        service: String,
        /// The address it is bound to.
        address: String,
    },
    /// The channel to the deliver role comes along; the old one, if any, is dead.
    Deliver,
    /// The log file comes along, open for appending: a new one after a rotation.
    Log,
    /// The configuration changed: read it again; all listeners follow anew.
    Reload,
    /// All that belongs to the start or reload was sent: work with it.
    Begin,
    /// Take no more work, write everything down, end.
    Drain,
    /// The answer to `Ask::Open`: the file comes along, or it cannot be had.
    File {
        /// Its path, as it was asked for.
        path: String,
        /// Empty when the file came along.
        error: String,
    },
}

/// From the mail role to `master`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The role works: clients are served.
    Ready,
    /// The role cannot start; the text says why and what to do.
    Failed(String),
    /// Open the file `path`, which the value of parameter `name` mentions.
    Open {
        /// The parameter.
        name: String,
        /// The path.
        path: String,
    },
}

impl Order {
    /// As bytes of one message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Order::Listener { service, address } => format!("listener\n{service}\n{address}"),
            Order::Deliver => "deliver".into(),
            Order::Log => "log".into(),
            Order::Reload => "reload".into(),
            Order::Begin => "begin".into(),
            Order::Drain => "drain".into(),
            Order::File { path, error } => format!("file\n{path}\n{error}"),
        }
        .into_bytes()
    }

    /// From bytes; `None` for what is no order.
    pub fn decode(bytes: &[u8]) -> Option<Order> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (word, rest) = text.split_once('\n').unwrap_or((text, ""));
        Some(match word {
            "listener" => {
                let (service, address) = rest.split_once('\n')?;
                Order::Listener { service: service.into(), address: address.into() }
            }
            "deliver" => Order::Deliver,
            "log" => Order::Log,
            "reload" => Order::Reload,
            "begin" => Order::Begin,
            "drain" => Order::Drain,
            "file" => {
                let (path, error) = rest.split_once('\n')?;
                Order::File { path: path.into(), error: error.into() }
            }
            _ => return None,
        })
    }
}

impl Ask {
    /// As bytes of one message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Ask::Ready => "ready".into(),
            Ask::Failed(why) => format!("failed\n{why}"),
            Ask::Open { name, path } => format!("open\n{name}\n{path}"),
        }
        .into_bytes()
    }

    /// From bytes; `None` for what is no question.
    pub fn decode(bytes: &[u8]) -> Option<Ask> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (word, rest) = text.split_once('\n').unwrap_or((text, ""));
        Some(match word {
            "ready" => Ask::Ready,
            "failed" => Ask::Failed(rest.into()),
            "open" => {
                let (name, path) = rest.split_once('\n')?;
                Ask::Open { name: name.into(), path: path.into() }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back() {
        let orders = [
            Order::Listener { service: "smtp".into(), address: "[::]:25".into() },
            Order::Deliver,
            Order::Log,
            Order::Reload,
            Order::Begin,
            Order::Drain,
            Order::File { path: "/etc/key".into(), error: "no such\nfile".into() },
        ];
        for order in orders {
            assert_eq!(Order::decode(&order.encode()), Some(order));
        }
        let open = Ask::Open { name: "alias_maps".into(), path: "/etc/aliases".into() };
        for ask in [Ask::Ready, Ask::Failed("a\nb".into()), open] {
            assert_eq!(Ask::decode(&ask.encode()), Some(ask));
        }
        assert_eq!(Order::decode(b"listener\nsmtp"), None);
        assert_eq!(Ask::decode(b"\xff"), None);
    }
}
