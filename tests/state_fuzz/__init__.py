"""Random conversations in random rooms, with faults, compared with a small model of the rules."""
