"""Predicted over measured change of the head when samples are left out, refit as the truth.

python benchmarks/influence_removal.py

The head of a network trained on digits. Groups: random, lowest influence norm, and chosen by
prune() (c = 1); the measured change is that of Definition 1. Then single samples: correlation of
predicted and measured change, with and without the leverage correction, the others' weight
staying 1 / n (Eq. 2).
"""

from __future__ import annotations

import numpy as np

import digits_network
import dprune

SHARES = (0.01, 0.1, 0.3, 0.5, 0.7)
SINGLES = 100
LEAST = 1e-5


def main() -> None:
    model, digits = digits_network.network()
    for lam in (1e-2, 5e-4):
        head, _ = digits_network.head(model, digits, lam)
        S = dprune.influence(head, "dense")
        print(f"\nlam = {lam:g}, n = {head.n}, N = {S.shape[1]}\n")
        print("| chosen by | removed | measured | first order / | reweighted / | Newton / |")
        print("|---|---|---|---|---|---|")
        for name in ("random", "lowest norm", "prune"):
            for share in SHARES:
                row(head, S, name, share)
        singles(head, S)


def row(head: dprune.LastLayer, S: dprune.InfluenceRows, name: str, share: float) -> None:
    m = round(share * head.n)
    if name == "random":
        removed = np.random.default_rng(0).choice(head.n, m, replace=False)
    elif name == "lowest norm":
        removed = np.argsort(np.linalg.norm(S.rows, axis=1), kind="stable")[:m]
    else:
        removed = dprune.prune(S, m=m, reweight=1, sweeps=2000, threads=1).removed
    check = dprune.refit_check(head, np.setdiff1d(np.arange(head.n), removed), draws=0)
    first = head.change(removed, reweight=0).norm
    print(
        f"| {name} | {share:.0%} | {check.change:.4g} | {first / check.change:.3f} | "
        f"{check.predicted / check.change:.3f} | {check.newton / check.change:.3f} |",
        flush=True,
    )


def singles(head: dprune.LastLayer, S: dprune.InfluenceRows) -> None:
    """The samples of largest influence, where a correction could matter, and as many at random."""
    norms = np.linalg.norm(S.rows, axis=1)
    corrected = np.linalg.norm(dprune.influence(head, "dense", leverage=True).rows, axis=1)
    largest = np.argsort(-norms)[: SINGLES // 2]
    others = np.random.default_rng(0).choice(head.n, SINGLES // 2, replace=False)
    picked = np.unique(np.concatenate([largest, others]))
    kept_share = (head.n - 1) / head.n
    measured = []
    for i in picked:
        kept = np.delete(np.arange(head.n), i)
        refit = dprune.LastLayer.fit(
            head.features[kept],
            head.labels[kept],
            # Weights 1 / n on n - 1 samples are a mean with this weight decay.
            head.weight_decay / kept_share,
            classes=head.classes,
            start=head.theta,
        )
        measured.append(np.linalg.norm(refit.theta - head.theta))
    # Below this, what is measured is the refit's own tolerance.
    sure = np.array(measured) > LEAST
    print(
        f"\n{len(picked)} single samples: correlation with the measured change, and worst ratio of "
        f"the {sure.sum()} that change the head by more than {LEAST:g}"
    )
    for name, values in (("first order", norms[picked]), ("with leverage", corrected[picked])):
        ratios = values[sure] / np.array(measured)[sure]
        worst = ratios[np.argmax(np.abs(np.log(ratios)))]
        print(f"  {name}: {np.corrcoef(values, measured)[0, 1]:.4f}, {worst:.3f}")


if __name__ == "__main__":
    main()
