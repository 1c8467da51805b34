"""From an event in Redis to the recipients, and the record of each outcome."""
