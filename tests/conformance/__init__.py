"""The torture messages of RFC 4475 and RFC 5118, and the answers expected of us."""
