//! Defaults that depend on the host or the process: its name, its networks, this program.

use crate::{Config, Problem};
use std::net::IpAddr;
use std::path::Path;

/// The computed default of `name` in the light of `config`; `None` when its default is plain text.
pub(crate) fn default(config: &Config, name: &str) -> Option<String> {
    match name {
        "myhostname" => Some(host_name(config)),
        "mydomain" => Some(domain(config)),
        "mynetworks" => Some(networks(config).unwrap_or_else(|_| "127.0.0.0/8 [::1]/128".into())),
        "config_directory" => Some(config.directory().display().to_string()),
        "process_id" => Some(std::process::id().to_string()),
        "process_name" => {
            let program = std::env::args().next().unwrap_or_default();
            Some(program.rsplit('/').next().unwrap_or_default().to_string())
        }
        _ => None,
    }
}

/// The names whose defaults are computed here.
pub const NAMES: [&str; 6] =
    ["config_directory", "mydomain", "myhostname", "mynetworks", "process_id", "process_name"];

/// The host's own name; without a dot it gets the domain that main.cf names, or `localdomain`.
fn host_name(config: &Config) -> String {
    let host = sys::host::name();
    if host.contains('.') {
        return host;
    }
    let domain = config.explicit("mydomain").map(|raw| raw.text);
    // mydomain = $myhostname would lead back here.
    let domain = domain.filter(|d| !d.contains('$')).unwrap_or_else(|| "localdomain".into());
    format!("{host}.{domain}")
}

/// myhostname without its first part.
fn domain(config: &Config) -> String {
    let host = match config.explicit("myhostname") {
        Some(raw) if !raw.text.contains("mydomain") => config.expand(&raw.text).unwrap_or_default(),
        _ => sys::host::name(),
    };
    host.split_once('.').map_or("localdomain", |(_, d)| d).to_string()
}

/// The networks of this host as `mynetworks_style` says, in the form postconf prints.
fn networks(config: &Config) -> Result<String, Problem> {
    let style = config.get("mynetworks_style")?;
    let protocols = config.get("inet_protocols")?;
    let interfaces = sys::host::interfaces();
    let listen = config.get("inet_interfaces")?;
    let named: Vec<&str> = listen.split([',', ' ', '\t']).filter(|e| !e.is_empty()).collect();
    let all = named.contains(&"all");
    // A host's name stands for its addresses.
    let looked_up: Vec<IpAddr> = named
        .iter()
        .filter(|e| !matches!(**e, "all" | "loopback-only" | "localhost"))
        .filter(|e| e.trim_matches(['[', ']']).parse::<IpAddr>().is_err())
        .filter_map(|e| sys::names::addresses_of(e).ok())
        .flatten()
        .collect();
    let ours = |address: IpAddr| {
        let family = match address {
            IpAddr::V4(_) => protocols.contains("all") || protocols.contains("ipv4"),
            IpAddr::V6(_) => protocols.contains("all") || protocols.contains("ipv6"),
        };
        let written = |e: &&str| e.trim_matches(['[', ']']).parse() == Ok(address);
        let loopback = named.contains(&"loopback-only") || named.contains(&"localhost");
        family
            && (all
                || (loopback && address.is_loopback())
                || looked_up.contains(&address)
                || named.iter().any(written))
    };
    let mut out: Vec<String> = Vec::new();
    for (address, prefix) in interfaces.iter().filter(|(a, _)| ours(*a)) {
        let bits = match (style.as_str(), address) {
            ("host", IpAddr::V4(_)) => 32,
            ("host", IpAddr::V6(_)) => 128,
            ("class", IpAddr::V4(a)) => match a.octets()[0] {
                0..128 => 8,
                128..192 => 16,
                192..224 => 24,
                _ => 4,
            },
            ("class" | "subnet", _) => *prefix,
            _ => {
                let what = format!("unknown mynetworks mask style value {style:?}");
                return Err(Problem::of("mynetworks_style", what, "write host, subnet or class"));
            }
        };
        let text = match address {
            IpAddr::V4(a) => {
                let net = u32::from(*a) & u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
                format!("{}/{bits}", std::net::Ipv4Addr::from(net))
            }
            IpAddr::V6(a) => {
                let net = u128::from(*a) & u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
                format!("[{}]/{bits}", std::net::Ipv6Addr::from(net))
            }
        };
        if !out.contains(&text) {
            out.push(text);
        }
    }
    Ok(out.join(" "))
}

/// The first line of a file that stands for a value, as `myorigin = /etc/mailname`.
pub(crate) fn first_line(path: &Path) -> Result<String, Problem> {
    let text = std::fs::read_to_string(path).map_err(|e| Problem {
        place: None,
        name: None,
        what: format!("open {}: {}", path.display(), crate::main_cf::sys_text(&e)),
        remedy: "create it with the mail name in its first line, or write the name into main.cf".into(),
    })?;
    let line = text.lines().next().unwrap_or_default().trim().to_string();
    if line.is_empty() {
        return Err(Problem {
            place: None,
            name: None,
            what: format!("{} has no name in its first line", path.display()),
            remedy: "write the mail name there, or into main.cf".into(),
        });
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_text(Path::new("/etc/postfix"), text).unwrap()
    }

    #[test]
    fn names() {
        let c = config("myhostname = mx.example.org");
        assert_eq!(c.get("mydomain").unwrap(), "example.org");
        assert_eq!(config("myhostname = mx").get("mydomain").unwrap(), "localdomain");
        assert_eq!(config("myhostname = mx.").get("mydomain").unwrap(), "");
        assert!(config("").get("myhostname").unwrap().contains('.'));
        let host = config("mydomain = example.net").get("myhostname").unwrap();
        assert!(sys::host::name().contains('.') || host.ends_with(".example.net"), "{host}");
        let odd = config("mydomain = x.$myhostname\nmyhostname = $mydomain");
        assert!(odd.get("mydomain").is_err());
        assert_eq!(c.get("config_directory").unwrap(), "/etc/postfix");
    }

    #[test]
    fn networks_by_style() {
        let own = config("inet_interfaces = loopback-only\ninet_protocols = ipv4\nmynetworks_style = host");
        assert_eq!(own.get("mynetworks").unwrap(), "127.0.0.1/32");
        let class = own.with([("mynetworks_style", "class")]);
        assert_eq!(class.get("mynetworks").unwrap(), "127.0.0.0/8");
    }

    #[test]
    fn a_file_may_be_the_value_of_myorigin() {
        let path = std::env::temp_dir().join(format!("valija-mailname-{}", std::process::id()));
        std::fs::write(&path, "example.com\n\n").unwrap();
        let c = config(&format!("myorigin = {}\n", path.display()));
        let origin = c.typed::<String>("myorigin", (None, None), &mut Vec::new());
        assert_eq!(origin.as_deref(), Some("example.com"));
        std::fs::remove_file(&path).unwrap();
        let mut problems = Vec::new();
        assert_eq!(c.typed::<String>("myorigin", (None, None), &mut problems), None);
        assert!(problems[0].to_string().contains("/etc/postfix/main.cf, line 1: "), "{}", problems[0]);
    }
}
