"""Integrators of the gradient flow as optimizers."""
