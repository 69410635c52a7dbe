//! The SMTP server: sessions, commands, restrictions, limits.
