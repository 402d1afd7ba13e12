"""Stores: logs in a folder of memory-mapped arrays, which open in milliseconds and grow by appending."""
