"""choose_reweight: what it shows the user's training, and what it picks."""

from __future__ import annotations

import numpy as np
import pytest

import dprune


def test_the_best_mean_score_wins(digits_rows, digits):
    calls = []
    given = iter([0.3, 0.2, 0.4, 0.8, 0.9, 0.1])  # means .55, .55, .25

    def train(kept, validation):
        calls.append((kept, validation))
        return next(given)

    choice = dprune.choose_reweight(
        digits_rows, digits[1], 628, train, (1.0, 0.5, 0.0), holdouts=2, sweeps=20
    )
    assert choice.reweight == 0.0  # ties go to the smaller
    assert choice.by_holdout == {0.0: (0.3, 0.8), 0.5: (0.2, 0.9), 1.0: (0.4, 0.1)}
    assert choice.scores == pytest.approx({0.0: 0.55, 0.5: 0.55, 1.0: 0.25})
    first, second = calls[0][1], calls[3][1]
    assert not np.intersect1d(first, second).size
    np.testing.assert_array_equal(choice.validation, np.union1d(first, second))
    for k, (kept, validation) in enumerate(calls):
        np.testing.assert_array_equal(validation, first if k < 3 else second)
        assert not np.intersect1d(kept, validation).size
        assert kept.max() < 1257
        # The same share is kept of what is not held out, in proportion to the classes.
        pool = 1257 - len(validation)
        assert len(kept) == pool - round(628 * pool / 1257)
        share = np.bincount(digits[1][kept]) / len(kept)
        np.testing.assert_allclose(share, np.bincount(digits[1]) / 1257, atol=0.005)
    assert any((calls[0][0] != kept).any() for kept, _ in calls[1:3])


def test_hold_outs_are_stratified_and_may_cover_everything(digits_rows, digits):
    def held_out(**settings):
        seen = []
        choice = dprune.choose_reweight(
            digits_rows,
            digits[1],
            100,
            lambda _, v: seen.append(v) or 0.0,
            (1.0,),
            sweeps=2,
            **settings,
        )
        return choice, [np.bincount(digits[1][v]) for v in seen]

    counts = np.bincount(digits[1])
    choice, held = held_out(validation=0.2, holdouts=1)
    np.testing.assert_array_equal(held, [np.ceil(0.2 * counts)])
    choice, held = held_out(validation=0.2, holdouts=5)
    assert np.abs(np.array(held) - 0.2 * counts).max() <= 1
    np.testing.assert_array_equal(choice.validation, np.arange(1257))


def test_hold_outs_take_whole_groups(digits_rows, digits):
    # Sizes 1 to 40 in scattered places, names that are no positions.
    rng = np.random.default_rng(3)
    groups = rng.permutation(np.repeat(np.arange(60) * 7 - 100, rng.integers(1, 41, 60)))[:1257]
    seen, kept = [], []

    def train(chosen, held_out):
        kept.append(chosen)
        seen.append(held_out)
        return 0.0

    settings = {"candidates": (1.0,), "sweeps": 2, "validation": 0.25, "holdouts": 4}
    rows = np.asarray(digits_rows)[: len(groups)]
    choice = dprune.choose_reweight(
        rows, digits[1][: len(groups)], 100, train, holdout_groups=groups, **settings
    )
    for held_out, chosen in zip(seen, kept, strict=True):
        assert not np.intersect1d(groups[held_out], np.delete(groups, held_out)).size
        assert not np.intersect1d(groups[held_out], groups[chosen]).size
        assert abs(len(held_out) - 0.25 * len(groups)) <= 40
    # Disjoint, and all of it where the shares add up to one.
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(len(groups)))
    np.testing.assert_array_equal(choice.validation, np.arange(len(groups)))


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        (np.zeros(20, int), "found 1 groups of up to 20"),
        (np.arange(20) // 10, "holdout_groups must be small .* found 2 groups of up to 10"),
        (np.zeros(3, int), r"holdout_groups must have shape \(20,\)"),
    ],
)
def test_groups_that_give_no_hold_outs_are_refused(groups, match):
    rows = np.random.default_rng(0).standard_normal((20, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=match):
        dprune.choose_reweight(
            rows, np.arange(20) % 4, 5, lambda *_: 0.0, holdout_groups=groups, validation=0.1
        )


def test_an_empty_hold_out_is_refused():
    rows = np.random.default_rng(0).standard_normal((20, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="validation must hold out at least one sample of 20"):
        dprune.choose_reweight(rows, np.arange(20) % 4, 5, lambda *_: 0.0, validation=0.1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"validation": 0.0}, "validation must lie in"),
        (
            {"validation": 0.4},
            "holdouts must be at least 1 and at most 1 / validation = 2.5, found 3",
        ),
        ({"holdouts": 0}, "holdouts must be at least 1"),
        ({"candidates": ()}, "candidates must name"),
        ({"labels": np.zeros(5, int)}, r"labels must have shape \(1257,\)"),
    ],
)
def test_bad_input(digits_rows, digits, arguments, match):
    given = {"labels": digits[1], "m": 10, "train": lambda *_: 0.0, **arguments}
    with pytest.raises(ValueError, match=match):
        dprune.choose_reweight(digits_rows, **given)
