"""Decide from the log what the user left open."""
