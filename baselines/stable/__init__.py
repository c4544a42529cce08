"""ODE-stable architectures."""
