"""BLIP: MED, its encoders, heads, losses and tokenizer."""
