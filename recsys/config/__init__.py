"""Options: frozen dataclasses, recipes, flags."""
