"""The bodies of MESSAGEs, one value per file: bytes in, values out. No sockets, no Redis, no clock."""
