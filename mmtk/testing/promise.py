"""How a check says what a component breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class BrokenPromiseError(AssertionError):
    """A component doesn't do what its kind promises. The message names the component and what it did."""


def promise(holds: bool, component: Any, broken: str) -> None:
    """Raise BrokenPromiseError, with the component's class or function and ``broken``, unless ``holds``."""
    if not holds:
        raise BrokenPromiseError(f"{name_of(component)}: {broken}")


def name_of(component: Any) -> str:
    """The component's class or function, for messages."""
    return getattr(component, "__name__", None) or type(component).__name__


def promise_tensor(
    value: Any, component: Any, what: str, shape: tuple[int | None, ...], dtype: torch.dtype
) -> Tensor:
    """Return ``value``, which must be a finite tensor of this type and shape; None is any length."""
    promise(isinstance(value, Tensor), component, f"{what} is {type(value).__name__} and no tensor")
    fits = value.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, value.shape, strict=True)
    )
    wanted = ", ".join("any" if length is None else str(length) for length in shape)
    promise(fits, component, f"{what} has the shape {tuple(value.shape)}, not ({wanted})")
    promise(value.dtype == dtype, component, f"{what} is {value.dtype}, not {dtype}")
    promise(bool(torch.isfinite(value).all()), component, f"{what} has values that are not finite")
    return value


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Set torch's global generator within a ``with`` block, and give it back its state behind it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def under_two_seeds(do: Callable[[], Any]) -> tuple[Any, Any]:
    """What ``do`` returns under two states of the global generator, which it should not depend on."""
    with own_random_state(1):
        first = do()
    with own_random_state(2):
        return first, do()
