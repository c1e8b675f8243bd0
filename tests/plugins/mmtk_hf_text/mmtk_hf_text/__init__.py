"""Text encoders and tokenizers of transformers, for mmtk."""
