"""Recipes of public data sets: how their files, as they are published, become a log and a catalogue."""
