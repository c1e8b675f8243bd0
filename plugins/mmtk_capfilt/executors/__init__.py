"""Where the parts of a pass are worked on."""
