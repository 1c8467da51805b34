"""The SIP codec: bytes in, values out; no sockets, no clock (RFC 3261, RFC 3428)."""
