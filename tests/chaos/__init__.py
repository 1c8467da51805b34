"""Chaos tests: random faults against real processes, and a checker of what every user had to receive."""
