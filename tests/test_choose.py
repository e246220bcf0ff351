"""choose_reweight: what it shows the user's training, and what it picks."""

from __future__ import annotations

import numpy as np
import pytest

import dprune


def test_the_best_score_wins(digits_rows, digits):
    seen = []

    def train(kept, validation):
        seen.append((kept, validation))
        return {0: 0.3, 1: 0.9, 2: 0.5}[len(seen) - 1]

    choice = dprune.choose_reweight(digits_rows, digits[1], 628, train, sweeps=20)
    assert choice.reweight == 0.5
    assert choice.scores == {0.0: 0.3, 0.5: 0.9, 1.0: 0.5}
    for kept, validation in seen:
        np.testing.assert_array_equal(validation, choice.validation)
        assert not np.intersect1d(kept, validation).size
        assert kept.max() < 1257
        # The same share is kept of what is not held out, in proportion to the classes.
        pool = 1257 - len(validation)
        assert len(kept) == pool - round(628 * pool / 1257)
        share = np.bincount(digits[1][kept]) / len(kept)
        np.testing.assert_allclose(share, np.bincount(digits[1]) / 1257, atol=0.005)
    assert any((seen[0][0] != kept).any() for kept, _ in seen[1:])


def test_the_hold_out_is_stratified(digits_rows, digits):
    choice = dprune.choose_reweight(
        digits_rows, digits[1], 100, lambda *_: 0.0, validation=0.2, sweeps=2
    )
    held = np.bincount(digits[1][choice.validation])
    np.testing.assert_array_equal(held, np.round(0.2 * np.bincount(digits[1])))
    assert choice.reweight == 0.0  # ties go to the smaller


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"validation": 0.0}, "validation must lie in"),
        ({"candidates": ()}, "candidates must name"),
        ({"labels": np.zeros(5, int)}, r"labels must have shape \(1257,\)"),
    ],
)
def test_bad_input(digits_rows, digits, arguments, match):
    given = {"labels": digits[1], "m": 10, "train": lambda *_: 0.0, **arguments}
    with pytest.raises(ValueError, match=match):
        dprune.choose_reweight(digits_rows, **given)
