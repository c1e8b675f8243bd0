from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.errors import PluginError, RecipeError
from mmtk.registry import Component, Registration, Registry, import_attribute, nearest


def registration(kind: str, name: str, plugin: str = "one", **more: str) -> Registration:
    component = Component(kind, name, more.get("factory", "json:dumps"), more.get("config"))
    return Registration(component, plugin, f"dist-{plugin}", "1.0")


REGISTRY = Registry(
    [
        registration("head", "itm"),
        registration("head", "itc"),
        registration("head", "lm", "two"),
        registration("head", "itm", "two"),
        registration("loss", "soft"),
    ],
    {"glass": "can't be imported: ImportError: no sand (glass-kit 2.0)"},
    left_out={"stone": "blocked by MMTK_PLUGINS or --no-plugin"},
)
GLASS = "plugin 'glass' is broken: can't be imported: ImportError: no sand (glass-kit 2.0)"
STONE = "plugin 'stone' is left out (blocked by MMTK_PLUGINS or --no-plugin)"
FULL = f" ({GLASS}; its components are missing) ({STONE}; its components are missing)"
MANY = (
    " (plugins 'a', 'c' are left out (not picked); their components are missing)"
    " (plugin 'b' is left out (blocked); its components are missing)"
)
BRIEF = " (components of broken plugins are missing: glass; see 'mmtk list-plugins')"


def test_plugins_that_are_left_out_for_one_reason_are_told_together() -> None:
    registry = Registry([], left_out={"a": "not picked", "b": "blocked", "c": "not picked"})
    with pytest.raises(RecipeError) as caught:
        registry.get("negatives", "none")
    assert str(caught.value) == f"unknown negatives 'none'; no plugin offers a sampler of negatives{MANY}"


def test_by_name_and_by_qualified_name() -> None:
    assert REGISTRY.get("head", "lm").plugin == "two"
    assert REGISTRY.get("head", "two/lm") is REGISTRY.get("head", "lm")
    assert REGISTRY.get("head", "one/itm").plugin == "one"
    assert REGISTRY.get("head", "two/itm").plugin == "two"
    assert REGISTRY.get("head", "two/itm").origin == "two/dist-two 1.0"


def test_two_plugins_offer_one_name() -> None:
    with pytest.raises(RecipeError) as caught:
        REGISTRY.get("head", "itm")
    assert str(caught.value) == (
        "head 'itm' is offered by several plugins; write 'one/itm' (dist-one 1.0) or 'two/itm' (dist-two 1.0)"
    )


def own(kind: str, name: str, plugin: str = "builtin") -> Registration:
    return Registration(Component(kind, name, "json:dumps"), plugin, "mmtk", "0.2")


def test_a_name_of_mmtks_own_keeps_its_meaning() -> None:
    registry = Registry(
        [registration("head", "itm", "a"), own("head", "itm"), registration("head", "itm", "z")]
    )
    assert registry.get("head", "itm").plugin == "builtin"
    assert registry.get("head", "z/itm").plugin == "z"
    spellings = [registry.spelling(one) for one in registry.of_kind("head")]
    assert spellings == ["a/itm", "itm", "z/itm"]
    twice = Registry([own("head", "itm"), own("head", "itm", "blip"), registration("head", "itm", "z")])
    with pytest.raises(
        RecipeError, match=r"by several plugins; write 'blip/itm' .* or 'builtin/itm' .* or 'z/"
    ):
        twice.get("head", "itm")


def test_a_default_means_the_component_of_the_plugin_that_declares_it() -> None:
    registry = Registry([*REGISTRY.of_kind("head"), own("head", "itc"), own("head", "itm")])
    assert registry.of_default("head", "itm", "two").plugin == "two"
    assert registry.of_default("head", "itc", "two").plugin == "builtin"
    assert registry.of_default("head", "one/itc", "two").plugin == "one"
    with pytest.raises(RecipeError, match="head 'itm' is offered by several plugins"):
        REGISTRY.of_default("head", "itm", "glass")


def test_what_was_stored_means_the_plugins_that_it_has_used() -> None:
    both = Registry([registration("head", "itm"), registration("head", "itm", "two"), own("head", "lm")])
    found = both.preferring({"two", "builtin"})
    assert found.get("head", "itm").plugin == "two"
    assert found.spelling(found.get("head", "itm")) == "itm"
    assert found.get("head", "lm").plugin == "builtin"
    for plugins in ((), ("one", "two"), ("gone",)):
        with pytest.raises(RecipeError, match="head 'itm' is offered by several plugins"):
            both.preferring(plugins).get("head", "itm")


def test_one_plugin_offers_one_name_twice() -> None:
    with pytest.raises(PluginError, match="plugin 'one' offers loss 'soft' twice"):
        Registry([registration("loss", "soft"), registration("loss", "soft")])
    both = Registry([registration("loss", "soft"), registration("head", "soft")])
    assert both.get("loss", "soft").component.kind == "loss"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("head", "itn", f"unknown head 'itn'; did you mean 'itm'?{BRIEF}"),
        ("head", "zzzz", f"unknown head 'zzzz'; there are: itc, itm, lm{FULL}"),
        ("loss", "lm", f"unknown loss 'lm'; there is a head of this name, but a loss is needed here{FULL}"),
        (
            "loss",
            "two/lm",
            f"unknown loss 'two/lm'; there is a head of this name, but a loss is needed here{FULL}",
        ),
        ("metric", "recall", f"unknown metric 'recall'; no plugin offers a metric{FULL}"),
        ("head", "three/lm", f"unknown head 'three/lm'; did you mean 'two/lm'?{BRIEF}"),
        ("head", "glass/lm", f"head 'glass/lm' can't be used: {GLASS}"),
        ("head", "stone/lm", f"head 'stone/lm' can't be used: {STONE}"),
    ],
)
def test_unknown_names(kind: str, name: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        REGISTRY.get(kind, name)
    assert str(caught.value) == message


def test_a_near_spelling_is_told_without_the_plugins_that_are_left_out() -> None:
    registry = Registry([registration("head", "itm")], left_out={"stone": "blocked"})
    with pytest.raises(RecipeError) as caught:
        registry.get("head", "itn")
    assert str(caught.value) == "unknown head 'itn'; did you mean 'itm'?"


def test_of_kind_is_sorted() -> None:
    found = [one.qualified_name for one in REGISTRY.of_kind("head")]
    assert found == ["one/itc", "one/itm", "two/itm", "two/lm"]
    assert REGISTRY.of_kind("metric") == []
    assert Registry().of_kind("head") == []


def test_imports_are_late_and_explain_themselves() -> None:
    found = registration("head", "x", factory="tests.nowhere:f", config="json:nothing")
    with pytest.raises(PluginError) as caught:
        found.factory()
    assert str(caught.value) == (
        "the factory of head 'x' (from one/dist-one 1.0), tests.nowhere:f, can't be imported:"
        " ModuleNotFoundError: No module named 'tests.nowhere'"
    )
    with pytest.raises(
        PluginError, match=r"the config of head 'x' .* json:nothing, can't be imported: Attribute"
    ):
        found.config()
    assert registration("head", "x").config() is None
    assert registration("head", "x").factory()([1]) == "[1]"


def test_a_module_that_ends_the_program_cant_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving_config.py").write_text("raise SystemExit('bye')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"leaving_config:C, can't be imported: SystemExit: bye"):
        registration("head", "x", config="leaving_config:C").config()


def test_import_strings() -> None:
    assert import_attribute("pathlib:Path.cwd")() == import_attribute("pathlib:Path").cwd()
    with pytest.raises(AttributeError):
        import_attribute("pathlib:Path.nowhere")


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1), st.data())
def test_a_name_is_nearest_to_itself(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    assert nearest(name, names) == name


def test_nearest() -> None:
    assert nearest("neg_smapler", ["loss", "negatives", "weight"]) == "negatives"
    assert nearest("zzz", ["loss"]) is None
    assert nearest("x", []) is None
