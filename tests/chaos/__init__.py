"""The judge: random faults against real processes, and a checker that decides what every user had to get."""
