from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmtk_eval.scores import best_ranks, bleu4, cider, recall_at, roc_auc
from mmtk_eval.wording import words

few_values = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12)


def test_recall_counts_the_queries_within_depth() -> None:
    ranks = torch.tensor([0, 1, 4, 5])
    assert [recall_at(ranks, depth) for depth in (1, 2, 5, 10)] == [0.25, 0.5, 0.75, 1.0]


def test_the_best_relevant_item_gives_the_rank() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.1, 0.2, 0.3, 0.4]])
    relevant = torch.tensor([[False, True, True, False], [True, False, False, False]])
    assert best_ranks(scores, relevant).tolist() == [1, 3]


def test_equal_scores_for_everything_rank_last() -> None:
    assert best_ranks(torch.ones(3, 3), torch.eye(3, dtype=torch.bool)).tolist() == [2, 2, 2]


def test_ties_among_the_relevant_do_not_count_against_them() -> None:
    assert best_ranks(torch.ones(1, 3), torch.tensor([[True, True, False]])).tolist() == [1]
    assert best_ranks(torch.ones(1, 2), torch.tensor([[True, True]])).tolist() == [0]


@given(few_values, few_values)
def test_auc_is_the_share_of_pairs_in_order(positive: list[float], negative: list[float]) -> None:
    in_order = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
    expected = in_order / (len(positive) * len(negative))
    assert roc_auc(torch.tensor(positive), torch.tensor(negative)) == pytest.approx(expected)


@given(few_values, few_values)
def test_auc_of_swapped_classes_is_its_complement(positive: list[float], negative: list[float]) -> None:
    one, other = torch.tensor(positive), torch.tensor(negative)
    assert roc_auc(one, other) + roc_auc(other, one) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Cat, on 2 mats!", "a cat on 2 mats"),
        ("  snow-capped   mountain ", "snow-capped mountain"),
        ("été à la plage…", "été à la plage"),
        ("the dog's 2.5 kg, “bone”", "the dog's 2.5 kg bone"),
        ("?!", ""),
    ],
)
def test_words_are_lower_case_and_without_punctuation(text: str, expected: str) -> None:
    assert words(text) == expected


def test_bleu4_by_hand() -> None:
    # In the reference: 7 of 8 words, 6 of 7 bigrams, 5 of 6 trigrams, 4 of 5 four-grams; equal lengths.
    captions = ["a b c d e f g x"]
    references = [["a b c d e f g h"]]
    assert bleu4(captions, references) == pytest.approx((7 / 8 * 6 / 7 * 5 / 6 * 4 / 5) ** 0.25)


def test_bleu4_punishes_brevity_by_the_closest_reference() -> None:
    # All n-grams are right; 4 words against references of 5 and 9: exp(1 - 5/4).
    assert bleu4(["a b c d"], [["a b c d e f g h i", "a b c d e"]]) == pytest.approx(math.exp(-0.25))


def test_bleu4_takes_different_numbers_of_references() -> None:
    captions = ["a b c d", "e f g h"]
    assert bleu4(captions, [["x y", "a b c d"], ["e f g h"]]) == pytest.approx(1)
    assert bleu4(captions, [["a b c d"], ["e f g h", "e f g h"]]) == pytest.approx(1)


def test_bleu4_is_zero_without_a_common_four_gram_or_a_caption() -> None:
    assert bleu4(["a b c", "d e f"], [["a b c"], ["d e f"]]) == 0
    assert bleu4(["", ""], [["a b c d"], ["d e f g"]]) == 0


def test_cider_by_hand() -> None:
    # The images have no n-gram in common, so every idf is ln 2 and cancels out of the cosines. "a b" is its
    # reference: words and bigrams agree, there is nothing longer, so 10 * (1 + 1 + 0 + 0) / 4. "c x" has one
    # word of "c d"'s two, a cosine of 1 / 2 (the idf of x is ln 2 too), and no bigram: 10 * 0.5 / 4.
    assert cider(["a b", "c x"], [["a b"], ["c d"]]) == pytest.approx((5 + 1.25) / 2)


def test_cider_ignores_words_that_every_image_has_and_punishes_length() -> None:
    # "the" has idf ln(2/2) = 0. COCO's scorer counts length in bigrams: 0 against 1 gives exp(-1 / (2 * 36)).
    # Unigrams agree but for "the", nothing else does.
    score = cider(["cat", "the dog"], [["the cat"], ["the dog"]])
    assert score == pytest.approx((10 * math.exp(-1 / 72) / 4 + 10 * 2 / 4) / 2)


def test_cider_averages_over_references() -> None:
    one = cider(["a b c d", "e f"], [["a b c d"], ["e f"]])
    two = cider(["a b c d", "e f"], [["a b c d", "g h i j"], ["e f"]])
    assert one == pytest.approx((10 + 5) / 2)
    assert two == pytest.approx((10 / 2 + 5) / 2)


def test_cider_of_one_image_is_zero_as_nothing_tells_it_from_others() -> None:
    assert cider(["a b c d"], [["a b c d"]]) == 0
