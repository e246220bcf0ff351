"""prune(): the paper's two programs on any matrix of influence rows."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dprune import __version__, _core
from dprune.backend import check_device
from dprune.bound import Bound, dual_bound
from dprune.constraints import Constraints, at_least, constraints, goal
from dprune.curvature import Float64
from dprune.result import TRACE, PruneResult, Status
from dprune.sources import Source, source_of

_SOLVERS = ("block", "anneal")
# sweeps="auto": numbers of S read in all, numbers that a proposal costs besides, least and most
# sweeps. Proposals within a block are cheap, and small problems get many.
_AUTO = {"block": (1e9, 64, 200, 200_000), "anneal": (2e10, 0, 200, 20_000)}

# Numbers of stratum means held at once when the random norm is computed.
_MEAN_NUMBERS = 1 << 25


class Progress(NamedTuple):
    """What a callback is told, some twenty times a second."""

    seconds: float
    sweep: int
    norm: float  # change_c of the best subset so far
    removed: int


def prune(
    S: Any,
    eps: float | None = None,
    *,
    m: int | None = None,
    fraction: float | None = None,
    reweight: float = 0.0,
    groups: npt.ArrayLike | None = None,
    balance: str | None = None,
    min_keep: int = 0,
    protect: npt.ArrayLike | None = None,
    solver: str = "block",
    seed: int = 0,
    sweeps: int | str = "auto",
    time_limit: float | None = None,
    threads: int | None = None,
    device: str | None = None,
    progress: bool = False,
    callback: Callable[[Progress], bool | None] | None = None,
) -> PruneResult:
    """Choose the samples to remove.

    With ``eps``, the paper's Eq. 3: as many as possible such that

        change_c(W) = || W^T (S - c Sbar) || / (1 - c m/n)  <=  eps .

    With ``m`` or ``fraction``, Eq. 4: exactly m with the smallest change. ``prune(S, eps)`` alone
    is the paper to the letter (c = 0).

    Parameters
    ----------
    S : (n, N) array, memory map, path, torch tensor, InfluenceRows, BFloat16Rows or FactoredRows
        One influence row a sample. float32, float16 and bfloat16 in C order are used in place;
        float64, Fortran-ordered and strided input is streamed into one float32 working copy
        (``settings["working_copy"]``) and certified on the original. A path names a file that
        :func:`dprune.open_rows` maps; it may be larger than memory.
    eps : float, optional
        Largest allowed change, >= 0.
    m : int, optional
        Number to remove, 0..n.
    fraction : float, optional
        ``m = round(fraction n)``.
    reweight : float, default 0
        c in [0, 1]: how far the kept samples' weight grows from 1/n (0, the paper's Eq. 2) to
        1/(n - m) (1, its Definition 1).
    groups : (n,) int, optional
        Group of each sample, its class for example; any integers.
    balance : {None, "proportional"}
        Proportional: each group keeps its share of the kept samples (largest remainder, ties to
        the lower label, raised to ``min_keep`` and the protected).
    min_keep : int, default 0
        At least so many are kept of each group, or all of a smaller one.
    protect : (n,) bool, optional
        True: never removed.
    solver : {"block", "anneal"}
        ``block`` anneals block by block at O(1) a proposal; ``anneal`` is the plain reference,
        O(N) a flip.
    seed : int, default 0
        Same seed, same answer, for runs that end by sweeps.
    sweeps : int or "auto"
        The budget: passes over the rows.
    time_limit : float, optional
        Seconds after which the search ends early; it then cools faster to end cold.
    threads : int, optional
        Default all. The answer does not depend on it, time limits aside.
    device : {None, "cpu", "cuda"}
        None: where S lives. On a GPU S is a float32 or bfloat16 tensor, used where it is; with
        "cuda" a host array is copied there. Only the solver "block" runs there, as a population
        of walks.
    progress : bool, default False
        Show a progress bar (needs rich, ``pip install 'dprune[report]'``).
    callback : callable, optional
        Called with a :class:`Progress` some twenty times a second; a true return value ends the
        search with the best so far.

    Returns
    -------
    PruneResult

    Raises
    ------
    TypeError, ValueError
        On bad input; the message names the argument, what was found and what was expected.
    RuntimeError
        If ``device="cuda"`` is asked for and there is none.
    MemoryError
        If a GPU's memory does not suffice; the message says for what, and how much.
    KeyboardInterrupt
        On Ctrl-C, within 0.2 s.

    References
    ----------
    Yang et al., "Dataset Pruning: Reducing Training Data by Examining Generalization Influence",
    ICLR 2023, Eq. 3 and 4.
    """
    start = time.perf_counter()
    check_device(device)
    threads = _core.hardware_threads() if threads is None else at_least(threads, 1, "threads")
    seed = at_least(seed, 0, "seed")
    if solver not in _SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(_SOLVERS)}, found {solver!r}")
    if sweeps != "auto":
        sweeps = at_least(sweeps, 1, "sweeps")
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit must be positive, found {time_limit}")
    c = float(reweight)
    if not 0.0 <= c <= 1.0:
        raise ValueError(f"reweight must lie in [0, 1], found {reweight}")

    source = source_of(S, threads, device)
    n = source.n
    eps, m = goal(eps, m, fraction, n, c)
    rules = constraints(n, groups, balance, min_keep, protect)
    most = min(rules.most_removable, n - 1) if m is None else rules.most_removable
    if m is not None and m > most:
        raise ValueError(
            f"m must be at most {most} under min_keep={min_keep} and {int(rules.protect.sum())} "
            f"protected samples, found {m}"
        )

    if sweeps == "auto":
        numbers, extra, least, largest = _AUTO[solver]
        # A small problem has few subsets: no need to propose each many times.
        largest = min(largest, 1000 + 2 ** min(n, 20))
        planned = int(min(max(numbers / (n * (source.width + extra)), least), largest))
    else:
        planned = int(sweeps)
    everything = source.group_sums(np.zeros(n, dtype=np.int64), 1)[0]
    bound = Bound(most if m is None else m, "trivial")
    if eps is not None:
        caps = rules.sizes - rules.floors
        share = 10.0 if time_limit is None else 0.2 * time_limit
        bound = dual_bound(source, everything, eps, c, rules.labels, caps, rules.protect, share)
    left = max(1e-3, math.inf if time_limit is None else time_limit - time.perf_counter() + start)
    with ExitStack() as stack:
        watchers = [] if callback is None else [callback]
        if progress:
            watchers.append(stack.enter_context(_ProgressBar(planned)))
        # Reading S once more for its fingerprint costs nothing beside the search.
        fingerprint = stack.enter_context(ThreadPoolExecutor(1)).submit(source.fingerprint)
        trivial = m == 0 or most == 0 or (m is not None and m == most)

        def search(limit: float | None) -> dict[str, Any]:
            return source.solve(
                source.store,
                everything / n,
                source.squared_norms,
                c,
                rules.labels,
                rules.floors,
                rules.proportional,
                rules.protect,
                m,
                bound.removed,
                math.inf if limit is None else limit,
                solver,
                seed,
                planned,
                left,
                threads,
                _hook(watchers) if watchers else None,
            )

        found = search(eps)
        norm, raw_norm = certificate(source, found["mask"], everything / n, c)
        # A working copy can differ from the original by its rounding: ask for that much less.
        tighter = eps
        while eps is not None and tighter is not None and norm > eps:
            tighter *= eps / norm * (1.0 - 1e-7)
            found = search(tighter)
            norm, raw_norm = certificate(source, found["mask"], everything / n, c)

    status = Status(found["status"])
    if trivial:
        status = Status.TRIVIAL
    elif eps is not None and c < 1.0 and float(np.linalg.norm(everything)) <= eps:
        status = Status.DEGENERATE
        warnings.warn(
            f"removing all samples changes the head by {np.linalg.norm(everything):.3g} <= eps: "
            "the paper's formula (reweight < 1) does not bound the cost here; use reweight=1 or "
            "a smaller eps",
            stacklevel=2,
        )
    removed = np.flatnonzero(found["mask"])
    exact = None
    if source.head is not None:
        exact = source.head.change(removed, reweight=c)
    return PruneResult(
        n=n,
        removed=removed,
        kept=np.flatnonzero(found["mask"] == 0),
        norm=norm,
        raw_norm=raw_norm,
        random_norm=random_norm(source, rules, everything / n, c, len(removed)),
        upper_bound=bound.removed,
        exact_norm=None if exact is None else exact.norm,
        exact_norm_residual=None if exact is None else exact.residual,
        status=status,
        trace=np.array(found["trace"], dtype=TRACE),
        seconds=time.perf_counter() - start,
        settings={
            "version": __version__,
            "eps": eps,
            "m": m,
            "reweight": c,
            "groups": None if groups is None else len(rules.floors),
            "balance": balance,
            "min_keep": int(min_keep),
            "protected": int(rules.protect.sum()),
            "solver": solver,
            "seed": seed,
            "sweeps": sweeps,
            "planned_sweeps": planned,
            "done_sweeps": found["sweeps"],
            "time_limit": time_limit,
            "threads": threads,
            "device": source.device,
            "shape": [n, source.width],
            "dtype": source.dtype,
            "working_copy": source.working_copy,
            "upper_bound_kind": bound.kind,
        },
        fingerprint=fingerprint.result(),
    )


def certificate(
    source: Source, mask: npt.NDArray[np.uint8], mean: Float64, reweight: float
) -> tuple[float, float]:
    """(change_c, ||W^T S||) of a subset, in float64 from the rows as given."""
    m = int(mask.sum())
    total = source.group_sums(mask.astype(np.int64) - 1, 1)[0]
    if m == 0:
        return 0.0, 0.0
    centred = float(np.linalg.norm(total - reweight * m * mean))
    return centred / (1.0 - reweight * m / source.n), float(np.linalg.norm(total))


def random_norm(
    source: Source, rules: Constraints, mean: Float64, reweight: float, m: int
) -> float:
    """Root mean square of change_c over random subsets of m samples.

    Drawn without replacement from the unprotected samples of each stratum. Under proportional
    quotas every group is a stratum; otherwise only the groups that ``min_keep`` holds at their
    floor are, and the rest are drawn together. Per stratum with f samples, k of them drawn,

        E||sum||^2 = ||k mu||^2 + k (f - k) / (f - 1) (E||S_i||^2 - ||mu||^2) .
    """
    if m == 0:
        return 0.0
    n = source.n
    counts = rules.removed_counts(m)
    stratum = np.arange(len(rules.floors))
    if not rules.proportional:
        # Groups from which a plain draw would take more than they may give, give just that.
        free = np.bincount(rules.labels[rules.protect == 0], minlength=len(stratum))
        bound = np.zeros(len(stratum), dtype=bool)
        while True:
            rest, size = m - counts[bound].sum(), free[~bound].sum()
            more = ~bound & (free * rest > counts * size)
            if not more.any():
                break
            bound |= more
        if not bound.all():
            pool = int(np.flatnonzero(~bound)[0])
            stratum = np.where(bound, stratum, pool)
            counts = np.where(bound, counts, 0)
            counts[pool] = m - counts.sum()
    labels = np.where(rules.protect == 0, stratum[rules.labels], -1)
    strata = len(stratum)
    drawn = labels >= 0
    f = np.bincount(labels[drawn], minlength=strata)
    squares = np.bincount(labels[drawn], weights=source.squared_norms[drawn], minlength=strata)
    offset = -reweight * m * mean
    variance = 0.0
    some = max(1, _MEAN_NUMBERS // source.width)
    for first in range(0, strata, some):
        part = np.arange(first, min(first + some, strata))
        local = np.where((labels >= first) & (labels <= part[-1]), labels - first, -1)
        part = part[f[part] > 0]
        sums = source.group_sums(local, min(some, strata - first))
        mu = sums[part - first] / f[part, None]
        spread = np.maximum(squares[part] / f[part] - np.einsum("ij,ij->i", mu, mu), 0.0)
        k = counts[part]
        variance += float(np.sum(k * (f[part] - k) / np.maximum(f[part] - 1, 1) * spread))
        offset += k @ mu
    square = float(offset @ offset) + variance
    return float(math.sqrt(square) / (1.0 - reweight * m / n))


def _hook(
    watchers: list[Callable[[Progress], bool | None]],
) -> Callable[[float, int, float, int], bool]:
    def hook(seconds: float, sweep: int, norm: float, removed: int) -> bool:
        point = Progress(seconds, sweep, norm, removed)
        answers = [watch(point) for watch in watchers]  # each is told, whatever another says
        return any(answers)

    return hook


class _ProgressBar:
    """A rich progress bar as a callback."""

    def __init__(self, sweeps: int) -> None:
        try:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        except ImportError:
            raise ImportError("progress=True needs rich: pip install 'dprune[report]'") from None
        self._bar = Progress(
            TextColumn("pruning"),
            BarColumn(),
            TextColumn("removed {task.fields[removed]}  norm {task.fields[norm]:.4g}"),
            TimeElapsedColumn(),
        )
        self._task = self._bar.add_task("", total=sweeps, removed=0, norm=math.nan)

    def __enter__(self) -> Callable[[Progress], None]:
        self._bar.start()
        return lambda p: self._bar.update(
            self._task, completed=p.sweep, removed=p.removed, norm=p.norm
        )

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
