//! Which transports mail can be routed to: a transport that nothing leads to needs no obeying.

use config::Config;
use config::master_cf::Service;
use config::value::split_list;

/// Tables whose rows may name any transport.
const TABLES: [&str; 9] = [
    "transport_maps",
    "sender_dependent_default_transport_maps",
    "mailbox_transport_maps",
    "fallback_transport_maps",
    "header_checks",
    "mime_header_checks",
    "nested_header_checks",
    "body_checks",
    "smtpd_end_of_data_restrictions",
];

/// Parameters that hold a transport.
const ALWAYS: [&str; 5] =
    ["default_transport", "local_transport", "mailbox_transport", "fallback_transport", "content_filter"];

/// Parameters that hold the transport of a class of domains, and the list of those.
const CLASSES: [(&str, &str); 2] =
    [("relay_transport", "relay_domains"), ("virtual_transport", "virtual_mailbox_domains")];

/// Where mail can go.
pub(super) struct Routes {
    anywhere: bool,
    transports: Vec<String>,
}

impl Routes {
    /// As main.cf and the overrides of master.cf have it.
    pub(super) fn of(main: &Config, services: &[Service]) -> Routes {
        let mut routes = Routes { anywhere: false, transports: Vec::new() };
        let configs = std::iter::once(main.clone())
            .chain(services.iter().filter(|s| !s.overrides.is_empty()).map(|s| s.config(main)));
        for config in configs {
            let get = |name: &str| config.get(name).unwrap_or_default();
            routes.anywhere |= TABLES.iter().any(|name| !get(name).trim().is_empty());
            // An access table may answer FILTER.
            let lists =
                config.set_names().filter(|n| n.starts_with("smtpd_") && n.ends_with("_restrictions"));
            let access = |word: &String| word.starts_with("check_") && word.ends_with("_access");
            routes.anywhere |= lists.into_iter().any(|name| split_list(&get(name)).iter().any(access));
            for name in ALWAYS {
                routes.add(&get(name));
            }
            for (name, domains) in CLASSES {
                if !get(domains).trim().is_empty() {
                    routes.add(&get(name));
                }
            }
        }
        routes
    }

    fn add(&mut self, value: &str) {
        let transport = value.split(':').next().unwrap_or_default().trim();
        if !transport.is_empty() && !self.transports.iter().any(|t| t == transport) {
            self.transports.push(transport.to_string());
        }
    }

    /// Whether mail can go to the transport of this name.
    pub(super) fn lead_to(&self, transport: &str) -> bool {
        self.anywhere || self.transports.iter().any(|t| t == transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(main: &str, master: &str) -> Routes {
        let config = Config::from_text(std::path::Path::new("/nowhere"), main).unwrap();
        let services = config::master_cf::read("/nowhere/master.cf", master).unwrap();
        Routes::of(&config, &services.all)
    }

    #[test]
    fn what_leads_where() {
        let plain = routes("compatibility_level = 3.6\n", "");
        assert!(plain.lead_to("smtp") && plain.lead_to("local"));
        assert!(!plain.lead_to("relay") && !plain.lead_to("virtual") && !plain.lead_to("lmtp"));
        assert!(!routes("default_transport = error\n", "").lead_to("smtp"));
        assert!(routes("compatibility_level = 3.6\nrelay_domains = a.b\n", "").lead_to("relay"));
        assert!(routes("mailbox_transport = lmtp:unix:x\n", "").lead_to("lmtp"));
        assert!(routes("transport_maps = hash:/x\n", "").lead_to("lmtp"));
        assert!(routes("smtpd_client_restrictions = check_client_access hash:/x\n", "").lead_to("lmtp"));
        let filter = "smtp inet n - n - - smtpd\n  -o content_filter=scan:here\n";
        assert!(routes("", filter).lead_to("scan"));
    }
}
