"""Truthful evaluation: full ranking, one blocked pass, one value per user."""
