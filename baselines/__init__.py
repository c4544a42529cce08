"""What is compared: optimizers and networks, by family."""
