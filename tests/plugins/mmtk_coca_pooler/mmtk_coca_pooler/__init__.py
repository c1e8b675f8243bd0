"""CoCa's attentional poolers on timm's ViTs, for mmtk."""
