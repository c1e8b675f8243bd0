"""Keeping what a model is evaluated on out of what it is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from mmtk.api import Blueprint, ImageCandidates, ImageLimits, Reader, StageError
from mmtk_capfilt.steps.fingerprints import Codes, digest, look
from mmtk_capfilt.steps.surveys import look_through


class Decontaminate:
    """Leaves out images, of whatever dataset, that are or resemble one of an evaluation set."""

    def __init__(
        self, *, against: Mapping[str, Blueprint[Reader]], distance: int | None, limits: ImageLimits
    ) -> None:
        self._against = against
        self._distance = distance
        self._limits = limits

    def survey(self, readers: Mapping[str, Reader]) -> pa.Table:  # noqa: ARG002
        """Look through the evaluation sets; the pass has each image of its own decoded anyway.

        Raises StageError when one has no image that can be read.
        """
        tables = []
        for name, blueprint in self._against.items():
            seen = look_through(blueprint.build(), self._distance, self._limits)
            if not len(seen.codes):
                raise StageError(f"decontaminate: not one picture of {name!r} can be read")
            named = pa.array([name] * len(seen.codes), pa.string())
            tables.append(pa.table({"set": named, "key": seen.keys, "code": seen.codes, "alike": seen.alike}))
        return pa.concat_tables(tables)

    def learn(self, survey: pa.Table) -> None:
        alike = survey["alike"].to_numpy()
        codes: Codes = survey["code"].to_numpy()
        names = [f"{row['set']}: {row['key']}" for row in survey.select(["set", "key"]).to_pylist()]
        self._looks: Codes = codes[alike]
        self._look_names = [names[place] for place in np.flatnonzero(alike)]
        files = np.flatnonzero(~alike)
        self._files = {int(codes[place]): names[place] for place in files[::-1]}  # the first of equals stays

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [self._judge(image) for image in images]

    def _judge(self, image: ImageCandidates) -> ImageCandidates:
        found = self._find(image)
        return image if found is None else image.leaving_out(f"evaluation image: {found}")

    def _find(self, image: ImageCandidates) -> str | None:
        """The evaluation image that is most like it, if one is near enough."""
        code = None if self._distance is None else look(image.picture)
        if code is None:
            return self._files.get(digest(image.sample.image))
        if not len(self._looks):
            return None
        apart = np.bitwise_count(self._looks ^ np.uint64(code))
        nearest = int(apart.argmin())
        return self._look_names[nearest] if apart[nearest] <= (self._distance or 0) else None
