"""``mmtk new-plugin`` writes packages whose tests pass and whose recipes can be checked and run."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mmtk.cli import main
from mmtk.kinds import KINDS
from mmtk.plugins import load_plugins
from mmtk.scaffold import KINDS as TEMPLATES
from mmtk.testing import tiny_picture
from tests.third_party import imported_from_mmtk, install, mmtk

ROOT = Path(__file__).parents[1]
NAME, PACKAGE = "my-siglip", "my_siglip"


@pytest.fixture(autouse=True)
def forget_the_package() -> Iterator[None]:
    yield
    for name in [one for one in sys.modules if one.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def scaffold(kind: str, folder: Path) -> Path:
    assert main(["new-plugin", NAME, "--kind", kind, "--into", str(folder)]) == 0
    return folder / NAME


def let_be_found(package: str, name: str, site: Path) -> None:
    """Write the metadata that ``pip install -e`` would."""
    metadata = site / f"{package}-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(f"[mmtk]\n{package} = {package}.plugin\n")


def test_there_is_a_template_for_what_is_written_most() -> None:
    assert TEMPLATES.keys() <= KINDS.keys()
    assert len(TEMPLATES) == 12


def test_the_tests_of_every_kind_pass(tmp_path: Path) -> None:
    """In one process, because importing torch takes longer than all of them."""
    for kind in TEMPLATES:
        assert main(["new-plugin", f"probe-{kind}", "--kind", kind, "--into", str(tmp_path)]) == 0
        let_be_found(f"probe_{kind}", f"probe-{kind}", tmp_path / "site")
    sources = os.pathsep.join([str(tmp_path / "site"), *map(str, sorted(tmp_path.glob("*/src")))])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    ran = subprocess.run(
        [*command, "--rootdir", str(tmp_path), *map(str, sorted(tmp_path.glob("*/tests")))],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": sources, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout


@pytest.mark.parametrize("kind", TEMPLATES)
def test_it_is_found_and_its_recipe_is_right(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scaffold(kind, tmp_path)
    settings = tomllib.loads((folder / "pyproject.toml").read_text())
    ((name, module),) = settings["project"]["entry-points"]["mmtk"].items()
    monkeypatch.syspath_prepend(str(folder / "src"))
    (plugin,) = load_plugins([EntryPoint(name, module, "mmtk")]).plugins
    assert plugin.error is None
    assert [(one.kind, one.name) for one in plugin.components] == [(kind, PACKAGE)]
    assert imported_from_mmtk(folder / "src") <= {"mmtk.api"}
    assert imported_from_mmtk(folder / "tests") <= {"mmtk.api", "mmtk.testing"}
    for path in folder.rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"))
        assert max(map(len, path.read_text(encoding="utf-8").splitlines()), default=0) <= 110, path
    assert (name, module) == (PACKAGE, f"{PACKAGE}.plugin")
    let_be_found(PACKAGE, NAME, tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (folder / "pictures").mkdir()
    monkeypatch.chdir(folder)
    capsys.readouterr()
    code = main(["check", "recipe.yaml"])
    assert code == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("src/my_siglip/plugin.py", "component:Focal", "component:Fokal", "has no attribute 'Fokal'"),
        ("src/my_siglip/configs.py", "focus:", "focuss:", "takes_the_keys_of_its_config"),
        ("recipe.yaml", "loss: {use: my_siglip}", "loss: {use: my_sigllp}", "did you mean 'my_siglip'?"),
    ],
)
def test_a_mistake_between_its_files_fails_its_own_tests(
    file: str, right: str, wrong: str, said: str, tmp_path: Path
) -> None:
    folder = scaffold("loss", tmp_path)
    let_be_found(PACKAGE, NAME, tmp_path / "site")
    text = (folder / file).read_text()
    assert right in text
    (folder / file).write_text(text.replace(right, wrong))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{folder / 'src'}", "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert said in ran.stdout


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("my siglip", "loss", "'my siglip' can't be a distribution's name"),
        ("-siglip", "loss", "(PEP 508)"),
        ("../siglip", "loss", "can't be a distribution's name"),
        ("3d", "loss", "would be the package '3d', which Python can't import"),
        ("class", "loss", "would be the package 'class'"),
        ("json", "loss", "would hide the package 'json', which is there already"),
        ("mmtk-blip", "loss", "would hide the package 'mmtk_blip'"),
        ("blip", "loss", "would be the plugin 'blip', a name that mmtk "),
        ("Builtin", "head", "would be the plugin 'builtin', a name that mmtk "),
        ("momentum", "momentum", "would be the plugin 'momentum', a name that mmtk "),
        ("cross_entropy", "loss", "would be a loss called 'cross_entropy', and there is one already (from "),
        (
            "blip-json",
            "reader",
            "would be a reader called 'blip_json', and there is one already (from builtin",
        ),
        ("itc", "head", "would be a head called 'itc'"),
        (
            "my-siglip",
            "los",
            "for the kind 'los'; did you mean 'loss'? there are: capfilt_step,",
        ),
        ("my-siglip", "strategy", "no template for the kind 'strategy'; there are: capfilt_step, head, "),
    ],
)
def test_what_cannot_be_written_is_refused(
    name: str, kind: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-plugin", f"--kind={kind}", "--into", str(tmp_path), "--", name]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / NAME).mkdir()
    assert main(["new-plugin", NAME, "--kind", "loss", "--into", str(tmp_path)]) == 2
    assert f"{tmp_path / NAME} is there already" in capsys.readouterr().err
    assert main(["new-plugin", NAME, "--kind", "loss", "--into", str(tmp_path / "no")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert list((tmp_path / NAME).iterdir()) == []


def picture_folder(folder: Path) -> None:
    """What the recipe of a reader reads."""
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(tiny_picture(number))
        (folder / f"{number}.txt").write_text(f"a picture of {number} red cats\n")


@pytest.mark.parametrize(
    "kind", ["loss", *(pytest.param(one, marks=pytest.mark.slow) for one in TEMPLATES if one != "loss")]
)
def test_installed_by_pip_its_recipe_runs(kind: str, tmp_path: Path) -> None:
    folder = scaffold(kind, tmp_path)
    picture_folder(tmp_path / "pictures")
    (tmp_path / "pip").mkdir()
    site = install(tmp_path / "pip", folder)
    listed = mmtk("list-plugins", site=site, cwd=tmp_path)
    assert [[PACKAGE, NAME, "0.1.0", kind, PACKAGE]] == [
        line.split()[:5] for line in listed.stdout.splitlines() if NAME in line
    ]
    ran = mmtk("run", str(folder / "recipe.yaml"), site=site, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    records = [json.loads(path.read_text()) for path in tmp_path.glob(f"runs/{PACKAGE}/*/stage.json")]
    assert {record["status"] for record in records} == {"done"}
    assert any(f"{NAME} 0.1.0" in json.dumps(record["plugins"]) for record in records)


def in_venv(python: Path, *arguments: object, cwd: Path) -> str:
    """Run the interpreter of a virtual environment, which sees no checkout, and return what it says."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [python, *map(str, arguments)],
        cwd=cwd,
        env=settings | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def wheel(source: Path, folder: Path) -> Path:
    """Build a wheel from a copy of what git tracks or, where it is no checkout, of everything."""
    copy = folder / source.name
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "runs", "shared", "*.egg-info", "tests")
    shutil.copytree(source, copy, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", folder, copy]
    subprocess.run(command, check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_from_wheels_without_a_checkout_it_is_listed_checked_run_and_tested(tmp_path: Path) -> None:
    """mmtk and the plugin come from wheels; what they depend on, from the environment that runs this test."""
    folder = scaffold("head", tmp_path)
    for name in ("host", "plugin", "work"):
        (tmp_path / name).mkdir()
    wheels = [wheel(ROOT, tmp_path / "host"), wheel(folder, tmp_path / "plugin")]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        in_venv(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", site, *wheels], check=True)
    # Plain .pth lines add the packages but run none of the other environment's .pth files, so that an
    # editable mmtk of its stays unseen; of its distributions, the venv's own come first.
    libraries = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in libraries))
    work = tmp_path / "work"
    where = in_venv(
        python, "-c", "import mmtk, mmtk_blip; print(mmtk.__file__, mmtk_blip.__file__)", cwd=work
    )
    assert all(Path(path).is_relative_to(site) for path in where.split())
    assert (site / "mmtk" / "py.typed").is_file()
    listed = in_venv(python, "-m", "mmtk", "list-plugins", cwd=work)
    assert [line.split()[:5] for line in listed.splitlines() if NAME in line] == [
        [PACKAGE, NAME, "0.1.0", "head", PACKAGE]
    ]
    assert "broken" not in listed
    shutil.copy(folder / "recipe.yaml", work)
    in_venv(python, "-m", "mmtk", "check", "recipe.yaml", cwd=work)
    in_venv(python, "-m", "mmtk", "run", "recipe.yaml", cwd=work)
    assert f"loss/{PACKAGE}" in (work / "runs" / PACKAGE / "train" / "metrics.jsonl").read_text()
    shutil.copytree(folder / "tests", work / "tests")
    tested = in_venv(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=work)
    assert "4 passed" in tested
    in_venv(python, "-m", "mmtk", "new-plugin", "another-one", "--kind", "reader", cwd=work)
    assert (work / "another-one" / "src" / "another_one" / "plugin.py").is_file()
