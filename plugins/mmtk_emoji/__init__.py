"""The emoji set that mmtk ships, a dataset whose noise is known."""
