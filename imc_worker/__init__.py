"""The room worker: turns requests into room changes and events, one script for each."""
