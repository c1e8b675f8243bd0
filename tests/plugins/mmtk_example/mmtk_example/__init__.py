"""A head and a negative sampler for mmtk, from outside."""
