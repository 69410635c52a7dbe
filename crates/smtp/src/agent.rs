//! The queue manager's agent for SMTP and LMTP: all services of master.cf that run either.

use crate::delivery::Delivery;
use crate::events::Doubt;
use crate::pool::Pool;
use crate::route::Protocol;
use crate::settings::{Around, Settings};
use config::master_cf::{Kind, Services};
use config::{Config, Problem};
use net::dns::Resolver;
use qmgr::agent::{Agent, Done, Request};
use rewrite::Rewriter;
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use tables::Types;

/// What the client needs from the rest of the program.
pub struct Surroundings<'a> {
    /// Table types.
    pub types: &'a Types,
    /// For generic addresses.
    pub rewriter: Arc<Rewriter>,
    /// `inet_interfaces`.
    pub own: &'a [IpAddr],
    /// Who answers about names; shared by all, and kept across reloads.
    pub resolver: Resolver,
}

/// One service.
pub(crate) struct Service {
    pub settings: Settings,
    pub resolver: Resolver,
    pub pool: Arc<Pool>,
}

/// The agent for the commands `smtp` and `lmtp`.
pub struct Client {
    services: HashMap<String, Arc<Service>>,
}

impl Client {
    /// Reads the settings of all services. A connection is never shared by two of them, nor kept across
    /// a reload.
    pub fn load(
        config: &Config,
        services: &Services,
        around: &Surroundings<'_>,
    ) -> Result<Client, Vec<Problem>> {
        let mut all = HashMap::new();
        for service in services.all.iter().filter(|s| s.kind == Kind::Unix) {
            let protocol = match service.command() {
                "smtp" => Protocol::Smtp,
                "lmtp" => Protocol::Lmtp,
                _ => continue,
            };
            let needs = Around { types: around.types, rewriter: around.rewriter.clone(), own: around.own };
            let settings = Settings::load(&service.config(config), protocol, &needs)?;
            for what in &settings.tls.doubts {
                settings.voice.say(&Doubt { what: what.clone() });
            }
            let pool = Pool::new(settings.reuse.idle, settings.skip_quit);
            let resolver = around.resolver.completing(settings.completion);
            let service_of = Service { settings, resolver, pool };
            all.insert(service.name.clone(), Arc::new(service_of));
        }
        Ok(Client { services: all })
    }

    async fn attempt(&self, request: Request) -> Done {
        let Some(service) = self.services.get(&request.transport) else { return Done::default() };
        Delivery::new(service, &request).run().await
    }
}

impl Agent for Client {
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>> {
        Box::pin(self.attempt(request))
    }
}
