"""The baselines against plain references, the direction of each included."""

import itertools

import numpy as np
import pytest

import dprune
from dprune import Trajectory, scores


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    features = rng.standard_normal((90, 5)) + 2.0 * labels[:, None]
    logits = rng.standard_normal((2, 90, 3)) + 2.0 * np.eye(3)[labels]
    p = np.exp(logits)
    return features, labels, p / p.sum(axis=2, keepdims=True)


def kept(score, m, **settings):
    return dprune.prune_scores(score, m=m, **settings).kept


def test_herding_keeps_the_nearest_to_the_class_mean(data):
    features, labels, _ = data
    score = scores.herding(features, labels)
    for i in range(90):
        mean = features[labels == labels[i]].mean(axis=0)
        assert score[i] == pytest.approx(-np.sqrt(((features[i] - mean) ** 2).sum()))
    # Two tight samples and one outlier a class: the outliers go.
    x = np.array([[0.0], [0.1], [9.0], [20.0], [20.1], [11.0]])
    assert kept(scores.herding(x, [0, 0, 0, 1, 1, 1]), 2).tolist() == [0, 1, 3, 4]


def test_greedy_herding_follows_the_class_mean(data):
    features, labels, _ = data
    score = scores.herding(features, labels, greedy=True)
    for c in range(3):
        members = np.flatnonzero(labels == c)
        mean = features[members].mean(axis=0)
        left, picked = list(members), []
        while left:
            gaps = [np.linalg.norm(mean - features[[*picked, i]].mean(axis=0)) for i in left]
            picked.append(left.pop(int(np.argmin(gaps))))
        assert members[np.argsort(-score[members])].tolist() == picked
        # The mean of the first ten follows the class mean better than ten at random do.
        gap = np.linalg.norm(features[picked[:10]].mean(axis=0) - mean)
        draws = np.random.default_rng(1)
        random = [
            np.linalg.norm(features[draws.choice(members, 10, replace=False)].mean(axis=0) - mean)
            for _ in range(50)
        ]
        assert gap < 0.6 * np.median(random)


def reference_forgetting(history):
    events = []
    for column in history.T:
        if not any(column):
            events.append(len(column))
            continue
        events.append(sum(a and not b for a, b in itertools.pairwise(column)))
    return events


def test_forgetting_counts_changes_from_right_to_wrong():
    history = np.random.default_rng(2).random((9, 40)) < 0.6
    history[:, 3] = False  # never learnt: kept first
    history[:, 4] = True  # never forgotten: goes first
    assert scores.forgetting(history).tolist() == reference_forgetting(history)
    assert 3 in kept(scores.forgetting(history), 39)
    assert 4 not in kept(scores.forgetting(history), 1 + np.sum(scores.forgetting(history) == 0))
    runs = [trajectory(history), trajectory(~history)]
    expected = np.mean([reference_forgetting(h) for h in (history, ~history)], axis=0)
    np.testing.assert_allclose(scores.forgetting(runs), expected)


def trajectory(correct, norms=None):
    n = correct.shape[1]
    norms = np.ones((2, n), np.float32) if norms is None else norms
    return Trajectory(correct, (1, 4), norms, 2 * norms)


def test_el2n_and_grand_are_norms_averaged_over_networks(data):
    features, labels, p = data
    h = np.stack([features, features + 1.0])
    el2n, grand = np.zeros(90), np.zeros(90)
    for run in range(2):
        for i in range(90):
            error = p[run, i] - np.eye(3)[labels[i]]
            el2n[i] += np.linalg.norm(error) / 2
            grand[i] += np.linalg.norm(np.outer(error, [*h[run, i], 1.0])) / 2
    np.testing.assert_allclose(scores.el2n(p, labels), el2n)
    np.testing.assert_allclose(scores.grand(p, labels, h), grand)
    hardest = int(np.argmax(el2n))
    assert kept(scores.el2n(p, labels), 89).tolist() == [hardest]
    assert p[:, hardest, labels[hardest]].mean() < 0.3  # what is kept is what was got wrong


def test_el2n_and_grand_read_trajectories():
    norms = np.arange(20, dtype=np.float32).reshape(2, 10)
    run = trajectory(np.ones((4, 10), bool), norms)
    assert scores.el2n(run).tolist() == norms[0].tolist()
    assert scores.el2n([run, run], epoch=4).tolist() == norms[1].tolist()
    assert scores.grand(run, epoch=4).tolist() == (2 * norms[1]).tolist()
    with pytest.raises(ValueError, match=r"epoch must be one of \(1, 4\), found 3"):
        scores.el2n(run, epoch=3)


def test_influence_norm_is_the_norm_of_each_row():
    S = np.random.default_rng(3).standard_normal((30, 7)).astype(np.float32)
    score = scores.influence_norm(S)
    np.testing.assert_allclose(score, [np.sqrt((row.astype(float) ** 2).sum()) for row in S])
    assert kept(score, 29).tolist() == [int(np.argmax(score))]


def test_moderate_keeps_the_middle_distances():
    x = np.array([[d] for d in (-9.0, -1.0, -2.0, -3.0, 0.0, 0.0, 3.0, 2.0, 1.0, 9.0)])
    score = scores.moderate(x, np.zeros(10, int))
    distance = np.abs(x[:, 0] - x.mean())
    np.testing.assert_allclose(score, -np.abs(distance - np.median(distance)))
    middle = kept(score, 6)
    assert set(np.abs(x[middle, 0])) == {1.0, 2.0, 3.0}  # neither the centre nor the outliers


@pytest.mark.parametrize("m", [20, 150, 260, 290])
@pytest.mark.parametrize("cutoff", [0.0, 0.05])
def test_ccs_gives_every_stratum_the_same_budget(m, cutoff):
    difficulty = np.random.default_rng(4).exponential(size=300)
    picked = kept(scores.ccs(difficulty, strata=10, hard_cutoff=cutoff, seed=1), m)
    # The reference: Algorithm 1 of Zheng et al., smallest stratum first, an even share of the rest.
    order = np.argsort(difficulty)
    pool = order[: 300 - round(cutoff * 300)]
    low, high = difficulty[pool].min(), difficulty[pool].max()
    cell = np.minimum(((difficulty[pool] - low) / (high - low) * 10).astype(int), 9)
    sizes = {s: int((cell == s).sum()) for s in range(10) if (cell == s).any()}
    budget, counts = min(300 - m, len(pool)), {}
    for done, s in enumerate(sorted(sizes, key=lambda s: sizes[s])):
        counts[s] = min(sizes[s], budget // (len(sizes) - done))
        budget -= counts[s]
    found = {s: np.isin(pool[cell == s], picked).sum() for s in sizes}
    assert all(abs(found[s] - counts[s]) <= 1 for s in sizes)
    if cutoff and 300 - m <= len(pool):
        assert not np.isin(order[300 - round(cutoff * 300) :], picked).any()


def test_random_is_reproducible_and_uniform():
    assert (scores.random(50, 3) == scores.random(50, 3)).all()
    counts = np.zeros(20)
    for seed in range(400):
        counts[kept(scores.random(20, seed), 10)] += 1
    assert abs(counts - 200).max() < 50


def test_prune_scores_keeps_the_largest_under_quotas():
    rng = np.random.default_rng(5)
    score, groups = rng.random(100), np.repeat([0, 1, 2], [60, 30, 10])
    result = dprune.prune_scores(score, fraction=0.5, groups=groups, balance="proportional")
    assert np.bincount(groups[result.kept]).tolist() == [30, 15, 5]
    for g in range(3):
        inside = np.flatnonzero(groups == g)
        assert (
            score[np.intersect1d(inside, result.kept)].min()
            > score[np.intersect1d(inside, result.removed)].max()
        )
    plain = dprune.prune_scores(score, m=30)
    assert sorted(plain.kept) == sorted(np.argsort(-score)[:70])
    floors = dprune.prune_scores(score, m=70, groups=groups, min_keep=8)
    assert (np.bincount(groups[floors.kept]) >= 8).all()
    protect = np.arange(100) < 5
    held = dprune.prune_scores(-score, m=95, protect=protect)
    assert held.kept.tolist() == [0, 1, 2, 3, 4]
    assert held.status is dprune.Status.TRIVIAL


def test_equal_scores_are_not_kept_in_file_order():
    kept_first = [
        np.sum(dprune.prune_scores(np.zeros(100), m=50, seed=s).kept < 50) for s in range(20)
    ]
    assert 15 < np.mean(kept_first) < 35


def test_prune_scores_with_rows_gives_the_numbers_of_prune(tmp_path):
    rng = np.random.default_rng(6)
    S = rng.standard_normal((40, 6))
    result = dprune.prune_scores(scores.influence_norm(S), m=15, rows=S, reweight=1.0)
    change = S[result.removed].sum(axis=0) - 15 * S.mean(axis=0)
    assert result.norm == pytest.approx(np.linalg.norm(change) / (1 - 15 / 40))
    assert dprune.prune(S, m=15, reweight=1.0, seed=0).random_norm == pytest.approx(
        result.random_norm
    )
    bare = dprune.prune_scores(scores.influence_norm(S), m=15)
    bare.save(tmp_path / "r.npz")
    again = dprune.load(tmp_path / "r.npz")
    assert again.kept.tolist() == result.kept.tolist()
    assert np.isnan(again.norm)
    assert "by scores" in again.summary()


def test_trajectories_are_kept_in_files(tmp_path):
    run = Trajectory(
        np.random.default_rng(0).random((3, 8)) < 0.5,
        (2,),
        np.ones((1, 8), np.float32),
        np.full((1, 8), 2, np.float32),
        7,
    )
    run.save(tmp_path / "run.npz")
    again = Trajectory.load(tmp_path / "run.npz")
    assert (again.correct == run.correct).all()
    assert again.snapshots == (2,)
    assert again.seed == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.forgetting(np.ones((3, 4))), "runs must be trajectories or a bool array"),
        (lambda: scores.el2n(np.ones((4, 2)), np.zeros(4, int)), "must sum to one"),
        (lambda: scores.el2n(np.full((4, 2), 0.5)), "labels must be given"),
        (lambda: scores.grand(np.full((4, 2), 0.5), np.zeros(4, int)), "features must be given"),
        (lambda: scores.ccs([1.0, 2.0], strata=0), "strata must be at least 1"),
        (lambda: scores.ccs([1.0, 2.0], hard_cutoff=1.0), r"hard_cutoff must lie in \[0, 1\)"),
        (lambda: dprune.prune_scores([1.0, np.nan], m=1), "scores must not be NaN, found one at 1"),
        (lambda: dprune.prune_scores([1.0, 2.0]), "exactly one of eps, m, fraction"),
        (lambda: dprune.prune_scores([1.0, 2.0], m=1, rows=np.ones((3, 2))), "rows must have 2"),
        (
            lambda: Trajectory(np.ones((2, 3), bool), (1,), np.ones((1, 2)), np.ones((1, 3))),
            r"error_norms must have shape \(1, 3\), found \(1, 2\)",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
