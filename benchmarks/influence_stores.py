"""What sketches and factored rows cost: exact norms of the solver's answers on R2.

python benchmarks/influence_stores.py

Half removed, c = 1, same solver, budget and seed; the exact norm (one solve) of the answer over
that of random subsets, beside the energy that a sketch leaves out and the predicted norm.
"""

from __future__ import annotations

import numpy as np

import digits_network
import dprune

RANKS = (16, 32, 64, 128, 256, 512)
SWEEPS = 4000


def main() -> None:
    model, digits = digits_network.network()
    head, _ = digits_network.head(model, digits, 5e-4)
    dense = dprune.influence(head, "dense")
    m = head.n // 2
    answer = dprune.prune(dense, m=m, reweight=1, sweeps=SWEEPS)
    random_norm = answer.random_norm
    print(f"n = {head.n}, N = {dense.shape[1]}, lam = 5e-4, m = {m}, {SWEEPS} sweeps, seed 0\n")
    print("| rows | left out | predicted / random | exact / random |\n|---|---|---|---|")

    def line(name: str, left_out: str, result: dprune.PruneResult) -> None:
        exact = head.change(result.removed).norm / random_norm
        predicted = result.norm / random_norm
        print(f"| {name} | {left_out} | {predicted:.3f} | {exact:.3f} |", flush=True)

    line("dense", "0", answer)
    factored = np.asarray(dprune.influence(head, "kfac"))
    line("kfac", "-", dprune.prune(factored, m=m, reweight=1, sweeps=SWEEPS))
    for rank in RANKS:
        sketch = dprune.influence(head, "dense", rank=rank)
        result = dprune.prune(sketch, m=m, reweight=1, sweeps=SWEEPS)
        line(f"sketch {rank}", f"{sketch.left_out:.4f}", result)


if __name__ == "__main__":
    main()
