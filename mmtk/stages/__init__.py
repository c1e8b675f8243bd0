"""A run: its stages in order, what is skipped, resumed or superseded, and the records of that."""
