"""What sketches and factored rows cost: exact norms of the solver's answers on R2 and R1.

python benchmarks/influence_stores.py R2
python benchmarks/influence_stores.py R1

Half removed, c = 1, same solver, budget and seed; the exact norm (one solve) of the answer over
that of random subsets, beside the energy that a sketch leaves out and the predicted norm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import digits_network
import dprune
import instances

RANKS = (32, 64, 128, 256, 512, 1024, 2048)
SWEEPS = {"R2": 4000, "R1": 1000}
LAM = 5e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instance", choices=SWEEPS)
    name = parser.parse_args().instance
    if name == "R2":
        head, _ = digits_network.head(*digits_network.network(), LAM)
    else:
        instances.glyph_head(weight_decay=LAM)
        with np.load(Path("build") / "instances" / "glyph-features-0.npz") as kept:
            head = dprune.LastLayer.fit(kept["features"], kept["labels"], LAM)
    dense = dprune.influence(head, "dense")
    m, sweeps = head.n // 2, SWEEPS[name]
    answer = dprune.prune(dense, m=m, reweight=1, solver="anneal", sweeps=sweeps)
    random_norm = answer.random_norm
    print(f"{name}: n = {head.n}, N = {dense.shape[1]}, lam = {LAM}, m = {m}, {sweeps} sweeps\n")
    print("| rows | left out | predicted / random | exact / random |\n|---|---|---|---|")

    def line(rows: str, left_out: str, result: dprune.PruneResult) -> None:
        exact = head.change(result.removed).norm / random_norm
        predicted = result.norm / random_norm
        print(f"| {rows} | {left_out} | {predicted:.3f} | {exact:.3f} |", flush=True)

    line("dense", "0", answer)
    factored = np.asarray(dprune.influence(head, "kfac"))
    result = dprune.prune(factored, m=m, reweight=1, solver="anneal", sweeps=sweeps)
    # Another metric: only the exact norm compares.
    line("kfac", "-", result)
    for rank in RANKS:
        if rank >= dense.shape[1]:
            break
        sketch = dprune.influence(head, "dense", rank=rank)
        result = dprune.prune(sketch, m=m, reweight=1, solver="anneal", sweeps=sweeps)
        line(f"sketch {rank}", f"{sketch.left_out:.4f}", result)


if __name__ == "__main__":
    main()
