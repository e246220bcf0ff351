"""Large instances solved by prune(): quality, seconds, memory. One case a process.

python benchmarks/sizes.py F1 | F2 [time limit] [threads]
python benchmarks/sizes.py mapped [time limit] [threads] [--folder FOLDER]

F1 and F2 are factored rows (instances.py). "mapped" is an 8 GB float32 file (1,000,000 x 2,000,
s_j^2 = 1/j) written first, block by block, in a process of its own. Norms are relative to a random
subset's. Factored answers are certified by NumPy in float64, 2,000 samples at a time; mapped ones
by a pass over the file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from pathlib import Path

import numpy as np

import dprune
import instances

_MAPPED = (1_000_000, 2_000)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=["F1", "F2", "mapped"])
    parser.add_argument("limit", type=float, nargs="?", default=None)
    parser.add_argument("threads", type=int, nargs="?", default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/instances"))
    arguments = parser.parse_args()
    if arguments.case == "mapped":
        path = arguments.folder / "mapped.npy"
        if not path.exists():
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(path,))
            writer.start()
            writer.join()
        S, m = dprune.open_rows(path), round(0.4 * _MAPPED[0])
        print(f"mapped: {S.shape} {S.dtype}, {S.nbytes / 1e9:.1f} GB, m={m}")
    else:
        instance = instances.factored(arguments.case)
        print(instance.describe())
        S, m = instance.S, instance.m
    before = status("RssAnon")
    with Peak() as peak:
        r = dprune.prune(S, m=m, seed=0, threads=arguments.threads, time_limit=arguments.limit)
    seconds, most = r.seconds, status("VmHWM")
    norm = certified(S, r.removed)
    assert len(r.removed) == m
    assert abs(norm - r.norm) <= 1e-6 * norm + 1e-9 * r.random_norm, (norm, r.norm)
    print(
        f"  {r.norm / r.random_norm:.4f} of random in {seconds:.1f} s, "
        f"{r.settings['done_sweeps']} sweeps, {r.status}, {arguments.threads} threads; "
        f"anonymous memory {peak.anonymous:.2f} GB ({before:.2f} before), "
        f"peak resident {most:.2f} GB"
    )


def write(path: Path) -> None:
    """The mapped instance."""
    n, width = _MAPPED
    rng = np.random.default_rng(0)
    scale = np.arange(1, width + 1, dtype=np.float32) ** np.float32(-0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    S = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(n, width))
    for start in range(0, n, 10_000):
        S[start : start + 10_000] = scale * rng.standard_normal((10_000, width), dtype=np.float32)
    S.flush()
    part.rename(path)


def certified(S: np.ndarray | dprune.FactoredRows, removed: np.ndarray) -> float:
    """Length of the sum of the removed rows, by NumPy in float64."""
    total: np.ndarray | float = 0.0
    for start in range(0, len(removed), 2000):
        rows = removed[start : start + 2000]
        if isinstance(S, dprune.FactoredRows):
            total = total + S.b[rows].astype(np.float64).T @ S.a[rows].astype(np.float64)
        else:
            total = total + S[rows].sum(axis=0, dtype=np.float64)
    return float(np.linalg.norm(total))


def status(field: str) -> float:
    """A memory figure of this process, in GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e9
    raise ValueError(field)


class Peak:
    """The most anonymous memory that was resident, looked at every 20 ms."""

    def __enter__(self) -> Peak:
        self.anonymous = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.anonymous = max(self.anonymous, status("RssAnon"))


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"  {time.perf_counter() - start:.0f} s with the set-up")
