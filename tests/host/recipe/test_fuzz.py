"""Thousands of wrong recipes: each gets a message or is right, in bounded time, and none a traceback."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from mmtk.errors import MmtkError
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.registry import Registry
from tests.host.recipe.mutations import argument, mutated
from tests.test_bad_input import RECIPE

RECIPES = sorted((Path(__file__).parents[3] / "recipes").rglob("*.yaml"))
LONGEST = 10.0  # seconds of the processor, of which a recipe usually takes a few hundredths


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Shipped recipes without those that are long, and a small one with everything."""
    shipped = [path.read_text("utf-8") for path in RECIPES if path.stat().st_size < 6000]
    profile = "environment: [HOME]\nprofiles: {small: {stages: {pretrain: {epochs: 1}}}}\n"
    return [RECIPE, RECIPE + profile, *shipped]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins().registry


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("web", "human"):
        (tmp_path / name).mkdir()
    for path in RECIPES:  # what some of them extend
        (tmp_path / path.name).write_bytes(path.read_bytes())


def outcome(raw: bytes, overrides: list[str], profiles: list[str], registry: Registry) -> str:
    """Return the message that a recipe gets, or nothing. Raises whatever else becomes of it."""
    Path("fuzz.yaml").write_bytes(raw)
    try:
        check_recipe(load_recipe("fuzz.yaml", overrides, profiles), registry)
    except MmtkError as error:
        return str(error)
    return ""


def fuzz(count: int, seed: int, texts: list[str], registry: Registry) -> tuple[int, int]:
    """Try ``count`` recipes; return how many were refused and how many were right."""
    refused = right = 0
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        text = rng.choice(texts)
        raw = mutated(text, rng) if rng.random() < 0.85 else text.encode()
        overrides = [argument(text, rng) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
        profiles = rng.choice(([], [], [], ["small"], ["smal", "\x1b"]))
        started = time.process_time()
        try:
            message = outcome(raw, overrides, profiles, registry)
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}: {overrides} {profiles}\n{raw!r}") from error
        assert time.process_time() - started < LONGEST, (seed, number)
        assert "Traceback" not in message
        for line in message.split("\n"):
            assert not line.startswith("    | ") or line.isprintable(), (seed, number)
        refused, right = refused + bool(message), right + (not message)
    return refused, right


def test_five_hundred_wrong_recipes(texts: list[str], registry: Registry) -> None:
    refused, right = fuzz(500, 1, texts, registry)
    assert refused > 300
    assert right > 0


@pytest.mark.slow
def test_ten_thousand_wrong_recipes(texts: list[str], registry: Registry) -> None:
    refused, right = fuzz(10_000, 2, texts, registry)
    assert refused > 6000
    assert right > 50
