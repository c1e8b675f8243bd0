from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mmtk.distributed.collectives import gather, gather_with_grad, rank, row_counts, world_size
from tests.ranks import run_ranks

ROWS = (3, 1)  # of rank 0 and of rank 1


def rows_of(number: int) -> Tensor:
    return torch.arange(ROWS[number] * 2.0).view(-1, 2) + 10 * number


def weights() -> Tensor:
    return torch.arange(1.0, sum(ROWS) + 1)[:, None]


def collect(number: int) -> dict[str, object]:
    rows = rows_of(number).requires_grad_()
    together = gather_with_grad(rows)
    (together * weights() * (number + 1)).sum().backward()
    return {
        "world": (world_size(), rank(), row_counts(rows)),
        "rows": gather(rows),
        "needs_grad": gather(rows).requires_grad,
        "with_grad": together.detach(),
        "gradient": rows.grad,
        "ids": gather(torch.tensor([7 + number] * ROWS[number])),
        "mask": gather(rows.detach() > 3),
        "none": gather(torch.zeros(0 if number else 2, 3)),
    }


def test_two_ranks_with_different_numbers_of_rows(tmp_path: Path) -> None:
    results = run_ranks("tests.host.distributed.test_collectives:collect", tmp_path)
    whole = torch.cat([rows_of(0), rows_of(1)])
    for number, found in enumerate(results):
        assert found["world"] == (2, number, [3, 1])
        assert torch.equal(found["rows"], whole)
        assert torch.equal(found["with_grad"], whole)
        assert not found["needs_grad"]
        assert found["ids"].tolist() == [7, 7, 7, 8]
        assert torch.equal(found["mask"], whole > 3)
        assert found["none"].shape == (2, 3)
    # Both ranks' gradients for each row, weighted 1 and 2.
    expected = (3 * weights()).expand(-1, 2)
    assert torch.equal(torch.cat([found["gradient"] for found in results]), expected)


def test_without_a_group_nothing_changes() -> None:
    rows = rows_of(0).requires_grad_()
    assert (world_size(), rank(), row_counts(rows)) == (1, 0, [3])
    assert gather_with_grad(rows) is rows
    assert torch.equal(gather(rows), rows)
    assert not gather(rows).requires_grad
