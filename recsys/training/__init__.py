"""Fine-tuning the towers through Lightning."""
