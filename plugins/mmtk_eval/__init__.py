"""Retrieval, captioning and filter metrics, and the stages that report them."""
