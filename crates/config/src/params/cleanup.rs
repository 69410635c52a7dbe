//! Parameters of the door into the queue: cleanup and pickup.

use crate::params;
use crate::value::{Bool, Count, List, Text};

params! {
    /// What happens to a message on its way into the queue.
    Cleanup {
        /// The most bytes of a message, its envelope not counted; 0 means no limit.
        message_size_limit: Count = "10240000", min 0;
        /// The most bytes of one header field that are kept; the rest of the field is dropped.
        header_size_limit: Count = "102400", min 1;
        /// The most address tokens of one header field that are rewritten; further ones are dropped.
        header_address_token_limit: Count = "10240", min 1;
        /// The two characters of variable envelope return paths: before the recipient, and for its @.
        default_verp_delimiters: Text = "+=";
        /// The characters that may be such.
        verp_delimiter_filter: Text = "-=+";
        /// A message with so many Received headers is taken for a mail loop and refused.
        hopcount_limit: Count = "50", min 1;
        /// Longer lines are cut into pieces of so many bytes when they are stored and counted.
        line_length_limit: Count = "2048", min 512;
        /// Names of header fields that are removed from every message.
        message_drop_headers: List = "bcc, content-length, resent-bcc, return-path";
        /// Add missing From, To, Date and Message-Id headers to mail of strangers too.
        always_add_missing_headers: Bool = "no";
        /// The header added to a message that names no recipient; none when empty.
        undisclosed_recipients_header: Text = "";
        /// The domain that completes header addresses in mail of strangers; no rewriting when empty.
        remote_header_rewrite_domain: Text = "";
        /// How a From header is made from a full name: `standard` or `obsolete`.
        header_from_format: Text = "standard";
        /// Characters that are removed from messages, with C escapes such as `\0`.
        message_strip_characters: Text = "";
        /// A message with one of these characters is refused; C escapes such as `\0`.
        message_reject_characters: Text = "";
        /// A carriage return or line feed that ends no line becomes a space.
        cleanup_replace_stray_cr_lf: Bool = "yes";
        /// So many addresses of a message are remembered to drop repeated recipients; 0 means all.
        duplicate_filter_limit: Count = "1000", min 0;
        /// Keep the recipient address as it was given, and treat recipients given differently as
        /// different.
        enable_original_recipient: Bool = "yes";
        /// A Content-Transfer-Encoding header can declare eight-bit content.
        detect_8bit_encoding_header: Bool = "yes";
        /// Rules for the header fields of messages that come in.
        header_checks: List = "";
        /// Rules for the header fields that describe content, of messages and their parts.
        mime_header_checks: List = "$header_checks";
        /// Rules for the header fields of enclosed messages.
        nested_header_checks: List = "$header_checks";
        /// Rules for the lines of bodies.
        body_checks: List = "";
        /// Of each piece of a body, so many bytes are looked at by body_checks.
        body_checks_size_limit: Count = "51200", min 0;
        /// Take all that follows the header for text, whatever its type says.
        disable_mime_input_processing: Bool = "no";
        /// Parts within parts are followed so deep.
        mime_nesting_limit: Count = "100", min 1;
        /// So many bytes of a boundary are compared.
        mime_boundary_length_limit: Count = "2048", min 1;
        /// Refuse messages with eight-bit bytes in a header.
        strict_7bit_headers: Bool = "no";
        /// Refuse messages with eight-bit bytes in a body that does not declare them.
        strict_8bitmime_body: Bool = "no";
        /// Both strict_7bit_headers and strict_8bitmime_body.
        strict_8bitmime: Bool = "no";
        /// Refuse multiparts and enclosed messages under an encoding such as base64.
        strict_mime_encoding_domain: Bool = "no";
        /// Gets a copy of every message.
        always_bcc: Text = "";
    }
}
