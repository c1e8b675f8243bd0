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
    """One thing that is wrong: where it was written, which key it is about, and what it is."""

    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.place}  {self.path}" if self.path else str(self.place)
        return f"{where}: {self.message}"

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

    A definition that several stages use is one text with one fault, and is reported once.
    """
    once: dict[tuple[Place, str, str], Problem] = {}
    for problem in problems:
        key = problem.path.rpartition(".")[2]
        once.setdefault((problem.place, key, problem.message), problem)
    found = sorted(once.values(), key=lambda one: (one.place.source, one.place.line, one.place.column))
    lines = [problem.with_line() for problem in found]
    if len(lines) == 1:
        return RecipeError(lines[0])
    return RecipeError(f"{recipe}: {len(lines)} problems\n  " + "\n  ".join(lines))


def join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
