"""What plugins hear of a run, and that a plugin which fails there stops nothing."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmtk import plugins
from mmtk.api import hookimpl
from mmtk.cli import main
from mmtk.component_hooks import hooks_of
from mmtk.errors import PluginError
from mmtk.events import HOOKS, Listener, Listeners, MetricsLogged, RunStarted, StepEnded
from mmtk.plugin_choice import take_options
from mmtk.plugins import GROUP, load_plugins
from mmtk.recipe import check_recipe, load_recipe

real_entry_points = plugins.entry_points


def plugin(name: str, **hooks: Any) -> EntryPoint:
    """An entry point whose module has these hooks."""
    module = types.ModuleType(f"hooks_of_{name}")
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    sys.modules[module.__name__] = module
    return EntryPoint(name, module.__name__, GROUP)


def listening(events: list[Any]) -> EntryPoint:
    """A plugin that notes every event."""

    def note(event: Any) -> None:
        events.append(event)

    return plugin(
        "listening",
        **{
            hook: types.FunctionType(note.__code__, note.__globals__, hook, None, note.__closure__)
            for hook in HOOKS.values()
        },
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Plugins beside those that are really installed."""
    added: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*real_entry_points(group=group), *added])
    yield added
    for one in added:
        sys.modules.pop(one.value, None)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of two stages that are done in no time."""
    stages = {
        "emoji": {"use": "emoji_data", "categories": ["food-drink"]},
        "report": {"use": "report", "sections": [{"use": "quarantine", "files": {}}]},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"name": "small", "run_dir": str(tmp_path / "run"), "stages": stages}))
    return path


def no_defaults() -> dict[str, Any]:
    return {}


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_run_is_told_of_from_begin_to_end(recipe: Path, installed: list[EntryPoint]) -> None:
    events: list[Any] = []
    installed.append(listening(events))
    assert main(["run", str(recipe)]) == 0
    stage = ["StageStarted", "StageEnded"]
    assert names(events) == ["RunStarted", *stage, *stage, "RunEnded"]
    assert events[0].stages == ("emoji", "report")
    assert events[0].recipe.is_file()
    assert [event.outcome for event in events if hasattr(event, "outcome")] == ["done"] * 3
    assert events[-1].folder == recipe.parent / "run"
    events.clear()
    assert main(["run", str(recipe)]) == 0
    assert names(events) == ["RunStarted", "RunEnded"], "skipped stages have no events"


def test_a_failed_stage_is_told_of(
    recipe: Path, installed: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtk_emoji.stage import EmojiDataStage

    from mmtk.errors import StageError

    def fail(*_: object) -> None:
        raise StageError("no emoji today")

    monkeypatch.setattr(EmojiDataStage, "run", fail)
    events: list[Any] = []
    installed.append(listening(events))
    assert main(["run", str(recipe)]) == 2
    assert names(events) == ["RunStarted", "StageStarted", "StageEnded", "RunEnded"]
    assert [event.outcome for event in events[2:]] == ["failed", "failed"]
    assert events[2].message == "no emoji today"


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            ModuleNotFoundError("No module named 'nosuchlib'", name="nosuchlib"),
            "needs the module 'nosuchlib', which",
        ),
        (SystemExit(0), "tried to end the program (SystemExit: 0) when it ran"),
    ],
)
def test_a_stage_that_lacks_a_module_or_ends_the_program(
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    message: str,
) -> None:
    from mmtk_emoji.stage import EmojiDataStage

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(EmojiDataStage, "run", fail)
    assert main(["run", str(recipe)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mmtk: stage 'emoji': stage 'emoji_data' (from emoji/mmtk ")
    assert f") {message}" in said


def test_a_bug_in_a_stage_keeps_its_traceback_and_names_the_plugin(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtk_emoji.stage import EmojiDataStage

    monkeypatch.setattr(EmojiDataStage, "run", lambda *_: dict[str, int]()["x"])
    with pytest.raises(KeyError) as caught:
        main(["run", str(recipe)])
    assert caught.value.__notes__[0].startswith("This happened when stage 'emoji_data' (from emoji/mmtk ")


def test_a_hook_that_fails_is_named_once_and_the_run_goes_on(
    recipe: Path, installed: list[EntryPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(event: Any) -> None:
        raise ValueError(f"no {type(event).__name__}")

    events: list[Any] = []
    installed += [plugin("failing", mmtk_stage_started=fail), listening(events)]
    assert main(["run", str(recipe)]) == 0
    assert names(events).count("StageStarted") == 2
    said = capsys.readouterr().out
    assert said.count("failed in its hook mmtk_stage_started") == 1
    assert "plugin 'failing' (unknown unknown)" in said
    assert "ValueError: no StageStarted" in said


def test_a_hook_that_ends_the_program_fails_like_any_other(
    recipe: Path, installed: list[EntryPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    def leave() -> None:
        sys.exit(0)

    def leave_early() -> None:
        sys.exit("no defaults")

    events: list[Any] = []
    leaving = plugin("leaving", mmtk_stage_ended=leave, mmtk_recipe_defaults=leave_early)
    installed += [leaving, listening(events)]
    assert main(["run", str(recipe)]) == 0
    assert names(events)[-1] == "RunEnded"
    assert events[-1].outcome == "done"
    printed = "".join(capsys.readouterr())
    assert "failed in its hook mmtk_stage_ended, which is not called again: SystemExit: 0" in printed
    assert "failed in its hook mmtk_recipe_defaults, which is not called again: SystemExit: no def" in printed


def test_a_listener_that_ends_the_program_when_it_is_closed_is_named() -> None:
    said: list[str] = []
    listeners = Listeners()
    listeners.say = said.append
    listeners.attempt("logger 'one'", "when it was closed", lambda: sys.exit(3))
    assert said == ["logger 'one' failed when it was closed: SystemExit: 3"]


def test_an_interruption_in_a_hook_is_one_of_the_run() -> None:
    def interrupt(**_: Any) -> list[object]:
        raise KeyboardInterrupt

    listeners = Listeners({"mmtk_run_started": (Listener("one", interrupt),)})
    with pytest.raises(KeyboardInterrupt):
        listeners.tell(RunStarted("a", Path(), (), Path()))


def test_sections_of_plugins_stand_in_every_report(recipe: Path, installed: list[EntryPoint]) -> None:
    class Section:
        title = "From outside"

        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def html(self) -> str:
            return f"<p>about {self.folder.name}</p>"

    installed.append(plugin("reporting", mmtk_report_sections=lambda folder: [Section(folder)]))
    assert main(["run", str(recipe)]) == 0
    page = (recipe.parent / "run" / "report.html").read_text("utf-8")
    assert "From outside" in page
    assert "<p>about run</p>" in page


def test_defaults_of_plugins_lie_under_every_recipe(recipe: Path, installed: list[EntryPoint]) -> None:
    installed.append(plugin("defaulting", mmtk_recipe_defaults=lambda: {"seed": 7, "device": "cpu"}))
    checked = check_recipe(load_recipe(recipe), load_plugins().registry)
    assert (checked.seed, checked.device) == (7, "cpu")
    assert check_recipe(load_recipe(recipe, ["seed=1"]), load_plugins().registry).seed == 1


def test_a_recipe_can_refer_to_the_defaults_of_plugins(
    recipe: Path, installed: list[EntryPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    given = {"seed": 7, "device": "cpu", "description": "${seed}", "run_dir": "r"}
    installed.append(plugin("defaulting", mmtk_recipe_defaults=lambda: asked.append(1) or given))
    changes = ["name=${seed}-${device}", "description=at ${run_dir}"]
    registry = load_plugins().registry
    checked = check_recipe(load_recipe(recipe, changes, registry=registry), registry)
    assert checked.name == "7-cpu"
    assert len(asked) == 1
    assert main(["run", str(recipe), "--resolved", "name=${seed}${description}"]) == 2
    assert "'7${seed}' can't name a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"sead": 7}, "sead: unknown key; did you mean 'seed'?"),
        ({"seed": 9, "device": "gpu"}, "device: expected auto, cpu, cuda or cuda:N, not 'gpu'"),
        ({"seed": "9"}, "seed: expected a whole number, not '9'; write it without the quotes"),
        ({3: 9}, "a key must be text, and 3 is not"),
        ([("seed", 9)], "expected a mapping of a recipe's keys, not a list"),
    ],
)
def test_wrong_defaults_of_a_plugin_are_left_out_and_it_is_named(
    given: Any, fault: str, recipe: Path, installed: list[EntryPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    installed += [
        plugin("right", mmtk_recipe_defaults=lambda: {"seed": 7}),
        plugin("wrong", mmtk_recipe_defaults=lambda: given),
    ]
    checked = check_recipe(load_recipe(recipe), load_plugins().registry)
    assert (checked.seed, checked.device) == (7, "auto")
    said = (
        "mmtk: plugin 'wrong' (unknown unknown) gives defaults of recipes that are wrong and are left out: "
    )
    assert capsys.readouterr() == ("", f"{said}{fault}\n")


@pytest.mark.parametrize("where", ["before", "behind", "variable"])
def test_a_plugin_is_left_out(
    where: str,
    installed: list[EntryPoint],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MMTK_PLUGINS", "-listening" if where == "variable" else "")
    installed.append(listening([]))
    command = ["list-plugins"]
    if where == "before":
        command = ["--no-plugin", "listening", *command]
    if where == "behind":
        command = [*command, "--no-plugin=listening"]
    assert main(command) == 0
    assert "left out: listening (unknown unknown, " in capsys.readouterr().out


def test_picked_plugins_are_the_only_ones_from_outside(
    installed: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed += [plugin(name, mmtk_recipe_defaults=no_defaults) for name in ("one", "two")]
    monkeypatch.setenv("MMTK_PLUGINS", "two, -albef")
    found = {one.name: one.error for one in load_plugins().plugins}
    assert found["two"] is None
    assert found["blip"] is None
    assert found["one"] == "not among those that MMTK_PLUGINS picks"
    assert found["albef"] == "blocked by MMTK_PLUGINS or --no-plugin"


def test_several_plugins_are_left_out_by_one_option(
    installed: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed += [plugin(name, mmtk_recipe_defaults=no_defaults) for name in ("one", "two", "three")]
    monkeypatch.setenv("MMTK_PLUGINS", "")
    assert take_options(["list-plugins", "--no-plugin", "one, two", "--no-plugin=albef"]) == ["list-plugins"]
    found = {
        one.name: one.left_out
        for one in load_plugins().plugins
        if one.name in ("one", "two", "three", "albef")
    }
    assert found == {"one": True, "two": True, "three": False, "albef": True}


@pytest.mark.parametrize("names", ["", "one,", ",one", "one,-two", "-one"])
def test_no_plugin_needs_names(names: str) -> None:
    with pytest.raises(PluginError, match="--no-plugin needs the name of a plugin"):
        take_options(["list-plugins", f"--no-plugin={names}"])


def test_misspelt_choices_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMTK_PLUGINS", "-albf")
    with pytest.raises(PluginError, match="'albf', which is no plugin; did you mean 'albef'"):
        load_plugins()
    monkeypatch.delenv("MMTK_PLUGINS")
    assert main(["list-plugins", "--no-plugin"]) == 2
    assert "--no-plugin needs the name of a plugin" in capsys.readouterr().err


class Counting:
    """A component that hears of two events."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def mmtk_step_ended(self) -> None:
        self.heard.append("step")

    @hookimpl
    def mmtk_metrics_logged(self, event: MetricsLogged) -> None:
        self.heard.append(f"figures of step {event.step}")


def test_a_component_hears_by_its_methods_before_plugins_and_while_it_has_joined() -> None:
    counting, events = Counting(), []

    def note(event: Any) -> list[object]:
        events.append((event, list(counting.heard)))
        return []

    listeners = Listeners({"mmtk_metrics_logged": (Listener("a plugin", note),)})
    logged = MetricsLogged("train", Path(), 3, {})
    assert not listeners.hears(StepEnded)
    with listeners.joined_by(hooks_of(counting, "counting")):
        assert listeners.hears(StepEnded)
        listeners.tell(StepEnded("train", 3, {}))
        listeners.tell(logged)
    listeners.tell(logged)
    listeners.tell(StepEnded("train", 4, {}))
    heard = ["step", "figures of step 3"]
    assert events == [(logged, heard), (logged, heard)]
    assert not listeners.hears(StepEnded)


def test_a_component_that_fails_is_left_out_and_a_required_one_ends_the_stage() -> None:
    def fail(event: Any) -> list[object]:
        raise OSError(f"no room for step {event.step}")

    said: list[str] = []
    logged = MetricsLogged("train", Path(), 3, {})
    for required in (False, True):
        listeners = Listeners()
        listeners.say = said.append
        failing = [("mmtk_metrics_logged", Listener("logger 'one'", fail, required))]
        with listeners.joined_by(failing):
            if required:
                with pytest.raises(OSError, match="no room for step 3"):
                    listeners.tell(logged)
            else:
                listeners.tell(logged)
                listeners.tell(logged)
    assert said == [
        "logger 'one' failed in its hook mmtk_metrics_logged, which is not called again: "
        "OSError: no room for step 3"
    ]


def test_hooks_of_a_component_that_no_event_calls_are_refused() -> None:
    class Misspelt:
        @hookimpl
        def mmtk_metric_logged(self, event: object) -> None: ...

    class Asking:
        @hookimpl
        def mmtk_step_ended(self, event: object, folder: Path) -> None: ...

    class OfAPlugin:
        @hookimpl
        def mmtk_recipe_defaults(self) -> dict[str, Any]:
            return {}

    with pytest.raises(PluginError, match=r"one: unknown hook .*; did you mean 'mmtk_metrics_logged'"):
        hooks_of(Misspelt(), "one")
    with pytest.raises(PluginError, match=r"two: .*'folder'"):
        hooks_of(Asking(), "two")
    with pytest.raises(PluginError, match="three: unknown hook 'mmtk_recipe_defaults'"):
        hooks_of(OfAPlugin(), "three")
