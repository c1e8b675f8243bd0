"""A CapFilt step with open_clip, for mmtk."""
