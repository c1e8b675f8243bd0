"""The model card of a transformers folder."""

from __future__ import annotations

from collections.abc import Mapping

from mmtk.api import ExportSource
from mmtk_blip.weights.hf_files import DECODING
from mmtk_blip.weights.public import Heads

_CAPTION = """```python
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

model = BlipForConditionalGeneration.from_pretrained(".")
processor = BlipProcessor.from_pretrained(".")
inputs = processor(images=Image.open("picture.jpg"), {text}return_tensors="pt")
ids = model.generate(**inputs, num_beams={beams}, min_length={least}, max_length={most})
print(processor.decode(ids[0], skip_special_tokens=True))
```

`generate` takes beams and lengths from its arguments and not from `generation_config.json`.
"""
_RETRIEVAL = """```python
from PIL import Image
from transformers import BlipForImageTextRetrieval, BlipProcessor

model = BlipForImageTextRetrieval.from_pretrained(".")
processor = BlipProcessor.from_pretrained(".")
inputs = processor(images=Image.open("picture.jpg"), text="a caption", return_tensors="pt")
cosine = model(**inputs, use_itm_head=False).itm_score

matching = dict(inputs)
matching["input_ids"] = inputs["input_ids"].clone()
matching["input_ids"][:, 0] = {encode}  # [ENC]
probability = model(**matching).itm_score.softmax(dim=1)[:, 1]
```

The matching head (ITM) was trained on texts that start with `[ENC]`, token {encode}. transformers starts
every text with `[CLS]`, so without the replacement its scores are others than those in training.
`use_itm_head=False` compares features and wants `[CLS]`. The class has no temperature: training divided the
cosines by {temperature:.4f}.
"""

_VQA = """```python
from PIL import Image
from transformers import BlipForQuestionAnswering, BlipProcessor

model = BlipForQuestionAnswering.from_pretrained(".")
processor = BlipProcessor.from_pretrained(".")
inputs = processor(images=Image.open("picture.jpg"), text="what is it?", return_tensors="pt")
inputs["input_ids"][:, 0] = {encode}  # [ENC]
ids = model.generate(**inputs, num_beams={beams}, min_length={least}, max_length={most})
print(processor.decode(ids[0], skip_special_tokens=True))
```

The model was trained on questions that start with `[ENC]`, token {encode}; transformers starts every text
with `[CLS]`. Ask one question at a time: `generate` reads the padding of shorter questions too.
"""
_TASKS = {
    "caption": ("captioning", "image-to-text"),
    "retrieval": ("image-text retrieval", "zero-shot-image-classification"),
    "vqa": ("visual question answering", "visual-question-answering"),
}


def model_card(source: ExportSource, task: str) -> str:
    """Markdown: what the model is, how to use it, what was measured and the recipe it was trained by."""
    title = source.name or "BLIP"
    what, tag = _TASKS[task]
    sections = [
        f"---\nlibrary_name: transformers\npipeline_tag: {tag}\ntags: [blip, mmtk]\n---\n\n# {title}",
        f"A BLIP model for {what}, trained with mmtk.",
        "## Use",
        _use(source, task),
    ]
    if source.metrics:
        sections += ["## Measured", _table(source.metrics)]
    if source.recipe:
        fence = _fence(source.recipe)
        sections += ["## Recipe", f"{fence}yaml\n{source.recipe.rstrip()}\n{fence}"]
    return "\n\n".join(section.rstrip() for section in sections) + "\n"


def _use(source: ExportSource, task: str) -> str:
    model = source.learner.model
    if task == "retrieval":
        return _RETRIEVAL.format(encode=model.tokenizer.encode_id, temperature=model.temperature.item())
    decoding = DECODING[task]
    lengths = {
        "beams": decoding.beams,
        "least": decoding.min_length,
        "most": min(decoding.max_length, model.text_transformer.max_positions),
    }
    if task == "vqa":
        return _VQA.format(encode=model.tokenizer.encode_id, **lengths)
    (head,) = Heads.of(source.learner).lm
    prompt = source.heads.get(head, {}).get("prompt", "")
    return _CAPTION.format(text=f"text={prompt!r}, " if prompt else "", **lengths)


def _table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| by | figure | value |", "| --- | --- | --- |"]
    for split, figures in metrics.items():
        lines += [f"| {split} | {name} | {value:.4g} |" for name, value in figures.items()]
    return "\n".join(lines)


def _fence(text: str) -> str:
    """More backticks than the text has in a row."""
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
