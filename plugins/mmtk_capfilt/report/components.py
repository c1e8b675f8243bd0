"""The report sections of CapFilt."""

from __future__ import annotations

from mmtk.api import Component

COMPONENTS: list[Component] = [
    Component(
        "report_section",
        "capfilt_funnel",
        "mmtk_capfilt.report.funnel:FunnelSection",
        "mmtk_capfilt.report.configs:FunnelSectionConfig",
        "how many images and texts came in, were kept and were dropped",
    ),
    Component(
        "report_section",
        "capfilt_scores",
        "mmtk_capfilt.report.scores:ScoresSection",
        "mmtk_capfilt.report.configs:ScoresSectionConfig",
        "histograms of the ITM probability by source",
    ),
    Component(
        "report_section",
        "capfilt_gallery",
        "mmtk_capfilt.report.gallery:GallerySection",
        "mmtk_capfilt.report.configs:GallerySectionConfig",
        "pictures with their web and synthetic texts, kept or struck out",
    ),
    Component(
        "report_section",
        "gradcam",
        "mmtk_capfilt.report.gradcam:GradcamSection",
        "mmtk_capfilt.report.configs:GradcamSectionConfig",
        "where in a picture the filter sees each word of its texts",
    ),
    Component(
        "report_section",
        "capfilt_explorer",
        "mmtk_capfilt.report.explorer:ExplorerSection",
        "mmtk_capfilt.report.configs:ExplorerSectionConfig",
        "every picture with all its texts, to search, filter and sort",
    ),
]
