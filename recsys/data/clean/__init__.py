"""Cleaning: rules as data, applied to a log in one fixed order, with every event accounted for."""
