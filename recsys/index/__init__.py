"""Retrieval of item vectors over FAISS."""
