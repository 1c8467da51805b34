"""Edges and workers in one process and in simulated time, on a real Redis: any order of events, by seed."""
