"""Image encoders on timm's networks: pictures to tokens, the first of which stands for the whole picture."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, cast

import timm
import torch
from timm.layers import Mlp, PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmtk.api import RecipeError
from mmtk_blip.lean_linear import gelu_linear
from mmtk_blip.position_embeddings import resized

VIT_NORM_EPS = 1e-6
POSITIONS = "vit.pos_embed"
# What timm's networks raise at options they don't have, or at weights they can't fetch.
_REFUSALS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class ConvStem(nn.Module):
    """Patch embedding by stride-2 3×3 convolutions (Xiao et al. 2021, arXiv 2106.14881).

    timm's VisionTransformer builds it as its patch embedding; ``_`` takes those of its options that have no
    meaning here (dynamic picture sizes).
    """

    def __init__(
        self, *, img_size: int, patch_size: int, in_chans: int, embed_dim: int, bias: bool = True, **_: object
    ) -> None:
        super().__init__()
        halvings = int(math.log2(patch_size))
        assert 2**halvings == patch_size, f"patch size {patch_size} is no power of two"
        self.num_patches = (img_size // patch_size) ** 2
        widths = [in_chans, *(embed_dim // 2 ** (halvings - 1 - step) for step in range(halvings))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(embed_dim, embed_dim, 1, bias=bias))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, (H / patch)·(W / patch), D)``."""
        return self.layers(images).flatten(2).transpose(1, 2)


class TimmViT(nn.Module):
    """timm's VisionTransformer, all tokens after the final norm, [CLS] first.

    Args:
        vit: has one prefix token.
        image_size: edge of its pictures in pixels.
        checkpointed_layers: how many of the last layers keep no activations for the backward pass.
    """

    def __init__(self, vit: VisionTransformer, image_size: int, checkpointed_layers: int = 0) -> None:
        super().__init__()
        # Attributes of the instances: wrapper modules would change the names of the weights.
        plain: list[Any] = [block.mlp for block in vit.blocks if _is_plain(block.mlp)]
        for mlp in plain:
            mlp.forward = partial(_lean_forward, mlp)
        for block in vit.blocks[max(0, len(vit.blocks) - checkpointed_layers) :]:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        self.vit = vit
        self.image_size = image_size
        self.width: int = vit.embed_dim

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, 1 + patches, width)``.

        Raises RecipeError when the pictures have another size than the encoder was built for.
        """
        built = (self.image_size, self.image_size)
        if images.shape[-2:] != built:
            right, given = ("x".join(map(str, size)) for size in (built, images.shape[-2:]))
            raise RecipeError(f"timm_vit takes pictures of {right} (image_size), but the data gives {given}")
        return self.vit.forward_features(images)

    def grid(self, images: Tensor) -> tuple[int, int]:  # noqa: ARG002
        """Rows and columns of the tokens behind the first; its pictures are all of one size, and square."""
        side = math.isqrt(self.vit.patch_embed.num_patches)
        return side, side

    def stacked_layers(self) -> list[nn.Module]:
        """The blocks, from first to last."""
        return list(self.vit.blocks)

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of weights by this module's names, those that change for its picture size: position embeddings."""
        found = weights.get(POSITIONS)
        if found is None or found.ndim != 3:
            return {}
        return {POSITIONS: resized(found, self.vit.patch_embed.num_patches)}


def _is_plain(mlp: object) -> bool:
    """Say whether a block's feed-forward part is two linear layers with GELU between them, and no more."""
    return (
        type(mlp) is Mlp
        and isinstance(mlp.act, nn.GELU)
        and mlp.act.approximate == "none"
        and isinstance(mlp.fc2, nn.Linear)
        and isinstance(mlp.norm, nn.Identity)
        and mlp.drop1.p == 0.0
    )


def _lean_forward(mlp: Mlp, tokens: Tensor) -> Tensor:
    """What the network's own forward computes, in less memory: ``(B, N, D)`` to ``(B, N, D)``."""
    return mlp.drop2(gelu_linear(mlp.fc1(tokens), cast(nn.Linear, mlp.fc2)))


def timm_vit(
    *,
    name: str | None = None,
    image_size: int = 224,
    patch_size: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp_ratio: float = 4.0,
    drop_path: float = 0.0,
    checkpointed_layers: int = 0,
    stem: Literal["patch", "conv"] = "patch",
) -> TimmViT:
    """Build a ViT of the given sizes, or timm's model ``name`` for pictures of ``image_size``.

    Raises RecipeError when ``name`` isn't a ViT with a class token.
    """
    if name is not None:
        return TimmViT(_named_vit(name, image_size, drop_path), image_size, checkpointed_layers)
    vit = VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        num_classes=0,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=mlp_ratio,
        drop_path_rate=drop_path,
        norm_layer=partial(nn.LayerNorm, eps=VIT_NORM_EPS),
        embed_layer=ConvStem if stem == "conv" else PatchEmbed,
    )
    return TimmViT(vit, image_size, checkpointed_layers)


def _named_vit(name: str, image_size: int, drop_path: float) -> VisionTransformer:
    _check_name(name)
    refusal = RecipeError(f"timm_vit: {name!r} is no vision transformer with a class token")
    if not name.startswith(("vit_", "deit")):
        raise refusal
    vit = timm.create_model(name, num_classes=0, img_size=image_size, drop_path_rate=drop_path)
    if not isinstance(vit, VisionTransformer) or vit.num_prefix_tokens != 1 or not vit.has_class_token:
        raise refusal
    return vit


class TimmFeatures(nn.Module):
    """A feature map of a timm network as tokens, their mean first, projected and normalised.

    The network runs channels last, which is faster for convolutions.
    """

    def __init__(self, network: nn.Module, channels: int, width: int) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.width = width
        self.projection = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width, eps=VIT_NORM_EPS)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, 1 + h·w, width)``, where the feature map is ``h`` by ``w``."""
        feature_map = self._feature_map(images)
        tokens = feature_map.flatten(2).transpose(1, 2)
        tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1)
        return self.norm(self.projection(tokens))

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of the tokens behind the first, for pictures ``(B, 3, H, W)`` of this size."""
        height, width = self._feature_map(images[:1]).shape[-2:]
        return height, width

    def _feature_map(self, images: Tensor) -> Tensor:
        (feature_map,) = self.network(images.contiguous(memory_format=torch.channels_last))
        return feature_map


def timm_features(
    *,
    name: str,
    width: int,
    out_index: int = -1,
    output_stride: int = 32,
    drop_path: float = 0.0,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> TimmFeatures:
    """Build timm's network ``name``, given further ``options``, up to one of its feature maps.

    Raises RecipeError when timm has no such network, or the network no such feature map, output stride or
    option.
    """
    _check_name(name)
    asked: dict[str, Any] = {"output_stride": output_stride} if output_stride != 32 else {}
    if drop_path:
        asked["drop_path_rate"] = drop_path
    try:
        network = timm.create_model(name, features_only=True, out_indices=(out_index,), **asked, **options)
    except _REFUSALS as error:
        more = f" and options {dict(options)}" if options else ""
        raise RecipeError(
            f"timm_features: timm's {name!r} gives no feature map {out_index} with output stride "
            f"{output_stride}{more}: {type(error).__name__} {error}"
        ) from error
    (channels,) = network.feature_info.channels()  # type: ignore[operator, union-attr]
    return TimmFeatures(network, channels, width)


def _check_name(name: str) -> None:
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise RecipeError(f"timm has no network {name!r}{hint}")
