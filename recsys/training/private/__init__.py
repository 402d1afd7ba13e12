"""Training with differential privacy by user."""
