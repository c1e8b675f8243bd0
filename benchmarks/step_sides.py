"""The two training steps that benchmarks/pretrain_step.py compares, on the same weights and batches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.heads.lm import LmHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import CrossEntropy, LabelSmoothing, SoftContrastive
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import TextTransformer
from mmtk_blip.tokenizer import WordPiece
from mmtk_momentum.ema import MomentumEncoder
from torch import Tensor

from benchmarks.reference_step import Reference, Tokens
from benchmarks.step_sizes import Sizes
from mmtk.distributed.spread import Workload
from mmtk.distributed.strategies import plain
from mmtk.engine.configs import FLOAT32
from mmtk.engine.learner import Learner
from mmtk.engine.objective import Objective
from mmtk.engine.optimizers import AdamW
from mmtk.engine.position import Course
from mmtk.engine.schedules import Constant
from mmtk.engine.trainer import Trainer
from mmtk.types import Batch, Negatives

LR, WEIGHT_DECAY, ALPHA = 1e-5, 0.05, 0.4


class Fixed:
    """A sampler that answers with what it was given."""

    def __init__(self, drawn: Negatives) -> None:
        self._drawn = drawn

    def __call__(self, *_: object) -> Negatives:
        return self._drawn


class Inputs:
    """What both sides get: pictures, texts, negatives and the queue's content, drawn from a fixed seed."""

    def __init__(self, sizes: Sizes, device: str) -> None:
        generator = torch.Generator().manual_seed(1)
        self.sizes, self.device = sizes, device
        words = [f"w{index}" for index in range(sizes.vocabulary - 6)]
        self.tokenizer = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words], max_length=sizes.padded)
        pictures = torch.randn(sizes.batch, 3, sizes.image_size, sizes.image_size, generator=generator)
        self.images = pictures.to(device)
        low, high = sizes.words
        lengths = torch.randint(low, high + 1, (sizes.batch,), generator=generator).tolist()
        drawn = [torch.randint(len(words), (length,), generator=generator).tolist() for length in lengths]
        self.texts = tuple(" ".join(words[index] for index in row) for row in drawn)
        queue = torch.randn(2, sizes.queue, sizes.embed_dim, generator=generator)
        self.queue = F.normalize(queue, dim=-1).to(device)
        others = torch.randint(1, sizes.batch, (2, sizes.batch), generator=generator)
        self.drawn = Negatives(*((others + torch.arange(sizes.batch)) % sizes.batch).to(device))

    def batch(self, step: int) -> Batch:
        """The pairs, with images that count as new in every step."""
        ids = torch.arange(self.sizes.batch, device=self.device) + step * self.sizes.batch
        return Batch(self.images, self.texts, ids, self.texts)

    def tokens(self) -> Tokens:
        """The texts padded to the fixed length."""
        ids, mask = self.tokenizer(self.texts)
        missing = self.sizes.padded - ids.shape[1]
        return Tokens(
            F.pad(ids, (0, missing), value=self.tokenizer.pad_id).to(self.device),
            F.pad(mask, (0, missing)).to(self.device),
        )


def build_learner(inputs: Inputs) -> Learner:
    """mmtk's model and heads without dropout, from a fixed seed."""
    torch.manual_seed(0)
    sizes = inputs.sizes
    model = Med(
        image_encoder=timm_vit(
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            width=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
        ),
        text_transformer=TextTransformer(
            vocab_size=inputs.tokenizer.vocab_size,
            image_width=sizes.width,
            width=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            hidden_width=4 * sizes.width,
            max_positions=sizes.max_positions,
            dropout=0.0,
        ),
        tokenizer=inputs.tokenizer,
        embed_dim=sizes.embed_dim,
    )
    lm = LmHead(text_width=sizes.width, vocab_size=inputs.tokenizer.vocab_size, loss=LabelSmoothing())
    heads = {
        "itc": ItcHead(loss=SoftContrastive(), alpha=ALPHA, ramp_epochs=0),
        "itm": ItmHead(text_width=sizes.width, loss=CrossEntropy(), negatives=Fixed(inputs.drawn)),
        "lm": lm,
    }
    return Learner(model, heads).to(inputs.device).train()


class Ours:
    """mmtk's ``Trainer``."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        learner = build_learner(inputs)
        momentum = MomentumEncoder(model=learner.model, queue_size=inputs.sizes.queue).to(inputs.device)
        ids = -1 - torch.arange(inputs.sizes.queue)
        momentum.queue.push(*inputs.queue, ids, ids)
        optimizer = AdamW(lr=LR, weight_decay=WEIGHT_DECAY)
        objective = Objective(learner, FLOAT32)
        spread = plain(Workload(objective, momentum, (), optimizer, torch.device(inputs.device)))
        self.optimizer = spread.optimizer
        course = Course(epochs=10**6, step_size=1, batches_left=lambda taken: 1 - taken)
        self._trainer = Trainer(spread, momentum, Constant(), seed=0, course=course)

    def step(self, step: int) -> Mapping[str, float]:
        """Do a step and return the heads' losses."""
        figures = self._trainer.step([self._inputs.batch(step)], step)
        return {name: figures[f"loss/{name}"] for name in ("itc", "itm", "lm")}


class Plain:
    """The reference with torch's default AdamW."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        tokenizer = inputs.tokenizer
        self._model = Reference(inputs.sizes, tokenizer.encode_id, tokenizer.decode_id).to(inputs.device)
        self._model.load(build_learner(inputs).state_dict(), *inputs.queue)
        self._tokens = inputs.tokens()
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=LR, weight_decay=WEIGHT_DECAY)

    def step(self, step: int) -> Mapping[str, float]:  # noqa: ARG002
        """Do a step and return the losses."""
        self.optimizer.zero_grad()
        losses = self._model(self._inputs.images, self._tokens, ALPHA, tuple(self._inputs.drawn))
        total: Tensor = losses["itc"] + losses["itm"] + losses["lm"]
        total.backward()
        self.optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}
