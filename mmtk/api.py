"""All that a plugin imports from mmtk. A change of it is told in CHANGELOG.md, and counted by ``VERSION``.

Importing this module imports no torch. The names of ``_LAZY`` are imported when they are first asked for:
what stands at the top of a module that lists components or holds configs should be none of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmtk.api_version import VERSION
from mmtk.blame import blamed
from mmtk.candidates import (
    HUMAN,
    SYNTHETIC,
    WEB,
    AddingStep,
    AtLeast,
    Best,
    Candidate,
    CapfiltStep,
    Executor,
    ImageCandidates,
    PartWork,
    Rule,
    SurveyingStep,
)
from mmtk.commands import Command, CommandModule
from mmtk.config import (
    Address,
    Input,
    NodeDefault,
    Range,
    Slot,
    Target,
    node,
    nodes,
)
from mmtk.errors import (
    CheckpointError,
    DataError,
    MmtkError,
    PluginError,
    RecipeError,
    SampleError,
    StageError,
)
from mmtk.events import (
    CheckpointSaved,
    EpochEnded,
    MetricsLogged,
    RunEnded,
    RunStarted,
    StageEnded,
    StageStarted,
    StepEnded,
)
from mmtk.facade import Deprecated, deprecated, resolve
from mmtk.hookspecs import (
    hookimpl,
)
from mmtk.kinds import (
    KINDS,
    Blueprint,
    CaptioningHead,
    Exporter,
    ForwardContext,
    Head,
    ImageEncoder,
    ImageEncoding,
    ImageTransform,
    Importer,
    Kind,
    LayerWrapper,
    LazyImageTransform,
    Logger,
    Loss,
    MatchingHead,
    Metric,
    Model,
    Momentum,
    NegativeSampler,
    OptimizerFactory,
    Picture,
    Reader,
    ReportSection,
    Schedule,
    Stage,
    Strategy,
    Stream,
    TextAwareImageTransform,
    TextEncoding,
    TextTransform,
    Tokenizer,
    WeightSource,
    WordMappingHead,
)
from mmtk.registry import Component, Registry, nearest, spelling_hint
from mmtk.stages.context import (
    EstimateContext,
    Output,
    StageContext,
)
from mmtk.stages.environment import (
    seed_everything,
)
from mmtk.types import (
    Batch,
    ComponentNode,
    Decoding,
    ExportSource,
    ForeignWeights,
    HeadOutput,
    ImportedLearner,
    MomentumKeys,
    Negatives,
    Quarantined,
    RawSample,
    Similarities,
    StepState,
    TextMaps,
    WordMap,
    stable_hash,
)

if TYPE_CHECKING:
    from mmtk.cli.console import output_console
    from mmtk.cli.model_arguments import add_model_arguments, count_from, load_model
    from mmtk.cli.results import note, progress
    from mmtk.data.configs import CLIP_MEAN, CLIP_STD, DEFAULT_LIMITS, EvaluationDataConfig, ImageLimits
    from mmtk.data.images.decode import decode_image
    from mmtk.data.parallel import ordered_map
    from mmtk.data.pipeline import EvaluationData
    from mmtk.data.quarantine import Quarantine
    from mmtk.data.shards import ShardWriter, TarShard, check_sample
    from mmtk.data.tables import read_columns, read_table
    from mmtk.distributed.collectives import (
        gather,
        gather_objects,
        gather_own_first,
        gather_with_grad,
        local_part,
        own_first,
        rank,
        row_counts,
        world_size,
    )
    from mmtk.distributed.spread import Spread, Workload
    from mmtk.distributed.strategies import DdpSpread, plain, replicated
    from mmtk.engine.checkpoint import load_learner
    from mmtk.engine.checkpoint_files import WEIGHTS, checkpoint_fault
    from mmtk.engine.estimate import learner_parameters
    from mmtk.engine.folders import whole_folder
    from mmtk.engine.learner import Learner
    from mmtk.engine.recompute import last_layers
    from mmtk.engine.step_clock import section
    from mmtk.engine.weights import write_safetensors
    from mmtk.inference import InferenceModel
    from mmtk.inference.batching import BatchSize, in_batches
    from mmtk.plugins import load_plugins
    from mmtk.printable import printable
    from mmtk.recipe.build import blueprint, from_options
    from mmtk.report import charts
    from mmtk.report.embed import embedded_json
    from mmtk.report.jsonl import read_object
    from mmtk.report.page import Making, render_page
    from mmtk.report.templating import render
    from mmtk.report.wording import count, counted, readable, share
    from mmtk.stages.stored import outputs_of, stored_stage
    from mmtk.step_promise import ledger_scores, step_results

_LAZY = {
    "mmtk.cli.console": "output_console",
    "mmtk.cli.model_arguments": "add_model_arguments count_from load_model",
    "mmtk.cli.results": "note progress",
    "mmtk.data.configs": "CLIP_MEAN CLIP_STD DEFAULT_LIMITS EvaluationDataConfig ImageLimits",
    "mmtk.data.images.decode": "decode_image",
    "mmtk.data.parallel": "ordered_map",
    "mmtk.data.pipeline": "EvaluationData",
    "mmtk.data.quarantine": "Quarantine",
    "mmtk.data.shards": "ShardWriter TarShard check_sample",
    "mmtk.data.tables": "read_columns read_table",
    "mmtk.distributed.collectives": (
        "gather gather_objects gather_own_first gather_with_grad local_part own_first rank "
        "row_counts world_size"
    ),
    "mmtk.distributed.spread": "Spread Workload",
    "mmtk.distributed.strategies": "DdpSpread plain replicated",
    "mmtk.engine.checkpoint": "load_learner",
    "mmtk.engine.checkpoint_files": "WEIGHTS checkpoint_fault",
    "mmtk.engine.estimate": "learner_parameters",
    "mmtk.engine.folders": "whole_folder",
    "mmtk.engine.learner": "Learner",
    "mmtk.engine.recompute": "last_layers",
    "mmtk.engine.step_clock": "section",
    "mmtk.engine.weights": "write_safetensors",
    "mmtk.inference": "InferenceModel",
    "mmtk.inference.batching": "BatchSize in_batches",
    "mmtk.plugins": "load_plugins",
    "mmtk.printable": "printable",
    "mmtk.recipe.build": "blueprint from_options",
    "mmtk.report": "charts",
    "mmtk.report.embed": "embedded_json",
    "mmtk.report.jsonl": "read_object",
    "mmtk.report.page": "Making render_page",
    "mmtk.report.templating": "render",
    "mmtk.report.wording": "count counted readable share",
    "mmtk.stages.stored": "outputs_of stored_stage",
    "mmtk.step_promise": "ledger_scores step_results",
}
_PLACES = {name: module for module, names in _LAZY.items() for name in names.split()}

_DEPRECATED: dict[str, Deprecated] = {}
"""Names that go with the next first number of ``VERSION``: taken out of ``__all__``, but still importable."""

# fmt: off
__all__ = [  # noqa: RUF022 - by what they are for
    "VERSION",
    # what a plugin offers, and what its configs are made of
    "Address", "Command", "CommandModule", "Component", "Input", "NodeDefault", "Output", "Range", "Slot",
    "Target", "hookimpl", "node", "nodes",
    # what its hooks are told
    "CheckpointSaved", "EpochEnded", "MetricsLogged", "RunEnded", "RunStarted", "StageEnded",
    "StageStarted", "StepEnded",
    # the kinds, and what they promise
    "KINDS", "Blueprint", "CapfiltStep", "CaptioningHead", "Executor", "Exporter", "ForwardContext",
    "Head", "ImageEncoder", "ImageEncoding", "ImageTransform", "Importer", "Kind", "LayerWrapper",
    "LazyImageTransform", "Logger", "Loss", "MatchingHead", "Metric", "Model", "Momentum",
    "NegativeSampler", "OptimizerFactory", "Picture", "Reader", "ReportSection", "Schedule", "Stage",
    "Strategy", "Stream", "TextAwareImageTransform", "TextEncoding", "TextTransform", "Tokenizer",
    "WeightSource", "WordMappingHead",
    # what flows between components
    "Batch", "ComponentNode", "Decoding", "EstimateContext", "ExportSource", "ForeignWeights",
    "HeadOutput", "ImportedLearner", "Learner", "MomentumKeys", "Negatives", "Quarantined", "RawSample",
    "Similarities", "StageContext", "StepState", "TextMaps", "WordMap",
    # CapFilt's steps
    "HUMAN", "SYNTHETIC", "WEB", "AddingStep", "AtLeast", "Best", "Candidate", "ImageCandidates",
    "PartWork", "Rule", "SurveyingStep", "ledger_scores", "step_results",
    # errors, which become one message for the user
    "CheckpointError", "DataError", "MmtkError", "PluginError", "RecipeError", "SampleError",
    "StageError", "blamed",
    # seeds, names and text for the user
    "nearest", "printable", "seed_everything", "spelling_hint", "stable_hash",
    # components by name, as recipes and commands name them
    "Registry", "blueprint", "from_options", "load_plugins",
    # data
    "CLIP_MEAN", "CLIP_STD", "DEFAULT_LIMITS", "EvaluationData", "EvaluationDataConfig", "ImageLimits",
    "Quarantine", "ShardWriter", "TarShard", "check_sample", "decode_image", "ordered_map",
    "read_columns", "read_table",
    # checkpoints and the weights in them
    "WEIGHTS", "checkpoint_fault", "learner_parameters", "load_learner", "whole_folder", "write_safetensors",
    # training
    "last_layers", "section",
    # ranks and strategies
    "DdpSpread", "Spread", "Workload", "gather", "gather_objects", "gather_own_first",
    "gather_with_grad", "local_part", "own_first", "plain", "rank", "replicated", "row_counts",
    "world_size",
    # inference
    "BatchSize", "InferenceModel", "in_batches",
    # stages that are done
    "outputs_of", "stored_stage",
    # the report
    "Making", "charts", "count", "counted", "embedded_json", "read_object", "readable", "render",
    "render_page", "share",
    # commands
    "add_model_arguments", "count_from", "load_model", "note", "output_console", "progress",
]
# fmt: on


def __getattr__(name: str) -> Any:
    """Import a name of ``_LAZY``, anew each time so that it is the host's own. A deprecated one warns."""
    if name in _DEPRECATED:
        return deprecated(__name__, name, _DEPRECATED[name])
    if name not in _PLACES:
        near = nearest(name, __all__)
        hint = f"; did you mean '{near}'?" if near else ""
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'{hint}")
    return resolve(_PLACES[name], name)


def __dir__() -> list[str]:
    return sorted(__all__)
