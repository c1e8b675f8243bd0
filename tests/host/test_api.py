"""``mmtk.api`` lists what it gives, gives what it lists, and warns of what will go."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmtk import api, facade
from mmtk.facade import ApiDeprecationWarning, Deprecated

SOURCE = Path(api.__file__)
USER = "from mmtk.api import old_name\nfrom mmtk.api import old_name as again\n"


def imports(body: list[ast.stmt]) -> dict[str, str]:
    """The names that statements import, and from where."""
    return {
        alias.asname or alias.name: str(node.module)
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def typed() -> dict[str, str]:
    """What type checkers are told of the names that are imported late."""
    (block,) = (node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    return imports(block.body)


def test_type_checkers_see_what_is_imported_late() -> None:
    assert typed() == api._PLACES


def test_all_that_is_imported_is_listed_once_and_found() -> None:
    early = imports(ast.parse(SOURCE.read_text()).body)
    public = {name for name, module in early.items() if module not in {"__future__", "typing", "mmtk.facade"}}
    assert public | api._PLACES.keys() == set(api.__all__)
    assert len(set(api.__all__)) == len(api.__all__)
    assert [name for name in api.__all__ if not hasattr(api, name)] == []
    assert dir(api) == sorted(api.__all__)


def test_importing_it_imports_nothing_heavy_and_a_late_name_is_the_hosts_own() -> None:
    code = (
        "import sys, mmtk.api\n"
        "assert not {'torch', 'pyarrow', 'PIL', 'matplotlib', 'jinja2'} & set(sys.modules), sys.modules\n"
        "from mmtk.api import Quarantine, charts\n"
        "import mmtk.data.quarantine, mmtk.report.charts\n"
        "assert Quarantine is mmtk.data.quarantine.Quarantine\n"
        "assert charts is mmtk.report.charts\n"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_misspelt_name_is_told_the_likely_one() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Quarantin'; did you mean 'Quarantine'"):
        _ = api.Quarantin


@pytest.fixture
def old_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entry = Deprecated("1.1", "mmtk.api.stable_hash", "mmtk.types:stable_hash")
    monkeypatch.setitem(api._DEPRECATED, "old_name", entry)
    monkeypatch.setattr(facade, "_warned", set())
    yield
    sys.modules.pop("its_module", None)
    sys.modules.pop("other_module", None)


def installed(folder: Path, distribution: str, module: str) -> None:
    """Put a distribution with one module where it is found as if pip had installed it."""
    (folder / f"{module}.py").write_text(USER)
    metadata = folder / f"{distribution.replace('-', '_')}-2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.0\n")
    (metadata / "top_level.txt").write_text(f"{module}\n")
    (metadata / "RECORD").write_text("")


@pytest.mark.usefixtures("old_name")
def test_a_deprecated_name_works_and_warns_once_for_each_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "its-plugin", "its_module")
    installed(tmp_path, "other-plugin", "other_module")
    monkeypatch.syspath_prepend(str(tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import its_module  # type: ignore[import-not-found]
        import other_module  # type: ignore[import-not-found] # noqa: F401
    assert its_module.again is its_module.old_name is api.stable_hash
    assert [one.category for one in caught] == [ApiDeprecationWarning] * 2
    assert str(caught[0].message) == (
        "mmtk.api.old_name, which its-plugin uses in its_module, is deprecated since 1.1 and will go:"
        " use mmtk.api.stable_hash"
    )
    assert (caught[0].filename, caught[0].lineno) == (str(tmp_path / "its_module.py"), 1)
    assert "which other-plugin uses in other_module" in str(caught[1].message)


@pytest.mark.usefixtures("old_name")
def test_a_deprecated_name_is_not_listed() -> None:
    assert "old_name" not in dir(api)


def test_what_is_deprecated_can_still_be_imported() -> None:
    assert all(name not in api.__all__ for name in api._DEPRECATED)
    for entry in api._DEPRECATED.values():
        assert facade.import_attribute(entry.place)
