//! What the files become: pure, so that it can be compared byte by byte with what Debian's package
//! writes. A main.cf that exists keeps what the package would keep: only what a flag or an answer
//! names, and what belongs to the type, is edited in place.

use super::host::{Host, NETWORKS};
use super::options::{Options, Type};
use crate::commands::postconf::set_in_main;

/// The beginning of a new main.cf, as Debian's.
const MAIN: &str = include_str!("../../../../../packaging/main.cf");
/// What follows when there is a certificate.
const MAIN_TLS: &str = include_str!("../../../../../packaging/main.cf.tls");
/// A new master.cf, with Debian's services.
pub(super) const MASTER: &str = include_str!("../../../../../packaging/master.cf");
/// A new /etc/aliases.
const ALIASES: &str = "# See man 5 aliases for format\npostmaster:    root\n";

/// The files as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) main: Option<Vec<u8>>,
    pub(super) master: Option<Vec<u8>>,
    pub(super) mail_name: Option<Vec<u8>>,
    pub(super) aliases: Option<Vec<u8>>,
}

/// The files as they shall be; what stays is as it was.
pub(super) struct Plan {
    pub(super) files: Files,
    /// What the administrator should know.
    pub(super) notes: Vec<String>,
}

/// Settings that main.cf has now.
pub(in crate::commands) type Current<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Makes the plan. `current` tells the value of a parameter, expanded, of the main.cf that exists.
pub(super) fn make(options: &Options, host: &Host, old: &Files, current: Current) -> Plan {
    let kind = options.kind.unwrap_or(Type::None);
    let mut plan = Plan { files: old.clone(), notes: Vec::new() };
    if old.master.is_none() {
        plan.files.master = Some(MASTER.into());
    }
    if kind != Type::None {
        let fresh = old.main.is_none();
        let mut named = host.clone();
        if let Some(name) = &options.host_name {
            named.full_name = Some(name.clone());
        }
        let settings = match fresh {
            true => new_settings(options, kind, &named, &mut plan),
            false => changed_settings(options, kind, current, &mut plan),
        };
        let begin = || {
            let tls = if host.certificate { MAIN_TLS } else { "" };
            format!("{MAIN}{tls}").into_bytes()
        };
        let mut main = set_in_main(&old.main.clone().unwrap_or_else(begin), &settings);
        if options.networks.as_deref() == Some("") {
            main = crate::commands::postconf::remove_from_main(&main, &["mynetworks"]);
        }
        plan.files.main = Some(main);
    }
    aliases(options, &mut plan);
    plan
}

type Settings = Vec<(String, String)>;

fn set(settings: &mut Settings, name: &str, value: &str) {
    settings.push((name.to_string(), value.to_string()));
}

fn set_if(settings: &mut Settings, name: &str, value: &Option<String>) {
    if let Some(value) = value.as_ref().filter(|v| !(v.is_empty() && name == "mynetworks")) {
        set(settings, name, value);
    }
}

fn interfaces(kind: Type) -> &'static str {
    if matches!(kind, Type::Satellite | Type::Local) { "loopback-only" } else { "all" }
}

/// All that a main.cf begins with, in the order in which the package writes it.
fn new_settings(options: &Options, kind: Type, host: &Host, plan: &mut Plan) -> Settings {
    let mut list = Settings::new();
    let set = |list: &mut Settings, name: &str, value: &str| set(list, name, value);
    let my_host_name = host.my_host_name();
    let mail_name = options.mail_name.clone().unwrap_or_else(|| host.proposed_mail_name());
    let restrictions = "permit_mynetworks permit_sasl_authenticated defer_unauth_destination";
    set(&mut list, "smtpd_relay_restrictions", restrictions);
    if !my_host_name.is_empty() {
        set(&mut list, "myhostname", &my_host_name);
    }
    if !my_host_name.contains('.') || my_host_name.ends_with(".UNKNOWN") {
        plan.notes.push(format!(
            "the host name {my_host_name:?} has no domain, and other hosts may refuse it; name the host in \
             /etc/hosts (127.0.1.1 host.example.org host), or give --hostname"
        ));
    }
    set(&mut list, "alias_maps", "hash:/etc/aliases");
    set(&mut list, "alias_database", "hash:/etc/aliases");
    if origin(&mail_name, plan) {
        set(&mut list, "myorigin", "/etc/mailname");
    }
    let destinations =
        options.destinations.clone().unwrap_or_else(|| host.destinations(kind == Type::Internet, &mail_name));
    set(&mut list, "mydestination", &destinations);
    let relay = options.relay_host.clone().filter(|_| kind.relays());
    let relay = relay.or_else(|| kind.relays().then(|| host.proposed_relay()));
    set(&mut list, "relayhost", &relay.unwrap_or_default());
    let networks = options.networks.clone().unwrap_or_else(|| NETWORKS.to_string());
    set_if(&mut list, "mynetworks", &Some(networks));
    if options.procmail.unwrap_or(host.procmail) {
        set(&mut list, "mailbox_command", PROCMAIL);
    }
    set(&mut list, "mailbox_size_limit", options.mailbox_limit.as_deref().unwrap_or("0"));
    set(&mut list, "recipient_delimiter", options.delimiter.as_deref().unwrap_or("+"));
    set(&mut list, "inet_interfaces", interfaces(kind));
    if kind == Type::Local {
        set(&mut list, "default_transport", "error");
        set(&mut list, "relay_transport", "error");
    }
    set(&mut list, "inet_protocols", options.protocols.as_deref().unwrap_or(host.internet_protocols()));
    list
}

const PROCMAIL: &str = "procmail -a \"$EXTENSION\"";

/// What changes in a main.cf that exists.
fn changed_settings(options: &Options, kind: Type, current: Current, plan: &mut Plan) -> Settings {
    let mut list = Settings::new();
    set_if(&mut list, "myhostname", &options.host_name);
    if let Some(name) = &options.mail_name
        && origin(name, plan)
    {
        set(&mut list, "myorigin", "/etc/mailname");
        let destinations = current("mydestination").unwrap_or_default();
        let home = config::value::split_list(&destinations).iter().any(|d| d.eq_ignore_ascii_case(name));
        if kind == Type::Internet && options.destinations.is_none() && !home {
            plan.notes.push(format!(
                "mydestination stays {destinations:?}: mail for {name} is not delivered here; --destinations changes it"
            ));
        }
    }
    set_if(&mut list, "mydestination", &options.destinations);
    let relay = options.relay_host.clone().filter(|_| kind.relays());
    let kept = relay.or_else(|| current("relayhost").filter(|_| kind.relays()));
    if !(kind.relays() && options.relay_host.is_none()) {
        set(&mut list, "relayhost", &kept.unwrap_or_default());
    }
    set_if(&mut list, "mynetworks", &options.networks);
    match options.procmail {
        Some(true) => set(&mut list, "mailbox_command", PROCMAIL),
        Some(false) if current("mailbox_command").is_some_and(|c| !c.is_empty()) => {
            set(&mut list, "mailbox_command", "")
        }
        _ => {}
    }
    set_if(&mut list, "mailbox_size_limit", &options.mailbox_limit);
    set_if(&mut list, "recipient_delimiter", &options.delimiter);
    set(&mut list, "inet_interfaces", interfaces(kind));
    // Somebody who chose another transport keeps it, unless mail shall stay here from now on.
    let transport = current("default_transport").unwrap_or_else(|| "smtp".into());
    let wanted = match (kind, transport.as_str()) {
        (Type::Local, _) => "error",
        (_, "error") => "smtp",
        (_, other) => other,
    };
    if transport != wanted {
        set(&mut list, "default_transport", wanted);
        set(&mut list, "relay_transport", wanted);
    }
    set_if(&mut list, "inet_protocols", &options.protocols);
    list
}

/// Files the mail name; false when the package would not take it.
fn origin(mail_name: &str, plan: &mut Plan) -> bool {
    if !mail_name.contains('.') {
        plan.notes.push(format!(
            "the mail name {mail_name:?} has no domain: /etc/mailname and myorigin stay as they are; --mailname example.org sets both"
        ));
        return false;
    }
    let filed = plan.files.mail_name.as_deref().map(|b| String::from_utf8_lossy(b).trim_end().to_string());
    if !filed.is_some_and(|f| f.eq_ignore_ascii_case(mail_name)) {
        plan.files.mail_name = Some(format!("{mail_name}\n").into_bytes());
    }
    true
}

fn aliases(options: &Options, plan: &mut Plan) {
    let mut text = plan.files.aliases.clone().unwrap_or_else(|| ALIASES.into());
    let target = options.root_mail.as_deref().unwrap_or_default();
    let row = String::from_utf8_lossy(&text).lines().find_map(|l| {
        l.split_once(':').filter(|(key, _)| key.trim() == "root").map(|(_, v)| v.trim().to_string())
    });
    match row {
        None if !target.is_empty() => {
            if text.last().is_some_and(|b| *b != b'\n') {
                text.push(b'\n');
            }
            text.extend_from_slice(format!("root:\t{target}\n").as_bytes());
        }
        None => plan.notes.push(
            "root's mail goes to the mailbox of the user nobody; --root-mail USER sends it to somebody who reads it".to_string(),
        ),
        Some(there) if !target.is_empty() && there != target => plan.notes.push(format!(
            "/etc/aliases sends root's mail to {there} already, and that stays; edit the row and run newaliases"
        )),
        Some(_) => {}
    }
    plan.files.aliases = Some(text);
}
