"""The components that read and write weights."""

from __future__ import annotations

from mmtk.api import Component


def _component(kind: str, name: str, factory: str, config: str, summary: str) -> Component:
    package = "mmtk_blip.weights"
    return Component(kind, name, f"{package}.{factory}", f"{package}.configs:{config}", summary)


COMPONENTS = [
    _component(
        "importer",
        "blip",
        "importers:BlipImporter",
        "BlipImporterConfig",
        "a checkpoint file of public BLIP or LAVIS",
    ),
    _component(
        "importer",
        "transformers",
        "importers:TransformersImporter",
        "TransformersImporterConfig",
        "a folder of transformers' BLIP classes",
    ),
    _component(
        "weights",
        "blip",
        "sources:BlipWeights",
        "BlipWeightsConfig",
        "a BLIP checkpoint: public, LAVIS or transformers",
    ),
    _component(
        "weights",
        "timm",
        "initial:TimmWeights",
        "TimmWeightsConfig",
        "a ViT or DeiT of timm's, for the image encoder",
    ),
    _component(
        "weights",
        "bert",
        "initial:BertWeights",
        "BertWeightsConfig",
        "BERT, for the text transformer",
    ),
    _component(
        "exporter",
        "blip",
        "exporters:BlipExporter",
        "BlipExporterConfig",
        "a .pth file of public BLIP",
    ),
    _component(
        "exporter",
        "transformers",
        "exporters:TransformersExporter",
        "TransformersExporterConfig",
        "folders for transformers' BLIP classes",
    ),
]
