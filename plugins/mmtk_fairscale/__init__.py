"""Sharding by fairscale: optimizer state, gradients and parameters, and activation checkpointing."""
