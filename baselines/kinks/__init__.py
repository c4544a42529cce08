"""Chosen derivatives at kinks."""
