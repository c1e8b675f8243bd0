"""A plugin of small stages that show what the runner does with them."""
