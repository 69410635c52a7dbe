//! `smtpd_reject_footer`: words below each refusal, with names that stand for what is known of the
//! session. The machine writes all replies; it calls what is made here.

use crate::client::Client;
use crate::events::{TableTrouble, UnknownMacro};
use crate::restrictions::rbl::expand;
use config::params::smtpd::Smtpd;
use proto::smtp::reply::Reply;
use proto::smtp::server;
use std::sync::{Arc, Mutex, PoisonError};
use tables::{Maps, Types};

/// The templates.
pub(crate) struct Footers {
    text: String,
    maps: Maps,
    hostname: String,
    /// `smtpd_expansion_filter`.
    allowed: Vec<u8>,
}

/// What changes in the course of a session.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub(crate) helo: String,
    pub(crate) sender: String,
}

/// Shared by the session, which sets it, and the machine.
pub(crate) type Shown = Arc<Mutex<Scene>>;

impl Footers {
    /// `None` when there are none.
    pub(crate) fn read(smtpd: &Smtpd, hostname: &str, types: &Types) -> Option<Footers> {
        let (text, maps) = (smtpd.smtpd_reject_footer().0.clone(), smtpd.smtpd_reject_footer_maps());
        if text.is_empty() && maps.0.is_empty() {
            return None;
        }
        Some(Footers {
            text,
            maps: Maps::of(types, "smtpd_reject_footer_maps", &maps.0),
            hostname: hostname.to_string(),
            allowed: config::value::unescape(&smtpd.smtpd_expansion_filter().0),
        })
    }

    /// What the machine calls for a session with this client.
    pub(crate) fn of(
        self: &Arc<Self>,
        client: &Client,
        shown: &Shown,
        source: &events::Source,
    ) -> server::Footer {
        let (this, client, shown, source) = (self.clone(), client.clone(), shown.clone(), source.clone());
        Arc::new(move |reply| this.make(reply, &client, &shown, &source))
    }

    fn make(&self, reply: &Reply, client: &Client, shown: &Shown, source: &events::Source) -> Option<String> {
        let template = match self.maps.lookup(&reply.to_string()) {
            Ok(Some(hit)) => hit.value,
            Ok(None) => self.text.clone(),
            Err(error) => {
                source.say(&TableTrouble { what: error.to_string() });
                self.text.clone()
            }
        };
        let scene = shown.lock().unwrap_or_else(PoisonError::into_inner);
        // Escapes are of the template; what strangers say has none.
        let template = template.replace("\\n", "\n");
        let filled = expand(&template, &mut |name| {
            let value = match name {
                "client" => format!("{}[{}]", client.name, client.address),
                "client_address" => client.address.clone(),
                "client_name" => client.name.clone(),
                "client_port" => client.port.clone(),
                "helo_name" => scene.helo.clone(),
                "sender" => scene.sender.clone(),
                "sender_name" => scene.sender.rsplit_once('@').map_or(&*scene.sender, |(n, _)| n).to_string(),
                "sender_domain" => scene.sender.rsplit_once('@').map_or("", |(_, d)| d).to_string(),
                "recipient" | "recipient_name" | "recipient_domain" => String::new(),
                "server_name" => self.hostname.clone(),
                "localtime" => sys::time::syslog_stamp(sys::time::now_micros()),
                name => {
                    source.say(&UnknownMacro { name: name.to_string() });
                    String::new()
                }
            };
            let allowed = |c: char| u8::try_from(c).is_ok_and(|b| self.allowed.contains(&b));
            Some(value.chars().map(|c| if allowed(c) { c } else { '_' }).collect())
        });
        filled.filter(|text| !text.is_empty())
    }
}
