"""The training objectives of BLIP."""
