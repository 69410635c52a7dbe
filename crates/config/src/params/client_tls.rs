//! Parameters of encryption on the way to servers.

use crate::params;
use crate::value::{Bool, Count, List, Text, Time};

params! {
    /// Encryption of the SMTP client.
    SmtpTls {
        /// Whether connections are encrypted, and what servers must prove: none, may, encrypt, dane, dane-only, fingerprint, verify or secure.
        smtp_tls_security_level: Text = "";
        /// The old way to say `smtp_tls_security_level = may`; the new one counts when it is set.
        smtp_use_tls: Bool = "no";
        /// The old way to say `smtp_tls_security_level = verify` (`encrypt` without smtp_tls_enforce_peername); the new one counts when it is set.
        smtp_enforce_tls: Bool = "no";
        /// Whether smtp_enforce_tls asks for the server's name, too.
        smtp_tls_enforce_peername: Bool = "yes";
        /// The old tables of policies, by next hop and by host: NONE, MAY, MUST or MUST_NOPEERMATCH. Not read when smtp_tls_policy_maps is set.
        smtp_tls_per_site: List = "";
        /// Tables of levels by next hop as it is routed, or `.parent` domain, each with what differs there (match=, protocols=, ciphers=, exclude=, servername=, tafile=, connection_reuse=).
        smtp_tls_policy_maps: List = "";
        /// How long STARTTLS and its handshake may take.
        smtp_starttls_timeout: Time = "300s";
        /// What of encryption is logged: 0 nothing, 1 a line for each connection, 2 more.
        smtp_tls_loglevel: Count = "0", min 0, max 4;
        /// A file with the certificates of authorities that servers may be verified by.
        smtp_tls_ca_file as "smtp_tls_CAfile": Text = "";
        /// A directory of them, named by their hashes.
        smtp_tls_ca_path as "smtp_tls_CApath": Text = "";
        /// Files of certificates and public keys, each trusted as it is to vouch for servers; they replace the authorities of smtp_tls_CAfile and smtp_tls_CApath at the levels verify and secure.
        smtp_tls_trust_anchor_file: List = "";
        /// The most authorities between a server and one that is trusted; the library takes no more than 6.
        smtp_tls_scert_verifydepth: Count = "9", min 0, max 9999;
        /// The names of which a server must prove one at the level verify: hostname, nexthop, dot-nexthop, or names.
        smtp_tls_verify_cert_match: List = "hostname";
        /// The names of which a server must prove one at the level secure.
        smtp_tls_secure_cert_match: List = "nexthop, dot-nexthop";
        /// The fingerprints of which a server's certificate or key must have one at the level fingerprint.
        smtp_tls_fingerprint_cert_match: List = "";
        /// How fingerprints are made: sha256, sha512, sha1, md5.
        smtp_tls_fingerprint_digest: Text = "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}";
        /// The protocol versions of voluntary encryption. There are TLSv1.2 and TLSv1.3.
        smtp_tls_protocols: List = ">=TLSv1";
        /// The protocol versions where encryption is required. There are TLSv1.2 and TLSv1.3.
        smtp_tls_mandatory_protocols: List = ">=TLSv1";
        /// The grade of ciphers for voluntary encryption; all grades mean the same here, ephemeral keys and authenticated encryption.
        smtp_tls_ciphers: Text = "medium";
        /// The same where encryption is required.
        smtp_tls_mandatory_ciphers: Text = "medium";
        /// Ciphers of TLS 1.2 that are not used, in the words of OpenSSL's lists.
        smtp_tls_exclude_ciphers: List = "";
        /// More of them where encryption is required.
        smtp_tls_mandatory_exclude_ciphers: List = "";
        /// The name that servers are asked for (SNI): none, hostname, nexthop, or a name.
        smtp_tls_servername: Text = "";
        /// The certificate with an RSA key that is shown to servers that ask for one, followed by its chain, in PEM format.
        smtp_tls_cert_file: Text = "";
        /// Its key.
        smtp_tls_key_file: Text = "$smtp_tls_cert_file";
        /// The same with a key on an elliptic curve.
        smtp_tls_eccert_file: Text = "";
        /// Its key.
        smtp_tls_eckey_file: Text = "$smtp_tls_eccert_file";
        /// Files with keys, each followed by its certificate and chain; they replace the settings above.
        smtp_tls_chain_files: List = "";
        /// Log hosts that offer STARTTLS when it is not used.
        smtp_tls_note_starttls_offer: Bool = "no";
        /// Encrypt from the first byte, as on port 465, without STARTTLS.
        smtp_tls_wrappermode: Bool = "no";
        /// Use an encrypted connection for more than one message.
        smtp_tls_connection_reuse: Bool = "no";
        /// Give up a connection on which the server answers before it was asked.
        smtp_tls_block_early_mail_reply: Bool = "no";
        /// Look for TLSA records even where the addresses of a host are not signed.
        smtp_tls_force_insecure_host_tlsa_lookup: Bool = "no";
        /// What the level dane means where the MX records of a destination are not signed: dane (what the host's records say), encrypt or may.
        smtp_tls_dane_insecure_mx_policy: Text = "${{$smtp_tls_security_level} == {dane} ? {dane} : {may}}";
    }
}

params! {
    /// Encryption of the LMTP client.
    LmtpTls {
        /// LMTP: whether connections are encrypted, and what servers must prove: none, may, encrypt, dane, dane-only, fingerprint, verify or secure.
        lmtp_tls_security_level: Text = "";
        /// LMTP: the old way to say `lmtp_tls_security_level = may`; the new one counts when it is set.
        lmtp_use_tls: Bool = "no";
        /// LMTP: the old way to say `lmtp_tls_security_level = verify` (`encrypt` without lmtp_tls_enforce_peername); the new one counts when it is set.
        lmtp_enforce_tls: Bool = "no";
        /// LMTP: whether lmtp_enforce_tls asks for the server's name, too.
        lmtp_tls_enforce_peername: Bool = "yes";
        /// LMTP: the old tables of policies, by next hop and by host: NONE, MAY, MUST or MUST_NOPEERMATCH. Not read when lmtp_tls_policy_maps is set.
        lmtp_tls_per_site: List = "";
        /// LMTP: tables of levels by next hop as it is routed, or `.parent` domain, each with what differs there (match=, protocols=, ciphers=, exclude=, servername=, tafile=, connection_reuse=).
        lmtp_tls_policy_maps: List = "";
        /// LMTP: how long STARTTLS and its handshake may take.
        lmtp_starttls_timeout: Time = "300s";
        /// LMTP: what of encryption is logged: 0 nothing, 1 a line for each connection, 2 more.
        lmtp_tls_loglevel: Count = "0", min 0, max 4;
        /// LMTP: a file with the certificates of authorities that servers may be verified by.
        lmtp_tls_ca_file as "lmtp_tls_CAfile": Text = "";
        /// LMTP: a directory of them, named by their hashes.
        lmtp_tls_ca_path as "lmtp_tls_CApath": Text = "";
        /// LMTP: files of certificates and public keys, each trusted as it is to vouch for servers; they replace the authorities of lmtp_tls_CAfile and lmtp_tls_CApath at the levels verify and secure.
        lmtp_tls_trust_anchor_file: List = "";
        /// LMTP: the most authorities between a server and one that is trusted; the library takes no more than 6.
        lmtp_tls_scert_verifydepth: Count = "9", min 0, max 9999;
        /// LMTP: the names of which a server must prove one at the level verify: hostname, nexthop, dot-nexthop, or names.
        lmtp_tls_verify_cert_match: List = "hostname";
        /// LMTP: the names of which a server must prove one at the level secure.
        lmtp_tls_secure_cert_match: List = "nexthop";
        /// LMTP: the fingerprints of which a server's certificate or key must have one at the level fingerprint.
        lmtp_tls_fingerprint_cert_match: List = "";
        /// LMTP: how fingerprints are made: sha256, sha512, sha1, md5.
        lmtp_tls_fingerprint_digest: Text = "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}";
        /// LMTP: the protocol versions of voluntary encryption. There are TLSv1.2 and TLSv1.3.
        lmtp_tls_protocols: List = ">=TLSv1";
        /// LMTP: the protocol versions where encryption is required. There are TLSv1.2 and TLSv1.3.
        lmtp_tls_mandatory_protocols: List = ">=TLSv1";
        /// LMTP: the grade of ciphers for voluntary encryption; all grades mean the same here, ephemeral keys and authenticated encryption.
        lmtp_tls_ciphers: Text = "medium";
        /// LMTP: the same where encryption is required.
        lmtp_tls_mandatory_ciphers: Text = "medium";
        /// LMTP: ciphers of TLS 1.2 that are not used, in the words of OpenSSL's lists.
        lmtp_tls_exclude_ciphers: List = "";
        /// LMTP: more of them where encryption is required.
        lmtp_tls_mandatory_exclude_ciphers: List = "";
        /// LMTP: the name that servers are asked for (SNI): none, hostname, nexthop, or a name.
        lmtp_tls_servername: Text = "";
        /// LMTP: the certificate with an RSA key that is shown to servers that ask for one, followed by its chain, in PEM format.
        lmtp_tls_cert_file: Text = "";
        /// LMTP: its key.
        lmtp_tls_key_file: Text = "$lmtp_tls_cert_file";
        /// LMTP: the same with a key on an elliptic curve.
        lmtp_tls_eccert_file: Text = "";
        /// LMTP: its key.
        lmtp_tls_eckey_file: Text = "$lmtp_tls_eccert_file";
        /// LMTP: files with keys, each followed by its certificate and chain; they replace the settings above.
        lmtp_tls_chain_files: List = "";
        /// LMTP: log hosts that offer STARTTLS when it is not used.
        lmtp_tls_note_starttls_offer: Bool = "no";
        /// LMTP: encrypt from the first byte, as on port 465, without STARTTLS.
        lmtp_tls_wrappermode: Bool = "no";
        /// LMTP: use an encrypted connection for more than one message.
        lmtp_tls_connection_reuse: Bool = "no";
        /// LMTP: give up a connection on which the server answers before it was asked.
        lmtp_tls_block_early_mail_reply: Bool = "no";
        /// LMTP: look for TLSA records even where the addresses of a host are not signed.
        lmtp_tls_force_insecure_host_tlsa_lookup: Bool = "no";
    }
}

params! {
    /// Encryption on the way to servers, whatever the client.
    ClientTls {
        /// The digests of TLSA records that are known, the strongest first: sha512, sha256.
        tls_dane_digests: List = "sha512 sha256";
        /// What is asked for, as type:name, to learn whether the name server validates; empty: nothing.
        dnssec_probe: Text = "ns:.";
        /// `*.example.com` in a certificate stands for `a.b.example.com`, too.
        tls_wildcard_matches_multiple_labels: Bool = "yes";
        /// Obey the policies that domains publish for mail to them (MTA-STS, RFC 8461), where neither
        /// smtp_tls_policy_maps has a row for the domain nor TLSA records say more. A parameter of valija's own: it
        /// asks web servers of other domains, which Postfix does not, so it must be asked for.
        valija_mta_sts: Bool = "no";
    }
}
