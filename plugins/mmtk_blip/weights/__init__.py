"""Weights in and out: public BLIP, LAVIS, transformers, timm and BERT."""
