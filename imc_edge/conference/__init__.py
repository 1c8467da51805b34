"""Rooms as conferences (RFC 4579): what receiving and delivering both need to know of dialogs."""
