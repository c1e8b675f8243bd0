from __future__ import annotations

import subprocess
import sys
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from mmtk.cli.list_plugins import component_table, of_kind
from mmtk.discover.doctor import examine
from mmtk.plugins import PluginHost, PluginInfo, load_plugins

GOOD = """
from mmtk.api import Component, hookimpl

@hookimpl
def mmtk_components():
    return [Component("head", "{name}", "json:dumps", None, "a head")]
"""


NO_HOOK = "implements no hook of mmtk, such as mmtk_components; is @hookimpl missing?"


class Installed(Distribution):
    """A distribution as the import system would report it."""

    def __init__(self, name: str, version: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


class Workshop:
    """Writes plugin modules and makes entry points for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.points: list[EntryPoint] = []

    def add(self, name: str, source: str, distribution: str = "kit", version: str = "2.0") -> None:
        module = f"mmtk_test_{self.folder.name}_{len(self.points)}".replace("-", "_")
        (self.folder / f"{module}.py").write_text(source)
        self.point(name, module, distribution, version)

    def point(self, name: str, value: str, distribution: str = "kit", version: str = "2.0") -> None:
        point = EntryPoint(name, value, "mmtk")
        vars(point)["dist"] = Installed(distribution, version)
        self.points.append(point)

    def load(self) -> PluginHost:
        return load_plugins(self.points)

    def info(self, name: str) -> PluginInfo:
        (found,) = [plugin for plugin in self.load().plugins if plugin.name == name]
        return found


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Workshop(tmp_path)


def test_a_plugin_that_works(workshop: Workshop) -> None:
    workshop.add("shiny", GOOD.format(name="gleam"))
    host = workshop.load()
    (plugin,) = host.plugins
    assert (plugin.name, plugin.distribution, plugin.version, plugin.error) == ("shiny", "kit", "2.0", None)
    assert [component.name for component in plugin.components] == ["gleam"]
    found = host.registry.get("head", "gleam")
    assert found.origin == "shiny/kit 2.0"
    assert host.registry.get("head", "shiny/gleam") is found


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nowhere_at_all", "can't be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("1 / 0", "can't be imported: ZeroDivisionError: division by zero"),
        ("def (", "can't be imported: SyntaxError: "),
        ("import sys; sys.exit(3)", "can't be imported: SystemExit: 3"),
        ("raise KeyError()", "can't be imported: KeyError"),
        ("x = 1", NO_HOOK),
        ("def mmtk_components():\n    return []", NO_HOOK),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_component():\n    return []",
            "unknown hook 'mmtk_component'; did you mean 'mmtk_components'?",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef something_else():\n    return []",
            "unknown hook 'something_else'; there are: mmtk_components, mmtk_commands",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_components(extra):\n    return []",
            "its hook mmtk_components takes the argument 'extra', and is given none",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_stage_ended(evnt):\n    pass",
            "its hook mmtk_stage_ended takes the argument 'evnt', and is given 'event'",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl(wrapper=True)\ndef mmtk_components():\n    return []",
            "Plugin 'broken' for hook 'mmtk_components'; hookimpl definition: mmtk_components(); Declared as "
            "wrapper=True or hookwrapper=True but function is not a generator function",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_components():\n    raise RuntimeError('no')",
            "mmtk_components failed: RuntimeError: no",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_components():\n    []",
            "mmtk_components returned None in place of a list; is 'return' missing?",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_commands():\n    []",
            "mmtk_commands returned None in place of a list; is 'return' missing?",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_components():\n    return 3",
            "mmtk_components failed: TypeError: 'int' object is not iterable",
        ),
        (
            "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_components():\n    return ['itm']",
            "mmtk_components gave 'itm', which is no Component",
        ),
        (
            GOOD.replace('"head"', '"haed"'),
            "component '{name}' has the unknown kind 'haed'; did you mean 'head'?",
        ),
        (
            GOOD.replace('"head"', '"zzzz"'),
            "component '{name}' has the unknown kind 'zzzz'; there are: image",
        ),
        (GOOD.format(name="a/b"), "head 'a/b': a name is made of letters, digits"),
        (
            GOOD.format(name="x").replace("json:dumps", "json.dumps"),
            "head 'x': its factory 'json.dumps' is no",
        ),
        (
            GOOD.format(name="x").replace("None", "'json'"),
            "head 'x': its config 'json' is no 'module:attribute'",
        ),
        (
            GOOD.format(name="x").replace("return [", "return 2 * ["),
            "offers head 'x' twice",
        ),
        (
            GOOD.format(name="x").replace('"json:dumps"', "Exception"),
            "head 'x': its factory must be the text 'module:attribute', not a class",
        ),
        (
            GOOD.format(name="x").replace("None", "3"),
            "head 'x': its config must be the text 'module:attribute', not an int",
        ),
        (
            GOOD.format(name="x").replace('"head"', '["head"]'),
            "component 'x': its kind must be a text, not a list",
        ),
        (GOOD.replace('"{name}"', "None"), "a head: its name must be a text, not None"),
        (GOOD.format(name="x").replace('"a head"', "5"), "head 'x': its summary must be a text, not an int"),
        (
            GOOD.format(name="x")
            + "class Odd(Component):\n    kind = property(lambda self: 1 / 0)\n"
            + "def own():\n    return [Odd.__new__(Odd)]\n"
            + "mmtk_components = hookimpl(own, specname='mmtk_components')",
            "offers what can't be read: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_broken_plugin_is_quarantined_and_stops_no_other(
    workshop: Workshop, source: str, reason: str
) -> None:
    workshop.add("alpha", GOOD.format(name="one"))
    workshop.add("broken", source, "old-kit", "0.3")
    workshop.add("omega", GOOD.format(name="two"))
    host = workshop.load()
    by_name = {plugin.name: plugin for plugin in host.plugins}
    broken = by_name["broken"]
    assert broken.error is not None
    assert broken.error.startswith(reason)
    assert "\n" not in broken.error
    assert (broken.distribution, broken.version, broken.components) == ("old-kit", "0.3", ())
    assert by_name["alpha"].error is None
    assert by_name["omega"].error is None
    assert [one.component.name for one in host.registry.of_kind("head")] == ["one", "two"]
    assert host.registry.missing.broken == {"broken": f"{broken.error} (old-kit 0.3)"}


HEARS = """
from mmtk.api import hookimpl

@hookimpl
def mmtk_stage_ended(event):
    pass

@hookimpl
def mmtk_run_started(event):
    pass
"""


def test_a_plugin_of_hooks_alone_has_them_listed(workshop: Workshop) -> None:
    workshop.add("ears", HEARS)
    plugin = workshop.info("ears")
    assert (plugin.error, plugin.hooks) == (None, ("mmtk_run_started", "mmtk_stage_ended"))
    table = component_table([plugin, of_kind(plugin, "head"), of_kind(plugin, "hook")])
    assert list(table.columns[3].cells) == 2 * ["mmtk_run_started", "mmtk_stage_ended"]
    assert list(table.columns[2].cells) == 4 * ["hook"]


def test_a_plugin_that_imports_what_is_heavy_is_noted(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmtk.plugins.HEAVY", frozenset({"mmtk_test_lead", "torch"}))
    (workshop.folder / "mmtk_test_lead.py").write_text("")
    workshop.add("alpha", GOOD.format(name="one"))
    workshop.add("beta", "import mmtk_test_lead\n" + GOOD.format(name="two"))
    workshop.add("gamma", "import mmtk_test_lead\n" + GOOD.format(name="three"))
    host = workshop.load()
    assert [plugin.heavy for plugin in host.plugins] == [(), ("mmtk_test_lead",), ()]
    beta = next(one for one in examine(host) if one.name == "beta")
    assert beta.works
    assert beta.detail.startswith("kit 2.0; its module mmtk_test_")
    assert beta.detail.endswith("_1 imports mmtk_test_lead, and slows every command")


def test_a_module_that_doesnt_exist(workshop: Workshop) -> None:
    workshop.point("lost", "mmtk_lost.plugin")
    assert (
        workshop.info("lost").error == "can't be imported: ModuleNotFoundError: No module named 'mmtk_lost'"
    )


def test_two_misspelt_plugins(workshop: Workshop) -> None:
    for name in ("a", "b"):
        workshop.add(name, "from mmtk.api import hookimpl\n@hookimpl\ndef mmtk_compnents():\n    return []")
    errors = {plugin.error for plugin in workshop.load().plugins}
    assert errors == {"unknown hook 'mmtk_compnents'; did you mean 'mmtk_components'?"}


def test_a_plugins_name_that_is_taken(workshop: Workshop) -> None:
    workshop.add("builtin", GOOD.format(name="theirs"), "a-impostor", "9.9")
    workshop.add("builtin", GOOD.format(name="ours"), "mmtk", "0.1")
    first, second = workshop.load().plugins
    assert (first.distribution, first.error) == ("mmtk", None)
    assert second.error is not None
    assert second.error.startswith("the name 'builtin' is taken by mmtk 0.1, ")
    assert [one.component.name for one in workshop.load().registry.of_kind("head")] == ["ours"]


def test_two_plugins_of_one_module(workshop: Workshop) -> None:
    workshop.add("one", GOOD.format(name="same"))
    workshop.point("two", workshop.points[0].value)
    first, second = workshop.load().plugins
    assert first.error is None
    assert (second.error or "").startswith("ValueError: Plugin ")
    assert "\n" not in (second.error or "")


def test_two_plugins_of_one_component(workshop: Workshop) -> None:
    workshop.add("one", GOOD.format(name="same"))
    workshop.add("two", GOOD.format(name="same"), "other", "1.0")
    host = workshop.load()
    assert [plugin.error for plugin in host.plugins] == [None, None]
    assert host.registry.get("head", "one/same").plugin == "one"


def test_plugins_are_in_the_order_of_their_names(workshop: Workshop) -> None:
    for name in ("c", "a", "b"):
        workshop.add(name, GOOD.format(name=name))
    assert [plugin.name for plugin in workshop.load().plugins] == ["a", "b", "c"]


def test_no_plugins() -> None:
    assert load_plugins([]).plugins == ()


def test_what_is_installed_here_works() -> None:
    host = load_plugins()
    own = {plugin.name: plugin for plugin in host.plugins if plugin.distribution == "mmtk"}
    points = [point for point in entry_points(group="mmtk") if point.dist and point.dist.name == "mmtk"]
    assert set(own) == {point.name for point in points}
    assert {name: plugin.error for name, plugin in own.items() if plugin.error} == {}
    assert host.registry.get("stage", "train").plugin == "builtin"
    assert host.registry.get("model", "med").plugin == "blip"


def test_every_installed_component_can_be_imported_and_has_a_readable_config() -> None:
    from mmtk.kinds import KINDS
    from mmtk.recipe.schema import component_schema

    for kind in KINDS:
        for registration in load_plugins().registry.of_kind(kind):
            assert callable(registration.factory()), registration.qualified_name
            schema = component_schema(registration)
            assert bool(schema.outputs) == (kind == "stage"), registration.qualified_name
            assert registration.component.summary, registration.qualified_name


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom mmtk.plugins import load_plugins\nassert len(load_plugins().plugins) >= 5\n"
        "heavy = {'torch', 'timm', 'transformers', 'numpy', 'PIL', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


RANGED = """
MMTK_API = {range!r}
from mmtk.api import Component, hookimpl{also}

@hookimpl
def mmtk_components():
    return [Component("head", "gleam", "json:dumps", None, "a head")]
"""


@pytest.mark.parametrize("range_", [">=1.0,<2", ">=1", "~=1.0", ""])
def test_a_plugin_whose_range_holds_this_api_is_taken(workshop: Workshop, range_: str) -> None:
    workshop.add("shiny", RANGED.format(range=range_, also=""))
    assert workshop.info("shiny").error is None


@pytest.mark.parametrize("also", ["", ", FromTheFuture"])
@pytest.mark.parametrize("range_", [">=1.7,<2", "<1", ">=3"])
def test_a_plugin_for_another_api_is_quarantined_and_says_so(
    workshop: Workshop, range_: str, also: str
) -> None:
    """Also where its import fails for what that other version has."""
    workshop.add("shiny", RANGED.format(range=range_, also=also))
    assert workshop.info("shiny").error == f"needs mmtk.api {range_}, and this mmtk has 1.0"
    assert workshop.load().registry.of_kind("head") == []


def test_a_range_with_its_type_is_read_where_the_import_fails(workshop: Workshop) -> None:
    source = RANGED.format(range=">=3", also=", FromTheFuture").replace("MMTK_API =", "MMTK_API: str =")
    workshop.add("shiny", source)
    assert workshop.info("shiny").error == "needs mmtk.api >=3, and this mmtk has 1.0"


def test_a_plugin_in_range_that_cannot_be_imported_says_why(workshop: Workshop) -> None:
    workshop.add("shiny", RANGED.format(range=">=1.0,<2", also=", FromTheFuture"))
    error = workshop.info("shiny").error
    assert error is not None
    assert error.startswith("can't be imported: ImportError: cannot import name 'FromTheFuture'")


@pytest.mark.parametrize("range_", ["1.0", ">=1.0 and <2", 1, (1, 0)])
def test_what_is_no_range_of_versions_is_told(workshop: Workshop, range_: object) -> None:
    workshop.add("shiny", RANGED.format(range=range_, also=""))
    expected = f'its MMTK_API {range_!r} is no range of versions such as ">=1.0,<2"'
    assert workshop.info("shiny").error == expected
