"""Checks that a plugin's author runs on components, and small samples and models to run them with.

A check raises ``BrokenPromiseError``, an AssertionError, with the component's name and what it did. It looks
at what the kind promises in ``mmtk.kinds``; what a component is for, its own tests say.
"""

from mmtk.testing.data_checks import check_image_transform, check_reader, check_stream, check_text_transform
from mmtk.testing.foreign_checks import check_exporter, check_importer, check_weights, tiny_export_source
from mmtk.testing.head_checks import check_head, check_momentum, check_negatives
from mmtk.testing.model_checks import (
    check_image_encoder,
    check_loss,
    check_model,
    check_text_encoder,
    check_tokenizer,
)
from mmtk.testing.promise import BrokenPromiseError
from mmtk.testing.run_checks import check_capfilt_step, check_executor, check_report_section, check_stage
from mmtk.testing.strategy_checks import check_strategy
from mmtk.testing.tiny import (
    ListReader,
    tiny_batch,
    tiny_blueprint,
    tiny_candidates,
    tiny_context,
    tiny_data,
    tiny_learner,
    tiny_model,
    tiny_model_keys,
    tiny_picture,
    tiny_reader,
    tiny_registry,
    tiny_sample,
    tiny_stage_context,
    tiny_state,
    tiny_tokenizer_keys,
)
from mmtk.testing.training_checks import (
    check_activation_checkpointing,
    check_logger,
    check_metric,
    check_optimizer,
    check_schedule,
)

__all__ = [
    "BrokenPromiseError",
    "ListReader",
    "check_activation_checkpointing",
    "check_capfilt_step",
    "check_executor",
    "check_exporter",
    "check_head",
    "check_image_encoder",
    "check_image_transform",
    "check_importer",
    "check_logger",
    "check_loss",
    "check_metric",
    "check_model",
    "check_momentum",
    "check_negatives",
    "check_optimizer",
    "check_reader",
    "check_report_section",
    "check_schedule",
    "check_stage",
    "check_strategy",
    "check_stream",
    "check_text_encoder",
    "check_text_transform",
    "check_tokenizer",
    "check_weights",
    "tiny_batch",
    "tiny_blueprint",
    "tiny_candidates",
    "tiny_context",
    "tiny_data",
    "tiny_export_source",
    "tiny_learner",
    "tiny_model",
    "tiny_model_keys",
    "tiny_picture",
    "tiny_reader",
    "tiny_registry",
    "tiny_sample",
    "tiny_stage_context",
    "tiny_state",
    "tiny_tokenizer_keys",
]
