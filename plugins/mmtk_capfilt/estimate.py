"""What a pass would take: its images, parts and models, without doing it."""

from __future__ import annotations

from collections.abc import Iterator

from mmtk.api import WEIGHTS, EstimateContext, MmtkError, counted, learner_parameters
from mmtk_capfilt.configs import CapfiltConfig
from mmtk_capfilt.named_steps import step_names
from mmtk_capfilt.parts import WEB_DATASET
from mmtk_capfilt.work import CapfiltWork, OpenWork


def estimate_pass(config: CapfiltConfig, context: EstimateContext) -> Iterator[str]:
    """Tell the steps, their models' parameters, and the images and parts, as far as they can be known now."""
    names = step_names([blueprint.node.use for blueprint in config.steps])  # type: ignore[attr-defined]
    yield f"steps: {', '.join(names)}"
    yield from _model_lines(config, context)
    yield _images_line(config, context)
    yield (
        "memory and time: not estimated: they are the steps' own; a pass says how many images a second it "
        "does after its first parts"
    )


def _model_lines(config: CapfiltConfig, context: EstimateContext) -> Iterator[str]:
    if missing := context.missing(config.steps):
        yield f"not there yet, and so not counted: {missing}"
    for path in context.paths_in(config.steps):
        if path not in context.pending and (path / WEIGHTS).is_file():
            yield f"parameters: {learner_parameters(path, context.registry):,} in {path}"


def _images_line(config: CapfiltConfig, context: EstimateContext) -> str:
    if missing := context.missing(config.data):
        return f"images: not known without {missing}"
    try:
        if missing := context.missing(config.steps):  # steps can't be built without their checkpoints
            own = len(config.data.reader.build())
            return f"images: {own:,}; what steps add is not known without {missing}"
        folder = context.folder
        work = CapfiltWork(config, folder.name, folder, context.seed, "cpu", context.registry).open()
    except (MmtkError, OSError) as error:
        return f"images: not known: {error}"
    return f"images: {_counts(work)} in {counted(len(work.parts), 'part')} of up to {config.part_size:,}"


def _counts(work: OpenWork) -> str:
    own, *added = work.readers.items()
    assert own[0] == WEB_DATASET, "the pass's own dataset is the first"
    others = "".join(f", and {len(reader):,} of {name}" for name, reader in added)
    return f"{len(own[1]):,}{others}"
