"""What CapFilt adds to a run's report: its funnel, its scores and a gallery."""
