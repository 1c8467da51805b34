"""Rooms as edges and workers share them: commands, requests, events, texts."""
