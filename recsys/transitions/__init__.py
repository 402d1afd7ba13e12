"""The transition memory: a sparse table from an item to the items that came next, whose score is added to the towers'."""
