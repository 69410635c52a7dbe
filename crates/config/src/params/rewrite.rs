//! Parameters of address rewriting and routing.

use crate::params;
use crate::value::{Bool, Count, List, Text};

params! {
    /// What an address means here.
    Rewrite {
        /// Complete `user` to `user@$myorigin`.
        append_at_myorigin: Bool = "yes";
        /// Complete `user@host` to `user@host.$mydomain`.
        append_dot_mydomain: Bool = "${{$compatibility_level} <level {1} ? {yes} : {no}}";
        /// Read `site!user` as `user@site`.
        swap_bangpath: Bool = "yes";
        /// Read `user%domain` as `user@domain`.
        allow_percent_hack: Bool = "yes";
        /// Accept addresses that begin with a hyphen, which commands may take for options.
        allow_min_user: Bool = "no";
        /// Look into quoted local parts of local addresses for routing operators.
        resolve_dequoted_address: Bool = "yes";
        /// Who gets mail to the null address.
        empty_address_recipient: Text = "MAILER-DAEMON";
        /// Addresses of proxies and translators in front of this host.
        proxy_interfaces: List = "";
        /// Lists in which a parent domain stands for its subdomains.
        parent_domain_matches_subdomains: List = "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients,relay_domains,smtpd_access_maps";
        /// Domains whose waiting mail `postqueue -s` and ETRN may have tried again.
        fast_flush_domains: List = "$relay_domains";
        /// The transport of local domains.
        local_transport: Text = "local:$myhostname";
        /// The transport of virtual mailbox domains.
        virtual_transport: Text = "virtual";
        /// The transport of relay domains.
        relay_transport: Text = "relay";
        /// The transport of all other domains.
        default_transport: Text = "smtp";
        /// Where mail for other domains goes instead of to their mail servers.
        relayhost: Text = "";
        /// Transport and next hop by address or domain.
        transport_maps: List = "";
        /// The relay host by sender.
        sender_dependent_relayhost_maps: List = "";
        /// The default transport by sender.
        sender_dependent_default_transport_maps: List = "";
        /// What stands for the null sender in sender_dependent_relayhost_maps.
        empty_address_relayhost_maps_lookup_key: Text = "<>";
        /// What stands for the null sender in sender_dependent_default_transport_maps.
        empty_address_default_transport_maps_lookup_key: Text = "<>";
        /// Domains that this host relays mail to.
        relay_domains: List = "${{$compatibility_level} <level {2} ? {$mydestination} : {}}";
        /// All valid addresses in relay domains; empty when not known.
        relay_recipient_maps: List = "";
        /// Domains whose addresses are aliases only.
        virtual_alias_domains: List = "$virtual_alias_maps";
        /// Aliases of whole addresses.
        virtual_alias_maps: List = "$virtual_maps";
        /// How deep virtual aliases may lead.
        virtual_alias_recursion_limit: Count = "1000", min 1;
        /// To how many addresses one address may lead.
        virtual_alias_expansion_limit: Count = "1000", min 1;
        /// How long an address from a virtual alias may be.
        virtual_alias_address_length_limit: Count = "1000", min 1;
        /// Domains of virtual mailboxes.
        virtual_mailbox_domains: List = "$virtual_mailbox_maps";
        /// All virtual mailboxes.
        virtual_mailbox_maps: List = "";
        /// All local users and aliases; empty when not known.
        local_recipient_maps: List = "proxy:unix:passwd.byname $alias_maps";
        /// Which mappings keep an address extension that the table did not name.
        propagate_unmatched_extensions: List = "canonical, virtual";
        /// Do not split owner-list and list-request at the delimiter.
        owner_request_special: Bool = "yes";
        /// Address mapping for envelopes and headers.
        canonical_maps: List = "";
        /// What canonical_maps applies to.
        canonical_classes: List = "envelope_sender, envelope_recipient, header_sender, header_recipient";
        /// Address mapping for senders.
        sender_canonical_maps: List = "";
        /// What sender_canonical_maps applies to.
        sender_canonical_classes: List = "envelope_sender, header_sender";
        /// Address mapping for recipients.
        recipient_canonical_maps: List = "";
        /// What recipient_canonical_maps applies to.
        recipient_canonical_classes: List = "envelope_recipient, header_recipient";
        /// Domains that hide the names of the hosts below them; `!host` is not hidden.
        masquerade_domains: List = "";
        /// What masquerade_domains applies to.
        masquerade_classes: List = "envelope_sender, header_sender, header_recipient";
        /// Users whose addresses keep the name of their host.
        masquerade_exceptions: List = "";
        /// Who gets a copy of mail from whom.
        sender_bcc_maps: List = "";
        /// Who gets a copy of mail to whom.
        recipient_bcc_maps: List = "";
        /// Addresses that have moved, and where to.
        relocated_maps: List = "";
        /// Take an address without a domain after its `@` for one of this host.
        resolve_null_domain: Bool = "no";
        /// Take `user@1.2.3.4` for `user@[1.2.3.4]`.
        resolve_numeric_domain: Bool = "no";
    }
}
