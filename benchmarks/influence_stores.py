"""What sketches and factored rows cost: exact norms of the solver's answers on R1 and R2.

python benchmarks/influence_stores.py R2 [--seeds 3]
python benchmarks/influence_stores.py R1 [--seeds 1]

Half removed, c = 1, the default solver with the same budget and seed; the exact norm (one solve)
of the answer over that of random subsets, beside the energy that a sketch leaves out and the
predicted norm; then the test accuracy of networks trained from scratch on what is kept.
"""

from __future__ import annotations

import argparse

import numpy as np

import digits_network
import dprune
import instances
from dprune import data, models, train
from dprune.glyphs import glyphs

RANKS = (32, 64, 128, 256, 512, 1024, 2048)
SWEEPS = {"R2": 4000, "R1": 1000}
LAM = 5e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instance", choices=SWEEPS)
    parser.add_argument("--seeds", type=int, default=1, help="trainings a row; 0: none")
    arguments = parser.parse_args()
    name, seeds = arguments.instance, range(arguments.seeds)
    head, images, recipe = (digits if name == "R2" else characters)()
    dense = dprune.influence(head, "dense")
    m, sweeps = head.n // 2, SWEEPS[name]

    def solve(rows: dprune.InfluenceRows) -> dprune.PruneResult:
        return dprune.prune(rows, m=m, reweight=1, sweeps=sweeps, threads=1)

    answer = solve(dense)
    random_norm = answer.random_norm
    print(
        f"{name}: n = {head.n}, N = {dense.shape[1]}, lam = {LAM}, m = {m}, {sweeps} sweeps, "
        f"accuracy over {len(seeds)} trainings of {recipe.epochs} epochs\n"
    )
    print("| rows | left out | predicted / random | exact / random | accuracy |")
    print("|---|---|---|---|---|")

    def line(rows: str, left_out: str, predicted: str, kept: np.ndarray) -> None:
        removed = np.setdiff1d(np.arange(head.n), kept)
        exact = head.change(removed).norm / random_norm
        scores = [retrained(images, kept, recipe, seed) for seed in seeds]
        accuracy = f"{np.mean(scores):.4f}" if scores else "-"
        print(f"| {rows} | {left_out} | {predicted} | {exact:.3f} | {accuracy} |", flush=True)

    def of(result: dprune.PruneResult) -> tuple[str, np.ndarray]:
        return f"{result.norm / random_norm:.3f}", result.kept

    line("whole set", "-", "-", np.arange(head.n))
    line("random", "-", "-", np.random.default_rng(1).permutation(head.n)[m:])
    line("dense", "0", *of(answer))
    # Another metric: only the exact norm compares.
    line("kfac", "-", *of(solve(dprune.influence(head, "kfac"))))
    for rank in RANKS:
        if rank >= dense.shape[1]:
            break
        sketch = dprune.influence(head, "dense", rank=rank)
        line(f"sketch {rank}", f"{sketch.left_out:.4f}", *of(solve(sketch)))


def digits() -> tuple[dprune.LastLayer, data.ImageData, train.Recipe]:
    model, images = digits_network.network()
    head, _ = digits_network.head(model, images, LAM)
    return head, images, train.Recipe(least_steps=1000)


def characters() -> tuple[dprune.LastLayer, data.ImageData, train.Recipe]:
    instances.glyph_head(weight_decay=LAM)
    with np.load(instances.BUILD / "glyph-features-0.npz") as kept:
        head = dprune.LastLayer.fit(kept["features"], kept["labels"], LAM)
    images = glyphs()
    return head, images.take(min(10_000, len(images.labels)), 0), train.Recipe(epochs=15)


def retrained(images: data.ImageData, kept: np.ndarray, recipe: train.Recipe, seed: int) -> float:
    """Test accuracy of a network trained on some of the samples."""
    model = models.seeded(seed + 1, models.network, "small", images.classes, 1, images.pixels)
    train.fit(model, images.images[kept], images.labels[kept], recipe, seed + 1)
    return train.accuracy(model, images.test_images, images.test_labels)


if __name__ == "__main__":
    main()
