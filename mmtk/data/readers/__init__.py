"""Datasets as they lie on disks and in object stores, one module for each format and what they share."""
