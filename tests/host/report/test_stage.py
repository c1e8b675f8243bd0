import importlib
import inspect
import json
import types
from pathlib import Path
from typing import Any, cast

import pytest

from mmtk.errors import StageError
from mmtk.registry import Registry
from mmtk.report.components import COMPONENTS
from mmtk.report.configs import LossCurvesConfig, MetricTableConfig, QuarantineConfig, ReportConfig
from mmtk.report.loss_curves import LossCurves
from mmtk.report.metric_table import MetricTable
from mmtk.report.quarantine import QuarantineSection
from mmtk.report.stage import ReportStage
from mmtk.stages.context import StageContext
from mmtk.stages.record import StageRecord, Status, write_record
from tests.host.report.reading import Page, check_harmless


class Plan:
    """A blueprint of a factory and its config."""

    def __init__(self, factory: Any, config: Any) -> None:
        self.factory, self.config = factory, config

    def build(self, **injected: Any) -> Any:
        wanted = inspect.signature(self.factory).parameters
        return self.factory(
            **vars(self.config), **{name: value for name, value in injected.items() if name in wanted}
        )


def context(folder: Path, said: list[str] | None = None) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    sink = said if said is not None else []
    return StageContext("report", folder, 7, "cpu", Registry(), sink.append)


def sections(folder: Path) -> list[Plan]:
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n')
    (folder / "before.json").write_text(json.dumps({"r1": 0.25}))
    (folder / "after.json").write_text(json.dumps({"r1": 0.5}))
    (folder / "quarantine.jsonl").write_text(json.dumps({"key": "k", "reason": "empty text"}) + "\n")
    rows = {"noisy": folder / "before.json", "bootstrapped": folder / "after.json"}
    return [
        Plan(MetricTable, MetricTableConfig(rows=rows)),
        Plan(LossCurves, LossCurvesConfig(runs={"noisy": folder / "metrics.jsonl"})),
        Plan(QuarantineSection, QuarantineConfig(files={"noisy": folder / "quarantine.jsonl"})),
    ]


def test_writes_one_page_with_all_sections(tmp_path: Path) -> None:
    run = tmp_path / "quickstart"
    folder = run / "report"
    said: list[str] = []
    (run / "pretrain").mkdir(parents=True)
    record = StageRecord(
        Status.DONE, "f", {}, 7, started="2026-01-01T10:00:00+00:00", finished="2026-01-01T10:01:38+00:00"
    )
    write_record(run / "pretrain", record)
    ReportStage(sections=sections(tmp_path)).run(context(folder, said))
    assert [path.name for path in folder.iterdir()] == [ReportConfig.OUTPUTS["report"].path]
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    check_harmless(page)
    assert page.one("h1").text == "quickstart"
    assert [e.text for e in page.all("h2")] == [
        "Results",
        "Training curves",
        "Samples set aside",
        "How it was made",
    ]
    assert "R@1 of 0.250 (noisy) became 0.500 (bootstrapped), +100%." in page.one("ul", "headlines").text
    facts = dict(zip([e.text for e in page.all("dt")], [e.text for e in page.all("dd")], strict=True))
    assert facts["Seed"] == "7"
    assert facts["Device"] == "cpu"
    assert facts["mmtk"]
    assert "1 min 38 s" in page.text
    assert said[0].startswith("report: 3 sections")


def test_a_section_that_loads_a_model_gets_device_and_registry(tmp_path: Path) -> None:
    class Given:
        title = "Given"

        def __init__(self, *, name: str, device: str, registry: object) -> None:
            self.name, self.device, self.registry = name, device, registry

        def html(self) -> str:
            return f"<p>{self.name} {self.device} {self.registry is here.registry}</p>"

    folder = tmp_path / "run" / "report"
    here = context(folder)
    ReportStage(sections=cast(Any, [Plan(Given, types.SimpleNamespace(name="a model on"))])).run(here)
    assert "<p>a model on cpu True</p>" in (folder / "report.html").read_text(encoding="utf-8")


def test_title_and_description_of_the_recipe(tmp_path: Path) -> None:
    ReportStage(sections=[], title="Emoji", description="Small & real.").run(
        context(tmp_path / "run" / "report")
    )
    page = Page((tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.one("h1").text == "Emoji"
    assert page.one("p", "description").text == "Small & real."


def test_a_text_that_is_no_unicode_does_not_stop_it(tmp_path: Path) -> None:
    ReportStage(sections=[], title="\ud800").run(context(tmp_path / "report"))
    assert "&#55296;" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_a_section_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    plans = sections(tmp_path)
    (tmp_path / "after.json").write_text("[]")
    with pytest.raises(StageError, match=r"section 1 of the report can't be made: .*after\.json"):
        ReportStage(sections=plans).run(context(tmp_path / "report"))
    assert not (tmp_path / "report" / "report.html").exists()


def test_an_own_mistake_is_no_user_error(tmp_path: Path) -> None:
    class Broken:
        def build(self, **_: Any) -> Any:
            raise KeyError("ours")

    with pytest.raises(KeyError):
        ReportStage(sections=cast(Any, [Broken()])).run(context(tmp_path / "report"))


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_components_name_what_exists(component: Any) -> None:
    for place in (component.factory, component.config):
        module, _, attribute = place.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
    assert component.kind in ("stage", "report_section")
    assert component.summary
