"""Plugins add commands to the program; listing them imports none."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mmtk import plugins
from mmtk.cli import main
from mmtk.cli.list_plugins import component_table
from mmtk.commands import Command
from mmtk.plugins import PluginHost, load_plugins
from tests.host.test_plugins import Installed

PLUGIN = """
from mmtk.api import Command, hookimpl

@hookimpl
def mmtk_commands():
    return [{commands}]
"""
MODULE = """
import argparse

def add_arguments(parser):
    parser.add_argument("word")
    parser.add_argument("--times", type=int, default=1)

def execute(arguments):
    print(" ".join([arguments.word] * arguments.times))
    return 7
"""


class Shop:
    """Installs plugins for this process alone, each a module behind a made-up entry point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.points: list[EntryPoint] = []

    def module(self, name: str, source: str = MODULE) -> str:
        whole = f"{self.folder.name}_{name}".replace("-", "_")
        (self.folder / f"{whole}.py").write_text(source)
        return whole

    def add(self, plugin: str, commands: str, distribution: str = "kit") -> None:
        point = EntryPoint(plugin, self.module(f"plugin_{plugin}", PLUGIN.format(commands=commands)), "mmtk")
        vars(point)["dist"] = Installed(distribution, "2.0")
        self.points.append(point)

    def errors(self) -> dict[str, str | None]:
        return {plugin.name: plugin.error for plugin in load_plugins(self.points).plugins}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    opened = Shop(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "entry_points", lambda group: opened.points if group == "mmtk" else [])
    return opened


def ended(*arguments: str) -> int:
    """The exit code of a command line, whether it returns or ends the program."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def test_a_command_is_called_with_its_arguments(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("parrot", f"Command('say', '{shop.module('say')}', 'Say a word, 100% of it.')")
    assert ended("say", "hello", "--times", "2") == 7
    assert capsys.readouterr().out == "hello hello\n"
    assert ended("say") == 2
    assert "mmtk say: the following arguments are required: word" in capsys.readouterr().err
    assert ended("say", "--help") == 0
    assert "--times" in capsys.readouterr().out


def test_commands_of_a_group(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    inner = f"Command('say', '{shop.module('say')}', 'Say a word.'), Command('shout', 'nowhere', 'Shout.')"
    shop.add("parrot", f"Command('parrot', summary='What parrots do.', commands=({inner}))")
    assert ended("parrot", "say", "hello") == 7
    assert capsys.readouterr().out == "hello\n"
    assert ended("parrot") == 2
    assert "Shout." in capsys.readouterr().err
    assert ended("parrot", "--help") == 0
    printed = capsys.readouterr().out
    assert "What parrots do." in printed
    assert "Say a word." in printed
    assert ended("parrot", "sai", "hello") == 2
    error = capsys.readouterr().err
    assert "mmtk parrot: unknown command 'sai'; did you mean 'say'?" in error
    assert "see 'mmtk parrot --help'" in error


def test_help_lists_a_command_without_importing_it(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    module = shop.module("heavy", "raise AssertionError('imported')")
    shop.add("parrot", f"Command('say', '{module}', 'Say a word, 100% of it.')")
    assert ended("--help") == 0
    assert "Say a word, 100% of it." in capsys.readouterr().out
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_at_all", "can't be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(0)", "can't be imported: SystemExit: 0"),
        ("def add_arguments(parser): pass", "has no function 'execute'"),
    ],
)
def test_a_command_that_cant_be_used(
    shop: Shop, capsys: pytest.CaptureFixture[str], source: str, message: str
) -> None:
    module = shop.module("torn", source)
    shop.add("parrot", f"Command('say', '{module}')")
    assert ended("say", "hello") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mmtk: command 'say' (from parrot/kit 2.0): {module} ")
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("function", ["add_arguments", "execute"])
def test_a_command_that_lacks_a_module(shop: Shop, capsys: pytest.CaptureFixture[str], function: str) -> None:
    module = shop.module(f"lacking_{function}", f"{MODULE}\ndef {function}(_):\n    import nosuchlib\n")
    shop.add("parrot", f"Command('bird', commands=(Command('say', '{module}'),))")
    assert ended("bird", "say", "hello") == 2
    assert capsys.readouterr().err == (
        "mmtk: command 'say' (from parrot/kit 2.0) needs the module 'nosuchlib', which is not installed\n"
    )


@pytest.mark.parametrize(
    ("function", "doing"), [("add_arguments", "named its arguments"), ("execute", "was called")]
)
def test_a_bug_in_a_command_keeps_its_traceback_and_names_the_plugin(
    shop: Shop, function: str, doing: str
) -> None:
    module = shop.module(f"buggy_{function}", f"{MODULE}\ndef {function}(_):\n    return {{}}['x']\n")
    shop.add("parrot", f"Command('say', '{module}')")
    with pytest.raises(KeyError) as caught:
        main(["say", "hello"])
    assert caught.value.__notes__ == [f"This happened when command 'say' (from parrot/kit 2.0) {doing}."]


def test_a_command_may_end_the_program(shop: Shop) -> None:
    module = shop.module("ending", f"{MODULE}\ndef execute(_):\n    raise SystemExit(5)\n")
    shop.add("parrot", f"Command('say', '{module}')")
    assert ended("say", "hello") == 5


def test_an_unknown_command_may_be_a_plugins(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMTK_PLUGINS", "")
    shop.add("parrot", "Command('repeat', 'json')")
    assert ended("repaet") == 2
    assert "unknown command 'repaet'; did you mean 'repeat'?" in capsys.readouterr().err
    shop.add("torn", "1 / 0")
    assert ended("xyzzy") == 2
    error = capsys.readouterr().err
    why = "mmtk_commands failed: ZeroDivisionError: division by zero (kit 2.0)"
    assert f"repeat (plugin 'torn' is broken: {why}; its commands are missing)\n" in error
    assert ended("repaet", "--no-plugin", "torn") == 2
    assert "unknown command 'repaet'; did you mean 'repeat'?\n" in capsys.readouterr().err
    assert ended("xyzzy") == 2
    why = "blocked by MMTK_PLUGINS or --no-plugin"
    assert (
        f"repeat (plugin 'torn' is left out ({why}); its commands are missing)\n" in capsys.readouterr().err
    )


def test_a_built_in_command_asks_no_plugin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked() -> PluginHost:
        raise AssertionError("plugins were loaded")

    monkeypatch.setattr(plugins, "load_plugins", asked)
    assert ended("run", "--help") == 0
    assert ended("--version") == 0
    assert "RECIPE" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="plugins were loaded"):
        main(["say"])


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ("3", "mmtk_commands gave 3, which is no Command"),
        ("Command('Say', 'json')", "command 'Say': a name is made of lower-case letters, digits and '-'"),
        ("Command('say')", "command 'say' needs a module, or commands of its own, and not both"),
        (
            "Command('say', 'json', commands=(Command('it', 'json'),))",
            "command 'say' needs a module, or commands of its own, and not both",
        ),
        ("Command('say', 'json:dumps')", "command 'say': its module 'json:dumps' is no 'package.module'"),
        ("Command('say', commands=(Command('it!', 'json'),))", "command 'it!': a name is made of"),
        ("Command('say', 'json'), Command('say', 'json')", "offers command 'say' twice"),
        (
            "Command('say', commands=(Command('it', 'json'), Command('it', 'json')))",
            "offers command 'it' twice",
        ),
        ("Command('run', 'json')", "its command 'run' is taken by mmtk itself"),
        ("Command(3, 'json')", "a command: its name must be a text, not an int"),
        (
            "Command('say', Command)",
            "command 'say': its module must be the text 'package.module', not a class",
        ),
        ("Command('say', 'json', None)", "command 'say': its summary must be a text, not None"),
        (
            "Command('say', commands='it')",
            "command 'say': its commands must be a tuple of Command, not a str",
        ),
        ("Command('say', commands=['it'])", "mmtk_commands gave 'it', which is no Command"),
        ("1 / 0", "mmtk_commands failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_command_quarantines_its_plugin(shop: Shop, commands: str, reason: str) -> None:
    shop.add("alpha", "Command('fine', 'json')")
    shop.add("broken", commands)
    errors = shop.errors()
    assert errors["alpha"] is None
    assert (errors["broken"] or "").startswith(reason)
    assert load_plugins(shop.points).commands == (Command("fine", "json"),)


def test_of_two_plugins_with_one_command_the_first_keeps_it(shop: Shop) -> None:
    shop.add("beta", "Command('say', 'json')", "other")
    shop.add("alpha", "Command('say', 'json')")
    shop.add("gamma", "Command('say', 'json')", "mmtk")
    taken = "its command 'say' is taken by plugin 'gamma' (mmtk 2.0)"
    assert shop.errors() == {"alpha": taken, "beta": taken, "gamma": None}
    host = load_plugins(shop.points)
    assert len(host.commands) == 1
    assert set(host.registry.missing.broken) == {"alpha", "beta"}


def test_list_plugins_shows_what_can_be_called(shop: Shop) -> None:
    shop.add("parrot", "Command('bird', commands=(Command('say', 'json', 'Say [a] word.'),))")
    table = component_table(list(load_plugins(shop.points).plugins))
    cells = [list(column.cells) for column in table.columns]
    assert cells == [["parrot"], ["kit 2.0"], ["command"], ["bird say"], [r"Say \[a] word."]]
