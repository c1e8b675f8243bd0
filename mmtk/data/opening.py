"""Opening the sources that a training stage names."""

from __future__ import annotations

from dataclasses import dataclass

from mmtk.data.configs import DataConfig, SourceConfig
from mmtk.data.loading import Loader, Preparation
from mmtk.data.mixture import Mixture, SourceSize, shared_out
from mmtk.data.quarantine import Refusals
from mmtk.data.shuffled_stream import ShuffledStream
from mmtk.data.sources import IndexedSource, StreamSource, first_reason
from mmtk.errors import DataError
from mmtk.types import Quarantined


@dataclass(frozen=True)
class Process:
    """Which of the processes of a run this is.

    Attributes:
        seed: the same in all of them.
        rank: its number, from 0.
        world: how many there are.
    """

    seed: int
    rank: int
    world: int


def open_sources(
    config: DataConfig, process: Process, refusals: Refusals
) -> list[IndexedSource | StreamSource]:
    """Open all sources. Raises DataError with the name of one that can't be opened or is empty."""
    preparation = Preparation(config.image_transform.build(), config.text_transform.build(), config.limits)
    sources: list[IndexedSource | StreamSource] = []
    for name, source in config.sources.items():
        try:
            if source.stream is not None:
                sources.append(_stream(name, source, config, preparation, process, refusals))
            else:
                sources.append(_indexed(name, source, config, preparation, process, refusals))
        except DataError as error:
            raise DataError(f"source {name!r}: {error}") from error
    return sources


def _indexed(
    name: str,
    source: SourceConfig,
    config: DataConfig,
    preparation: Preparation,
    process: Process,
    refusals: Refusals,
) -> IndexedSource:
    assert source.reader is not None, "the check lets no source pass that has neither"
    reader = source.reader.build()
    refusals.quarantine.add_all(reader.quarantined)
    if not len(reader):
        raise DataError(f"it holds no usable sample{first_reason(reader.quarantined)}")
    loader = Loader(reader, preparation, config.cache_decoded)
    in_turn = config.captions == "in_turn"
    return IndexedSource(name, loader, seed=process.seed, in_turn=in_turn, refusals=refusals)


def _stream(
    name: str,
    source: SourceConfig,
    config: DataConfig,
    preparation: Preparation,
    process: Process,
    refusals: Refusals,
) -> StreamSource:
    assert source.stream is not None, "only sources with a stream come here"
    stream = source.stream.build()
    if not stream.shards:
        raise DataError("it has no shards")

    def refuse(entry: Quarantined) -> None:
        refusals.count_try()
        refusals.add(entry)

    shuffled = ShuffledStream(
        stream,
        name=name,
        seed=process.seed,
        rank=process.rank,
        world=process.world,
        buffer=source.shuffle_buffer,
        refuse=refuse,
    )
    return StreamSource(
        name,
        shuffled,
        preparation,
        in_turn=config.captions == "in_turn",
        workers=config.workers,
        prefetch=config.prefetch,
        refusals=refusals,
    )


def mix(config: DataConfig, sources: list[IndexedSource | StreamSource], seed: int) -> Mixture:
    """Return which samples an epoch draws: by the sources' shares, or else by their weights."""
    configs = list(config.sources.values())
    samples = [source.samples if isinstance(source, IndexedSource) else 0 for source in sources]
    if config.samples_per_epoch is not None:
        counts = shared_out(config.samples_per_epoch, [each.share or 0 for each in configs])
    else:
        lengths = [held or each.samples or 0 for held, each in zip(samples, configs, strict=True)]
        counts = [max(1, round(n * each.weight)) for n, each in zip(lengths, configs, strict=True)]
    names = list(config.sources)
    return Mixture([SourceSize(*each) for each in zip(names, samples, counts, strict=True)], seed)
