//! SASL mechanisms as machines without I/O: challenges in, responses out. RFC 4422
