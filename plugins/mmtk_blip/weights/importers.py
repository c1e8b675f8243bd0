"""Importers: a BLIP checkpoint of another program becomes a learner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmtk.api import CheckpointError, ForeignWeights, ImportedLearner
from mmtk_blip.image_encoder import VIT_NORM_EPS
from mmtk_blip.med import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE
from mmtk_blip.text_transformer import Sharing
from mmtk_blip.tokenizer import DECODE, ENCODE, read_vocabulary
from mmtk_blip.weights import hf
from mmtk_blip.weights.names import PREDICTIONS
from mmtk_blip.weights.public import Heads, answers_questions, sharing_of, weights_for
from mmtk_blip.weights.reading import PICKLED, SAFE, read_json, read_tensors
from mmtk_blip.weights.sizes import text_sizes, vision_sizes, vocabulary_size

# Longest text in tokens: models/blip_pretrain.py, blip.py, blip_retrieval.py, blip_vqa.py.
_LONGEST_TEXT = {"pretrain": 30, "caption": 40, "retrieval": 35, "vqa": 35}
_NO_LIMIT = 512  # BERT's positions: what tokenizers of transformers say when nobody set anything
_FIRST_TEMPERATURE = 0.07
_EMBED_DIM = 256


@dataclass(frozen=True)
class Options:
    """What a checkpoint's tensors don't say."""

    vocab: Path
    lowercase: bool
    image_size: int | None
    heads: int | None
    image_heads: int | None
    max_length: int | None


class BlipImporter:
    """Imports a file of public BLIP or LAVIS; kind ``importer``. Its arguments are its config's fields."""

    def __init__(
        self,
        *,
        vocab: Path | None = None,
        lowercase: bool = True,
        image_size: int | None = None,
        heads: int | None = None,
        image_heads: int | None = None,
        max_length: int | None = None,
    ) -> None:
        self._vocab = vocab
        self._lowercase = lowercase
        self._image_size = image_size
        self._heads = heads
        self._image_heads = image_heads
        self._max_length = max_length

    def accepts(self, source: Path) -> bool:
        """Whether ``source`` is a file with the ending of a checkpoint."""
        return source.is_file() and source.suffix in (*PICKLED, SAFE)

    def __call__(self, source: Path) -> ImportedLearner:
        """Raises CheckpointError when the file can't be read, is no BLIP checkpoint, or lacks ``vocab``."""
        if self._vocab is None:
            raise CheckpointError(
                f"{source}: a checkpoint file holds no vocabulary; give vocab, the vocab.txt it was trained "
                "with (public BLIP: that of bert-base-uncased)"
            )
        options = Options(
            self._vocab,
            self._lowercase,
            self._image_size,
            heads=self._heads,
            image_heads=self._image_heads,
            max_length=self._max_length,
        )
        return imported(read_tensors(source), options, source)


class TransformersImporter:
    """Imports a folder of transformers; kind ``importer``. Its arguments are its config's fields."""

    def __init__(
        self, *, vocab: Path | None = None, image_size: int | None = None, max_length: int | None = None
    ) -> None:
        self._vocab = vocab
        self._image_size = image_size
        self._max_length = max_length

    def accepts(self, source: Path) -> bool:
        """Whether ``source`` is a folder with a config.json of BLIP."""
        return hf.is_blip_folder(source)

    def __call__(self, source: Path) -> ImportedLearner:
        """Raises CheckpointError when a file is missing or damaged, or holds what MED has no place for."""
        config = hf.folder_config(source)
        vocab = _folder_vocabulary(source) if self._vocab is None else self._vocab
        options = Options(
            vocab,
            _folder_lowercases(source),
            self._image_size,
            heads=config.heads,
            image_heads=config.image_heads,
            max_length=self._max_length or _folder_max_length(source),
        )
        notes = _config_notes(config, vocab)
        return imported(read_tensors(source), options, source, notes)


def imported(
    tensors: Mapping[str, Tensor], options: Options, source: Path, notes: tuple[str, ...] = ()
) -> ImportedLearner:
    """A learner from tensors of any of the layouts.

    Raises CheckpointError when they are no BLIP model's, or the vocabulary is of another size.
    """
    try:
        given = hf.public(tensors)
        found = given.tensors
        vision, text = vision_sizes(found, options.image_heads), text_sizes(found, options.heads)
        _check_vocabulary(vocabulary_size(found), options.vocab)
        if (options.image_size or 0) % vision.patch_size:
            raise CheckpointError(
                f"image_size {options.image_size} is no multiple of the patch size {vision.patch_size}"
            )
        asked = answers_questions(found)
        sharing: Sharing = "none" if asked else sharing_of(found)
        names = Heads(vqa=("vqa",)) if asked else Heads(itm=("itm",), lm=("lm",))
        weights = weights_for(found, sharing, names)
        temperature = found.get("temp", torch.tensor(_FIRST_TEMPERATURE))
        if temperature.ndim:
            raise CheckpointError(f"temp: shape {tuple(temperature.shape)}; expected a single number")
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    filled = {"model.temperature": temperature, **weights.tensors}
    embed_dim = len(found["vision_proj.weight"]) if "vision_proj.weight" in found else _EMBED_DIM
    size = {} if options.image_size is None else {"image_size": options.image_size}
    model = {
        "use": "med",
        "image_encoder": {"use": "timm_vit", **asdict(vision), **size},
        "text_encoder": {
            "use": "med_bert",
            **asdict(text),
            "sharing": sharing,
            "decoder_reads": "question" if asked else "image",
        },
        "tokenizer": {
            "use": "wordpiece",
            "vocab": str(options.vocab),
            "lowercase": options.lowercase,
            "max_length": _max_length(options.max_length, found, text.max_positions),
        },
        "embed_dim": embed_dim,
        "temperature": min(max(float(temperature), LOWEST_TEMPERATURE), HIGHEST_TEMPERATURE),
    }
    left_over = tuple(given.names.get(name, name) for name in weights.left_over)
    notes += _notes(found, "logit_scale" in tensors)
    asked_heads = (("heads", text, options.heads), ("image_heads", vision, options.image_heads))
    guessed = [f"{key}={sizes.heads}" for key, sizes, known in asked_heads if known is None]
    if guessed:
        found_heads = ", ".join(guessed)
        notes += (f"Shapes don't tell the attention heads; by BLIP's rule, of 64 wide ones: {found_heads}.",)
    if (options.max_length or 0) > text.max_positions:
        notes += (f"Texts are cut at {text.max_positions} tokens: the checkpoint has no more positions.",)
    return ImportedLearner(model, _heads(found), ForeignWeights(filled, left_over), notes)


def _max_length(asked: int | None, tensors: Mapping[str, Tensor], positions: int) -> int:
    """Tokens of the longest text: as asked, or what the layout was trained with; no more than positions."""
    if asked is not None:
        return min(asked, positions)
    heads = _heads(tensors)
    if "vqa" in heads:
        layout = "vqa"
    elif "lm" in heads:
        layout = "pretrain" if "itm" in heads else "caption"
    else:
        layout = "retrieval"
    return min(_LONGEST_TEXT[layout], positions)


def _heads(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    if answers_questions(tensors):
        return {"vqa": {"use": "vqa"}}
    heads: dict[str, dict[str, Any]] = {}
    if "vision_proj.weight" in tensors and "text_proj.weight" in tensors:
        heads["itc"] = {"use": "itc"}
    if "itm_head.weight" in tensors:
        heads["itm"] = {"use": "itm"}
    if f"{PREDICTIONS}bias" in tensors:
        heads["lm"] = {"use": "lm"}
    return heads


def _notes(tensors: Mapping[str, Tensor], whole_model: bool) -> tuple[str, ...]:
    notes = []
    if not _heads(tensors):
        notes.append("The checkpoint has none of ITC, ITM, LM and VQA, so the learner has no head.")
    if "vision_proj.weight" not in tensors:
        notes.append(
            "The checkpoint has no projections into a joint space: image_projection and text_projection keep "
            "their random first values, so features and ITC say nothing before training."
        )
    if "temp" not in tensors:
        notes.append(f"The checkpoint has no temperature; it starts at {_FIRST_TEMPERATURE}.")
    if whole_model:
        notes.append(
            "BlipModel projects a picture's first token after a second LayerNorm and a text's after a tanh "
            "layer (its pooler). MED has neither, so its features differ from BlipModel's until they are "
            "trained; the encoders' token states agree."
        )
    return tuple(notes)


def _config_notes(config: hf.FolderConfig, vocab: Path) -> tuple[str, ...]:
    notes = []
    if config.vision_eps != VIT_NORM_EPS:
        notes.append(
            f"config.json has a LayerNorm epsilon of {config.vision_eps:g} in the vision model; here it is "
            f"{VIT_NORM_EPS:g}, which BLIP was trained with. Outputs differ by about as little."
        )
    tokens = _with_blip_tokens(vocab)
    if config.start_id is not None and config.start_id != tokens.index(DECODE):
        notes.append(
            f"config.json starts captions with token {config.start_id}; mmtk with {DECODE}, here "
            f"{tokens.index(DECODE)}."
        )
    return tuple(notes)


def _with_blip_tokens(vocab: Path) -> list[str]:
    tokens = read_vocabulary(vocab)
    return [*tokens, *(token for token in (DECODE, ENCODE) if token not in tokens)]


def _check_vocabulary(rows: int, vocab: Path) -> None:
    tokens = len(_with_blip_tokens(vocab))
    if tokens != rows:
        raise CheckpointError(
            f"{vocab} has {tokens} tokens with {DECODE} and {ENCODE}, and the checkpoint has word embeddings "
            f"for {rows}: it was trained with another vocabulary"
        )


def _folder_vocabulary(folder: Path) -> Path:
    for name in ("vocab.txt", "tokenizer.json"):
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder}: neither vocab.txt nor tokenizer.json in this folder; give vocab")


def _folder_max_length(folder: Path) -> int | None:
    """The longest text that the folder's tokenizer takes, if it says."""
    path = folder / "tokenizer_config.json"
    length = read_json(path).get("model_max_length") if path.is_file() else None
    return length if isinstance(length, int) and 3 <= length < _NO_LIMIT else None


def _folder_lowercases(folder: Path) -> bool:
    """What the folder's tokenizer does; BERT uncased's way where it doesn't say."""
    path = folder / "tokenizer_config.json"
    return bool(read_json(path).get("do_lower_case", True)) if path.is_file() else True
