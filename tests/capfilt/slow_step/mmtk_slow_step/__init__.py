"""A step of a plugin from outside that takes its time and notes what it is given."""
