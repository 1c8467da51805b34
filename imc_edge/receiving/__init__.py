"""From a MESSAGE to its request in Redis, and the response once it is there."""
