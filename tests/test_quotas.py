"""Apportionment against its plain version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from dprune import _core


@st.composite
def quotas(draw):
    sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any))
    floors = [draw(st.integers(0, size)) for size in sizes]
    kept = draw(st.integers(sum(floors), sum(sizes)))
    return sizes, floors, kept


@given(quotas())
def test_proportional(case):
    sizes, floors, kept = case
    labels = np.repeat(np.arange(len(sizes)), sizes)
    removed = _core.removed_counts(labels, np.array(floors), True, sum(sizes) - kept)
    expected = np.array(sizes) - oracle.kept_quotas(sizes, floors, kept)
    assert removed == expected.tolist()


def test_by_hand():
    # 7 of 10 kept: 6 * .7 = 4.2, 3 * .7 = 2.1, 1 * .7 = .7, the last place to the largest rest.
    labels = np.array([0] * 6 + [1] * 3 + [2])
    assert _core.removed_counts(labels, np.zeros(3, dtype=np.int64), True, 3) == [2, 1, 0]
    # A tie goes to the lower label.
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert _core.removed_counts(labels, np.zeros(2, dtype=np.int64), True, 3) == [1, 2]


def test_caps():
    labels = np.array([0, 0, 0, 1, 1])
    assert _core.removed_counts(labels, np.array([1, 2]), False, 2) == [2, 0]


def test_impossible():
    labels = np.array([0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="cannot remove 3 samples: at most 2"):
        _core.removed_counts(labels, np.array([1, 2]), False, 3)
