"""What other plugins may import of this one."""

from mmtk_eval.wording import words

__all__ = ["words"]
