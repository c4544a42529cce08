"""Orchestration: trials, grids, workers, storage and the command line."""
