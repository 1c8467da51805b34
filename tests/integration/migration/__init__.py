"""Rooms out of real databases, into a real Redis, and back."""
