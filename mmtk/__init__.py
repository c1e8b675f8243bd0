"""mmtk: a registry core and plugins for BLIP-style vision-language pre-training and bootstrapping."""
