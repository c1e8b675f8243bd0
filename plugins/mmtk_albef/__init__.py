"""ALBEF, align before fuse, as a plugin: made of BLIP's parts, with masked language modelling."""
