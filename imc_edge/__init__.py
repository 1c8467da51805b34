"""The SIP edge: takes MESSAGE requests from the network and sends deliveries to it."""
