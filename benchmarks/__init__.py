"""Measurements that the README reports, each made by one command."""
