"""Where a request goes: targets, DNS, permitted destinations, own addresses."""
