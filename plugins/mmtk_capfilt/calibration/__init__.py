"""Which threshold to take: scores of texts that are known to be right or wrong."""
