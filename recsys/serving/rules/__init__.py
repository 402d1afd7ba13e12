"""Ranking rules."""
