"""Answers to requests: raw ids or free text in, ranked items out."""
