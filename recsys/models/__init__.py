"""The two towers, their losses and their text encoder. Everything here needs torch."""
