"""The torture messages, messages of other stacks and identities, with the results expected of an edge."""
