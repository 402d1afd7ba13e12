"""From log files to immutable interactions, catalogues and splits. Nothing here imports torch."""
