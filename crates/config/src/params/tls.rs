//! Parameters of encryption, of both sides, and of logging in to servers.

use crate::params;
use crate::value::{Bool, Count, List, Text, Time};

params! {
    /// Encryption when clients connect.
    SmtpdTls {
        /// Whether clients may (`may`) or must (`encrypt`) use STARTTLS; `none` offers nothing.
        smtpd_tls_security_level: Text = "";
        /// The old way to say `smtpd_tls_security_level = may`; the new one counts when it is set.
        smtpd_use_tls: Bool = "no";
        /// The old way to say `smtpd_tls_security_level = encrypt`; the new one counts when it is set.
        smtpd_enforce_tls: Bool = "no";
        /// What of encryption is logged: 0 nothing, 1 a line for each connection, 2 more.
        smtpd_tls_loglevel: Count = "0", min 0, max 4;
        /// Tell protocol and cipher in the Received header.
        smtpd_tls_received_header: Bool = "no";
        /// How long a handshake may take.
        smtpd_starttls_timeout: Time = "${stress?{10}:{300}}s";
        /// The certificate for an RSA key, followed by its chain, in PEM format; `none` for none.
        smtpd_tls_cert_file: Text = "";
        /// Its key.
        smtpd_tls_key_file: Text = "$smtpd_tls_cert_file";
        /// The certificate for an elliptic curve key, followed by its chain, in PEM format.
        smtpd_tls_eccert_file: Text = "";
        /// Its key.
        smtpd_tls_eckey_file: Text = "$smtpd_tls_eccert_file";
        /// Files with keys, each followed by its certificate and chain; they replace the settings above.
        smtpd_tls_chain_files: List = "";
        /// The protocol versions of voluntary encryption. There are TLSv1.2 and TLSv1.3.
        smtpd_tls_protocols: List = ">=TLSv1";
        /// The protocol versions where encryption is required. There are TLSv1.2 and TLSv1.3.
        smtpd_tls_mandatory_protocols: List = ">=TLSv1";
        /// The handshake comes first of all, as on port 465, without STARTTLS; the level does not matter then.
        smtpd_tls_wrappermode: Bool = "no";
        /// The weakest ciphers of voluntary encryption: all there are, are `high`.
        smtpd_tls_ciphers: Text = "medium";
        /// The weakest ciphers where encryption is required: all there are, are `high`.
        smtpd_tls_mandatory_ciphers: Text = "medium";
        /// Ciphers of TLS 1.2 that are not used, by name or by properties joined with `+`.
        smtpd_tls_exclude_ciphers: List = "";
        /// The same, where encryption is required.
        smtpd_tls_mandatory_exclude_ciphers: List = "";
        /// The server's order of ciphers counts, and not the client's.
        tls_preempt_cipherlist: Bool = "no";
        /// Ask clients for certificates.
        smtpd_tls_ask_ccert: Bool = "no";
        /// Serve clients only with a certificate that verifies, where encryption is required.
        smtpd_tls_req_ccert: Bool = "no";
        /// A file with the certificates of authorities that clients may be verified by.
        smtpd_tls_ca_file as "smtpd_tls_CAfile": Text = "";
        /// A directory of them, named by their hashes.
        smtpd_tls_ca_path as "smtpd_tls_CApath": Text = "";
        /// How many certificates may lie above a client's own.
        smtpd_tls_ccert_verifydepth: Count = "9", min 0;
        /// How fingerprints of clients' certificates and keys are made: md5, sha1, sha256, sha512 …
        smtpd_tls_fingerprint_digest: Text = "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}";
        /// Tables of fingerprints of certificates or keys that permit_tls_clientcerts permits.
        relay_clientcerts: List = "";
        /// Tables of certificates for names that clients ask for: keys and chains, as files or as `postmap -F` keeps them.
        tls_server_sni_maps: List = "";
        /// How long TLS sessions can be taken up again; 0 for not at all.
        smtpd_tls_session_cache_timeout: Time = "3600s";
        /// An empty value means that no tickets are given out; the cipher is the library's.
        tls_session_ticket_cipher: Text = "aes-256-cbc";
        /// How many new TLS sessions a client may begin per time unit; 0 for any number.
        smtpd_client_new_tls_session_rate_limit: Count = "0", min 0;
    }
}

params! {
    /// Logging in to servers, by the SMTP client.
    SmtpSasl {
        /// Log in to servers, with the passwords of smtp_sasl_password_maps.
        smtp_sasl_auth_enable: Bool = "no";
        /// Tables of `user:password`, by next hop or host, or by sender with smtp_sender_dependent_authentication.
        smtp_sasl_password_maps: List = "";
        /// What mechanisms of authentication must not do without encryption.
        smtp_sasl_security_options: List = "noplaintext, noanonymous";
        /// The same for encrypted sessions.
        smtp_sasl_tls_security_options: List = "$smtp_sasl_security_options";
        /// The only mechanisms that are used, with `!` for those that are not.
        smtp_sasl_mechanism_filter: List = "";
        /// The kind of authentication; there is `cyrus`, whose mechanisms are built in.
        smtp_sasl_type: Text = "cyrus";
        /// A refused login defers mail instead of returning it.
        smtp_sasl_auth_soft_bounce: Bool = "yes";
        /// Remember refused logins so that they are not tried again at once; any table name switches it on.
        smtp_sasl_auth_cache_name: Text = "";
        /// How long they are remembered.
        smtp_sasl_auth_cache_time: Time = "90d";
    }
}

params! {
    /// Logging in to servers, by the LMTP client.
    LmtpSasl {
        /// LMTP: log in to servers, with the passwords of lmtp_sasl_password_maps.
        lmtp_sasl_auth_enable: Bool = "no";
        /// LMTP: tables of `user:password`, by next hop or host, or by sender with smtp_sender_dependent_authentication.
        lmtp_sasl_password_maps: List = "";
        /// LMTP: what mechanisms of authentication must not do without encryption.
        lmtp_sasl_security_options: List = "noplaintext, noanonymous";
        /// LMTP: the same for encrypted sessions.
        lmtp_sasl_tls_security_options: List = "$lmtp_sasl_security_options";
        /// LMTP: the only mechanisms that are used, with `!` for those that are not.
        lmtp_sasl_mechanism_filter: List = "";
        /// LMTP: the kind of authentication; there is `cyrus`, whose mechanisms are built in.
        lmtp_sasl_type: Text = "cyrus";
        /// LMTP: a refused login defers mail instead of returning it.
        lmtp_sasl_auth_soft_bounce: Bool = "yes";
        /// LMTP: remember refused logins so that they are not tried again at once; any table name switches it on.
        lmtp_sasl_auth_cache_name: Text = "";
        /// LMTP: how long they are remembered.
        lmtp_sasl_auth_cache_time: Time = "90d";
    }
}

params! {
    /// Encryption and logging in, whatever the client.
    Tls {
        /// Authorities of the system count besides those that are set.
        tls_append_default_ca as "tls_append_default_CA": Bool = "no";
        /// Passwords are looked up by the sender first.
        smtp_sender_dependent_authentication: Bool = "no";
    }
}
