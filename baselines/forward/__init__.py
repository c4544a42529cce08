"""Optimizers on forward-mode derivatives."""
