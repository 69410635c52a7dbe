//! Parameters of what happens to content on its way out, over SMTP and LMTP.

use crate::params;
use crate::value::{Bool, List};

params! {
    /// What is changed in a message while it is sent to another host.
    Outgoing {
        /// Rules for the header fields of messages sent over SMTP.
        smtp_header_checks: List = "";
        /// Rules for the fields that describe content, of messages sent over SMTP.
        smtp_mime_header_checks: List = "";
        /// Rules for the header fields of messages enclosed in what is sent over SMTP.
        smtp_nested_header_checks: List = "";
        /// Rules for the lines of bodies sent over SMTP.
        smtp_body_checks: List = "";
        /// Addresses that are rewritten in envelopes and headers sent over SMTP.
        smtp_generic_maps: List = "";
        /// As smtp_header_checks, for LMTP.
        lmtp_header_checks: List = "";
        /// As smtp_mime_header_checks, for LMTP.
        lmtp_mime_header_checks: List = "";
        /// As smtp_nested_header_checks, for LMTP.
        lmtp_nested_header_checks: List = "";
        /// As smtp_body_checks, for LMTP.
        lmtp_body_checks: List = "";
        /// As smtp_generic_maps, for LMTP.
        lmtp_generic_maps: List = "";
        /// Send eight-bit content as it is to hosts that do not announce 8BITMIME.
        disable_mime_output_conversion: Bool = "no";
    }
}
