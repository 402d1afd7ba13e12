"""Adapt a text encoder before a model is trained: to the texts of a catalogue, then to what follows what in a log."""
