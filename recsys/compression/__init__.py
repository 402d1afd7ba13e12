"""Smaller, faster and portable: what is exported to run without PyTorch, and how little of a model answers as well."""
