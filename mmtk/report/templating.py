"""Jinja2 with escaping always on, and the filters that the page's templates share."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmtk.report import wording


def render(package: str, template: str, **values: Any) -> str:
    """Render a file in the folder ``templates`` of ``package``; what it inserts is escaped.

    Every section, of the host or of a plugin, renders through this, so that no text from data becomes markup.
    Templates have the filters ``readable`` for texts from data and ``count``, ``figure`` and ``duration``.
    """
    return _environment(package).get_template(template).render(**values)


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        readable=wording.readable, count=wording.count, figure=wording.figure, duration=wording.duration
    )
    return environment
