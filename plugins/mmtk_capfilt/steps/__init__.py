"""The steps that mmtk brings along."""
