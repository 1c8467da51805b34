"""UDP, TCP and TLS: sockets in, whole SIP messages out, and the other way round."""
