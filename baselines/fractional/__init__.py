"""Fractional-order derivatives in layers and optimizers."""
