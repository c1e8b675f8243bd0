"""Figures of many mmtk runs in one SQLite file."""
