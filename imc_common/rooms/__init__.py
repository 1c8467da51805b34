"""Rooms as edges and workers both see them: commands, requests, events, texts."""
