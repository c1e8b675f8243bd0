"""Using a trained model on one's own pictures: captions, matching, features and search.

from mmtk.inference import load

model = load("runs/quickstart")
model.caption(["a.jpg"])
model.match("a.jpg", ["a cat", "a dog"])
"""

from mmtk.inference.loading import load
from mmtk.inference.model import InferenceModel
from mmtk.inference.pictures import find_pictures
from mmtk.inference.results import Captioned, Embedded, Found, Indexed, Matched

__all__ = [
    "Captioned",
    "Embedded",
    "Found",
    "Indexed",
    "InferenceModel",
    "Matched",
    "find_pictures",
    "load",
]
