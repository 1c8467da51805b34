"""Which process owns which shard, and how it reads the streams."""
