"""SigLIP's sigmoid loss, for mmtk."""
