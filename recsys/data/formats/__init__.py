"""Open a table in any format: one module per format, and what they share."""
