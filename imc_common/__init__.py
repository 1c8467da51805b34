"""What edges and workers share: the SIP codec, settings, keys, scripts and the way to Redis."""
