"""What benchmarks/scaling.py measures on this machine: small calls whose costs grow with the data."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmtk_emoji.stage import read_split, read_truth
from mmtk_momentum.ema import MomentumEncoder
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import index, transformers_blip
from benchmarks.pretrain_step import CPU_ATTENTION, Side
from benchmarks.step_sides import Inputs, build_learner
from benchmarks.step_sizes import FULL, TINY
from benchmarks.strategy_rank import MIDDLE, OPTIMIZER
from mmtk.data.shards import ShardWriter
from mmtk.distributed.spread import Workload
from mmtk.distributed.strategies import plain
from mmtk.engine.configs import FLOAT32, SavingConfig
from mmtk.engine.objective import Objective
from mmtk.engine.saved_states import Progress, SavedStates
from mmtk.engine.training_state import ensure_optimizer_state
from mmtk.types import Decoding

SMALL_CAPTIONER = transformers_blip.Sizes(image_size=32, width=16, depth=1, heads=2, vocab_size=130)
FINETUNED = 384  # edge of the pictures that captioner and filter see
CAPTION_TOKENS = 20
BATCH = 4  # pairs of a training step
TEXTS = 2  # of each picture: the web's and the captioner's


@dataclass(frozen=True)
class Figures:
    """Measured figures. Rates are of this CPU, with the threads that torch takes; operations are counted.

    Attributes:
        threads: torch's.
        gemm: operations a second of large matrix products.
        train_flops: operations of a pair in pre-training, forward and backward.
        train_rate: pairs a second.
        caption_flops: operations of a picture's caption of 20 tokens, its encoding included.
        caption_rate: pictures a second.
        score_flops: operations of a picture and its two texts in the filter.
        score_rate: pictures a second.
        parameters: numbers that are trained, each counted once.
        average: numbers of the momentum encoder's slow copy.
        queue_bytes: of its queue.
        overhead: bytes of a sample in a shard beside its picture.
        emoji: bytes of a sample of the shipped emoji set, in shards.
        index_file: bytes of a sample in index files.
        index_memory: bytes of a sample in an opened reader.
        open_seconds: to open a sample's part of the index, of processor time.
        headers_seconds: to make it from the shards' headers.
        state_error: how far a saved state's size is from 12 P + 4 T + queue, relative.
        save_rate: bytes a second of saving a state.
        load_rate: bytes a second of checking and loading it.
    """

    threads: int
    gemm: float
    train_flops: float
    train_rate: float
    caption_flops: float
    caption_rate: float
    score_flops: float
    score_rate: float
    parameters: int
    average: int
    queue_bytes: int
    overhead: float
    emoji: float
    index_file: float
    index_memory: float
    open_seconds: float
    headers_seconds: float
    state_error: float
    save_rate: float
    load_rate: float

    @property
    def state_bytes(self) -> int:
        """A training state: parameters with two moments each, the average, the queue."""
        return 12 * self.parameters + 4 * self.average + self.queue_bytes


def measure(sizes: str) -> Figures:
    """Measure with the ``full`` sizes of models or ``tiny`` ones."""
    full = sizes == "full"
    side = Side("mmtk", ["--sizes", sizes, "--batch", str(BATCH)])
    side.step()
    step = side.end()
    caption_flops, caption_rate = _captioning(transformers_blip.Sizes() if full else SMALL_CAPTIONER)
    score_flops, score_rate = _scoring(full)
    with tempfile.TemporaryDirectory() as folder:
        stored = _storage(Path(folder) / "emoji")
    with tempfile.TemporaryDirectory() as folder:
        shards = 4 if full else 1
        options = argparse.Namespace(shards=shards, samples=5000 if full else 50, image_bytes=4000, repeats=3)
        opened = index.measure(Path(folder), options)
    return Figures(
        threads=torch.get_num_threads(),
        gemm=step.gemm_flops,
        train_flops=step.flops / BATCH,
        train_rate=BATCH / step.median,
        caption_flops=caption_flops,
        caption_rate=caption_rate,
        score_flops=score_flops,
        score_rate=score_rate,
        **_model(full),
        **stored,
        index_file=opened.file,
        index_memory=opened.memory,
        open_seconds=opened.index / index.PER,
        headers_seconds=opened.headers / index.PER,
        **_state(full),
    )


def _captioning(sizes: transformers_blip.Sizes) -> tuple[float, float]:
    """Operations of a picture and pictures a second, by nucleus sampling with weights that end no caption."""
    learner = transformers_blip.learner(sizes).eval()
    pictures = torch.randn(2, 3, sizes.image_size, sizes.image_size)
    decoding = Decoding(method="nucleus", min_length=CAPTION_TOKENS, max_length=CAPTION_TOKENS)

    def write() -> None:
        encoded = learner.model.encode_images(pictures)
        learner.heads["lm"].generate_ids(encoded, decoding, torch.Generator().manual_seed(0))

    return _counted(write, len(pictures))


def _scoring(full: bool) -> tuple[float, float]:
    inputs = Inputs(replace(FULL, image_size=FINETUNED, batch=2, queue=2) if full else TINY, "cpu")
    learner = build_learner(inputs).eval()
    texts = [text for one in inputs.texts for text in (one, f"{one} w0")]
    rows = torch.arange(len(inputs.texts)).repeat_interleave(TEXTS)

    def score() -> None:
        images, encoded = learner.model.encode_images(inputs.images), learner.model.encode_texts(texts)
        learner.heads["itm"].match_logits(images.select(rows), encoded)
        (images.features[rows] * encoded.features).sum(dim=-1)

    return _counted(score, len(inputs.texts))


@torch.inference_mode()
def _counted(call: Callable[[], object], pictures: int) -> tuple[float, float]:
    """Count the operations of a call, which warms it up, and time another."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        call()
    started = time.perf_counter()
    call()
    return counter.get_total_flops() / pictures, pictures / (time.perf_counter() - started)


def _model(full: bool) -> dict[str, int]:
    inputs = Inputs(FULL if full else TINY, "cpu")
    learner = build_learner(inputs)
    towers = learner.model.feature_towers()
    queue = MomentumEncoder(model=learner.model, queue_size=inputs.sizes.queue).queue
    return {
        "parameters": sum(p.numel() for p in learner.parameters() if p.requires_grad),
        "average": sum(p.numel() for p in towers.parameters()),
        "queue_bytes": sum(buffer.nbytes for buffer in queue.buffers()),
    }


def _storage(folder: Path) -> dict[str, float]:
    keys = set(read_truth()["key"].to_pylist())
    pictures = 0
    with ShardWriter(folder, "emoji") as writer:
        for sample in read_split("web_train", keys):
            writer.write(sample)
            pictures += len(sample.image)
    written = sum(path.stat().st_size for path in folder.glob("*.tar"))
    return {"overhead": (written - pictures) / writer.samples, "emoji": written / writer.samples}


def _state(full: bool) -> dict[str, float]:
    """Save and load the state of a model that is small enough for any machine."""
    inputs = Inputs(MIDDLE if full else TINY, "cpu")
    learner = build_learner(inputs)
    momentum = MomentumEncoder(model=learner.model, queue_size=inputs.sizes.queue)
    workload = Workload(Objective(learner, FLOAT32), momentum, (), OPTIMIZER, torch.device("cpu"))
    spread = plain(workload)
    ensure_optimizer_state(spread)
    with tempfile.TemporaryDirectory() as folder:
        states = SavedStates(Path(folder), spread, SavingConfig(), lambda _text: None)
        saving = _seconds(lambda: states.save(Progress(1)))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        loading = _seconds(states.load)
    average = sum(p.nbytes for p in momentum.twin.parameters())
    queue = sum(buffer.nbytes for buffer in momentum.queue.buffers())
    expected = 12 * sum(p.numel() for p in learner.parameters()) + average + queue
    return {"state_error": size / expected - 1, "save_rate": size / saving, "load_rate": size / loading}


def _seconds(call: Callable[[], Any]) -> float:
    os.sync()  # what others have left to write is not this call's
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
