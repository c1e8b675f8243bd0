"""A CapFilt step with transformers, for mmtk."""
