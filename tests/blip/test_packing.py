"""Packing keeps every real token in its place and leaves padding out, also of the gradient."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmtk_blip.packing import Packing

from .parts import tiny_transformer

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def right_padded(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]


@given(LENGTHS)
def test_unpacking_restores_real_tokens_and_zeroes_padding(lengths: list[int]) -> None:
    mask = right_padded(lengths)
    rows = torch.randn(*mask.shape, 3, generator=torch.Generator().manual_seed(0))
    packing = Packing(mask)
    tokens = packing.pack(rows)
    assert tokens.shape == (sum(lengths), 3)
    torch.testing.assert_close(packing.unpack(tokens), rows * mask[..., None], rtol=0, atol=0)


def test_the_order_is_row_by_row() -> None:
    mask = torch.tensor([[True, False], [True, True]])
    rows = torch.arange(4.0).view(2, 2, 1)
    assert Packing(mask).pack(rows).flatten().tolist() == [0, 2, 3]


def test_gradients_reach_real_tokens_alone() -> None:
    mask = right_padded([1, 3])
    rows = torch.randn(2, 3, 2, requires_grad=True)
    packing = Packing(mask)
    packing.unpack(packing.pack(rows) * 5).sum().backward()
    torch.testing.assert_close(rows.grad, 5.0 * mask[..., None].expand_as(rows))


def test_states_of_a_padded_batch_are_zero_where_padding_stands() -> None:
    transformer = tiny_transformer("all_but_sa").eval()
    mask = right_padded([2, 5])
    ids = torch.randint(4, 20, mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    image = transformer.image_keys_values(torch.randn(2, 3, 24), "encoder")
    for states in (
        transformer.encode(ids, mask),
        transformer.ground(ids, mask, image),
        transformer.decode(ids, image, mask=mask),
    ):
        assert (states.abs().sum(2) > 0).equal(mask)


def test_the_decoder_gives_real_tokens_the_same_states_with_and_without_a_mask() -> None:
    transformer = tiny_transformer("all_but_sa").eval()
    mask = right_padded([2, 5, 3])
    ids = torch.randint(4, 20, mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    image = transformer.image_keys_values(torch.randn(3, 3, 24), "decoder")
    padded, packed = (transformer.decode(ids, image, mask=given) for given in (None, mask))
    torch.testing.assert_close(packed[mask], padded[mask])


@given(LENGTHS, st.randoms(use_true_random=False))
def test_rows_by_image_hold_the_same_tokens(lengths: list[int], random) -> None:
    mask = right_padded(lengths)
    packing = Packing(mask)
    image_of = torch.tensor([random.randrange(3) for _ in lengths])
    layout = packing.by_image(image_of, 3)
    tokens = torch.arange(1.0, sum(lengths) + 1)[:, None]
    rows = layout.unpack(tokens)
    texts = tokens.flatten().split(lengths)
    for image in range(3):
        own = torch.cat([tokens.new_zeros(0), *(texts[row] for row in (image_of == image).nonzero())])
        assert rows[image].flatten().tolist() == own.tolist() + [0] * (rows.shape[1] - len(own))
    assert torch.equal(layout.pack(rows), tokens)


def test_reading_images_in_any_order_equals_repeating_them() -> None:
    torch.manual_seed(0)
    transformer = tiny_transformer()
    mask = right_padded([2, 5, 1, 3, 4])
    ids, image_of = torch.randint(4, 20, mask.shape), torch.tensor([2, 0, 2, 2, 0])
    image = transformer.image_keys_values(torch.randn(3, 3, 24), "encoder")
    repeated = [layer.select(image_of) for layer in image]
    torch.testing.assert_close(
        transformer.ground(ids, mask, image, image_of), transformer.ground(ids, mask, repeated)
    )
