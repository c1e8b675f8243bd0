"""Negatives that get harder as training goes on, for mmtk."""
