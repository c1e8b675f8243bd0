"""The report's components."""

from mmtk.registry import Component

COMPONENTS: list[Component] = [
    Component(
        "stage",
        "report",
        "mmtk.report.stage:ReportStage",
        "mmtk.report.configs:ReportConfig",
        "one self-contained HTML page about the run",
    ),
    Component(
        "report_section",
        "loss_curves",
        "mmtk.report.loss_curves:LossCurves",
        "mmtk.report.configs:LossCurvesConfig",
        "losses of training stages over steps",
    ),
    Component(
        "report_section",
        "metric_table",
        "mmtk.report.metric_table:MetricTable",
        "mmtk.report.configs:MetricTableConfig",
        "evaluations side by side, with differences to the first",
    ),
    Component(
        "report_section",
        "quarantine",
        "mmtk.report.quarantine:QuarantineSection",
        "mmtk.report.configs:QuarantineConfig",
        "samples that could not be used, by reason",
    ),
]
