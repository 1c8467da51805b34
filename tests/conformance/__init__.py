"""The torture messages, messages of other stacks and identities, with the results that an edge has to give."""
