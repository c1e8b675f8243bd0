from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.data.configs import EvaluationDataConfig
from mmtk.data.pipeline import Accounts, Built, EvaluationData
from mmtk.errors import DataError
from mmtk.types import Quarantined, RawSample

from .samples import TEST_TRANSFORMS, ListReader, equal, reader, sample


def evaluation(samples: list[RawSample | None], **options: int) -> EvaluationData:
    return EvaluationData.of(ListReader(samples), *TEST_TRANSFORMS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_and_the_short_last_batch(workers: int) -> None:
    samples: list[RawSample | None] = [sample(n, texts=(f"First {n}!", f"second {n}")) for n in range(10)]
    data = evaluation(samples, batch_size=4, workers=workers)
    assert len(data) == 3
    batches = list(data)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [key for batch in batches for key in batch.keys] == [f"key{n:04d}" for n in range(10)]
    assert batches[2].texts == ("first 8", "first 9")
    assert equal(batches, list(data))
    assert data.texts_of("key0003") == ("first 3", "second 3")
    assert data.raw("key0003") == samples[3]


def test_evaluation_finds_samples_before_any_pass() -> None:
    data = evaluation([sample(0), None, sample(2)])
    assert data.raw("key0002").texts == ("text 2",)
    with pytest.raises(DataError, match="no sample with the key 'nothing'"):
        data.raw("nothing")
    assert [entry.key for entry in data.quarantine.entries] == ["sample 1"]


@settings(max_examples=40, deadline=None)
@given(
    good=st.lists(st.booleans(), min_size=1, max_size=20),
    batch_size=st.integers(1, 8),
    refused=st.integers(0, 3),
)
def test_the_accounts_of_an_evaluation_add_up(good: list[bool], batch_size: int, refused: int) -> None:
    samples = [sample(n) if fine else sample(n, image=b"broken") for n, fine in enumerate(good)]
    index = [Quarantined(f"index{n}", "no text", "a.tar") for n in range(refused)]
    data = EvaluationData.of(ListReader(samples, index), *TEST_TRANSFORMS, batch_size=batch_size)
    for _ in range(2):
        batches = list(data)
        assert all(len(batch) for batch in batches)
        assert data.accounts == Accounts(len(good) + refused, sum(good), len(good) - sum(good) + refused, 0)
        assert sum(len(batch) for batch in batches) == data.accounts.used
        assert len(data.quarantine) == data.accounts.quarantined


def test_evaluation_from_a_config() -> None:
    image_transform, text_transform = TEST_TRANSFORMS
    config = EvaluationDataConfig(
        reader=Built(reader(5)), image_transform=Built(image_transform), text_transform=Built(text_transform)
    )
    (batch,) = EvaluationData(config)
    assert batch.images.shape == (5, 3, 12, 12)
    with pytest.raises(DataError, match="no usable sample"):
        evaluation([])


def test_evaluation_stops_when_too_much_cannot_be_used() -> None:
    image_transform, text_transform = TEST_TRANSFORMS
    config = EvaluationDataConfig(
        reader=Built(reader(9, {1, 2, 3})),
        image_transform=Built(image_transform),
        text_transform=Built(text_transform),
        max_quarantined=2,
    )
    with pytest.raises(DataError, match="3 samples can't be used, and max_quarantined is 2"):
        list(EvaluationData(config))
