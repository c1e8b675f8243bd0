"""What a user can find out without running anything: components, recipes, graphs, and this installation."""
