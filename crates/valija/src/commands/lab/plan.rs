//! The lab's small Internet: its hosts with their addresses and settings, its people, and what its name server knows.

/// Whose mail system runs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// This one.
    Valija,
    /// The Postfix that is installed on the machine.
    Postfix,
}

/// Who decides what runs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// `--mail1`: where mail begins.
    First,
    /// `--mail2`: where it arrives.
    Second,
    /// Nobody: there is no mail system, only somebody who types.
    Client,
    /// The wire between all, and the name server.
    Names,
}

/// A host.
pub(super) struct Host {
    /// How it is called in the lab.
    pub(super) name: &'static str,
    /// Its full name.
    pub(super) fqdn: &'static str,
    pub(super) addresses: &'static [&'static str],
    pub(super) side: Side,
    /// Words for `valija setup`.
    pub(super) setup: &'static str,
    /// Settings beyond what that writes.
    pub(super) settings: &'static str,
    pub(super) aliases: &'static str,
    /// What it is there for.
    pub(super) what: &'static str,
}

/// Where the name server is.
pub(super) const DNS: &str = "10.77.0.53";

/// The networks, which all lie on one wire.
pub(super) const NETWORKS: [&str; 3] = ["10.77.0.0/16", "192.168.1.0/24", "fd00:77::/64"];

/// The people of every host: name, user id, full name.
pub(super) const USERS: &str = "debian:1000:Debian\njose:1001:Jose Domingo\nusuario:1002:Usuario\nalumno:1003:Alumno\njosedom24:1004:Jose";

/// The wire and the name server.
pub(super) const NAMES: Host = Host {
    name: "internet",
    fqdn: "internet.test",
    addresses: &["10.77.0.53/16"],
    side: Side::Names,
    setup: "",
    settings: "",
    aliases: "",
    what: "the wire, and the name server",
};

/// The hosts, those that others need first.
pub(super) const HOSTS: [Host; 8] = [
    Host {
        name: "mail2",
        fqdn: "mail.mail2.org",
        addresses: &["10.77.2.10/16", "fd00:77::2:10/64"],
        side: Side::Second,
        setup: "internet --mailname mail2.org",
        settings: "mydestination = $myhostname, mail2.org, josedomingo.org, juntadeandalucia.es, localhost",
        aliases: "",
        what: "the server of mail2.org, josedomingo.org and juntadeandalucia.es",
    },
    Host {
        name: "smarthost",
        fqdn: "macaco.gonzalonazareno.org",
        addresses: &["10.77.3.10/16"],
        side: Side::Second,
        setup: "internet --mailname macaco.gonzalonazareno.org",
        settings: "mynetworks = 127.0.0.0/8 10.77.1.0/24",
        aliases: "",
        what: "mail.gonzalonazareno.org, the relay host of 10.77.1.0/24",
    },
    Host {
        name: "mail1",
        fqdn: "mail.mail1.org",
        addresses: &["10.77.1.10/16", "fd00:77::1:10/64"],
        side: Side::First,
        setup: "internet --mailname mail1.org",
        settings: "",
        aliases: "fuera: usuario@mail2.org",
        what: "the server of mail1.org",
    },
    Host {
        name: "horus",
        fqdn: "horus.gonzalonazareno.org",
        addresses: &["10.77.1.30/16"],
        side: Side::First,
        setup: "smarthost --mailname gonzalonazareno.org --relayhost mail.gonzalonazareno.org",
        settings: "mynetworks = 127.0.0.0/8 [::1]/128 192.168.1.0/24",
        aliases: "",
        what: "a server whose mail leaves through the relay host",
    },
    Host {
        name: "maquina",
        fqdn: "maquina.gonzalonazareno.org",
        addresses: &["192.168.1.30/24"],
        side: Side::First,
        setup: "satellite --mailname maquina.gonzalonazareno.org --relayhost horus.gonzalonazareno.org",
        settings: "",
        aliases: "",
        what: "a satellite of the local network: horus takes all its mail",
    },
    Host {
        name: "avatar",
        fqdn: "avatar.doesntexist.org",
        addresses: &["192.168.1.1/24", "10.77.1.40/16"],
        side: Side::First,
        setup: "internet --mailname avatar.doesntexist.org",
        settings: "mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.168.1.0/24",
        aliases: "",
        what: "the server of the local network 192.168.1.0/24",
    },
    Host {
        name: "pc20",
        fqdn: "pc20.doesntexist.org",
        addresses: &["192.168.1.20/24"],
        side: Side::Client,
        setup: "",
        settings: "",
        aliases: "",
        what: "a client of the local network, without a mail system",
    },
    Host {
        name: "outside",
        fqdn: "pc.outside.org",
        addresses: &["10.77.9.9/16"],
        side: Side::Client,
        setup: "",
        settings: "",
        aliases: "",
        what: "a stranger's computer, without a mail system",
    },
];

/// What the name server knows.
pub(super) const ZONE: &str = "
mail1.org                    MX    10 mail.mail1.org
mail.mail1.org               A     10.77.1.10
mail.mail1.org               AAAA  fd00:77::1:10
10.77.1.10                   PTR   mail.mail1.org
fd00:77::1:10                PTR   mail.mail1.org
mail2.org                    MX    10 mail.mail2.org
josedomingo.org              MX    10 mail.mail2.org
mail.mail2.org               A     10.77.2.10
mail.mail2.org               AAAA  fd00:77::2:10
10.77.2.10                   PTR   mail.mail2.org
fd00:77::2:10                PTR   mail.mail2.org
juntadeandalucia.es          MX    10 mail.juntadeandalucia.es
mail.juntadeandalucia.es     A     10.77.2.10
gonzalonazareno.org          MX    10 horus.gonzalonazareno.org
mail.gonzalonazareno.org     CNAME macaco.gonzalonazareno.org
macaco.gonzalonazareno.org   A     10.77.3.10
10.77.3.10                   PTR   macaco.gonzalonazareno.org
horus.gonzalonazareno.org    A     10.77.1.30
10.77.1.30                   PTR   horus.gonzalonazareno.org
maquina.gonzalonazareno.org  A     192.168.1.30
192.168.1.30                 PTR   maquina.gonzalonazareno.org
avatar.doesntexist.org       A     192.168.1.1
avatar.doesntexist.org       A     10.77.1.40
192.168.1.1                  PTR   avatar.doesntexist.org
10.77.1.40                   PTR   avatar.doesntexist.org
pc20.doesntexist.org         A     192.168.1.20
192.168.1.20                 PTR   pc20.doesntexist.org
outside.org                  MX    10 pc.outside.org
pc.outside.org               A     10.77.9.9
10.77.9.9                    PTR   pc.outside.org
nullmx.org                   MX    0 .
";

/// A host by its name in the lab.
pub(super) fn host(name: &str) -> Option<&'static Host> {
    HOSTS.iter().find(|host| host.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_can_be_read_and_knows_every_host() {
        net::dns::Zone::parse(ZONE).unwrap();
        for host in &HOSTS {
            assert!(ZONE.contains(host.fqdn), "{}", host.fqdn);
            for address in host.addresses {
                let (address, _) = address.split_once('/').unwrap();
                assert!(ZONE.contains(address), "{address}");
            }
        }
    }
}
