"""What is wrong in a recipe, collected so that everything can be said at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmtk.errors import RecipeError
from mmtk.recipe.excerpt import excerpt
from mmtk.recipe.marks import Place

TOO_DEEP = "its references make it nest too deeply"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        place: where it was written.
        path: the key that it is about.
        message: what it is.
        owner: the component that the key belongs to; empty where it is none's.
    """

    place: Place
    path: str
    message: str
    owner: str = ""

    def __str__(self) -> str:
        where = f"{self.place}  {self.path}" if self.path else str(self.place)
        more = "; ".join(filter(None, (self.owner, self.place.way)))
        return f"{where}: {self.message}{f' ({more})' if more else ''}"

    def with_line(self) -> str:
        """Return it with the line that it is about, and a mark under the column."""
        return "\n    ".join([str(self), *excerpt(self.place)])


class UnreadableError(RecipeError):
    """What can't be read any further."""

    def __init__(self, place: Place, message: str, path: str = "") -> None:
        self.problem = Problem(place, path, message)
        super().__init__(self.problem.with_line())


def recipe_error(recipe: str, problems: Iterable[Problem]) -> RecipeError:
    """Return one error that lists every problem in the order of their places, each with its line.

    A definition that several stages use is one text with one fault, and is reported once; and so is a value,
    whatever the keys and components are that refer to it.
    """
    once: dict[tuple[Place, str, str, str], Problem] = {}
    for problem in problems:
        used_by = ("", "") if problem.place.way else (problem.path.rpartition(".")[2], problem.owner)
        once.setdefault((problem.place, problem.message, *used_by), problem)
    found = sorted(once.values(), key=lambda one: (one.place.source, one.place.line, one.place.column))
    lines = [problem.with_line() for problem in found]
    if len(lines) == 1:
        return RecipeError(lines[0])
    return RecipeError(f"{recipe}: {len(lines)} problems\n  " + "\n  ".join(lines))


def join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
