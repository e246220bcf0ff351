"""prune(): the paper's two programs on any matrix of influence rows."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dprune import __version__, _core
from dprune.backend import check_device
from dprune.bound import Bound, dual_bound
from dprune.constraints import Constraints, at_least, constraints, goal
from dprune.curvature import Float64
from dprune.metric import EUCLIDEAN, metric
from dprune.result import TRACE, PruneResult, Status
from dprune.sources import MatrixSource, Source, source_of

_SOLVERS = ("block", "anneal")
# sweeps="auto": numbers of S read in all, numbers that a proposal costs besides, least and most
# sweeps. Proposals within a block are cheap, and small problems get many.
_AUTO = {"block": (1e9, 64, 200, 200_000), "anneal": (2e10, 0, 200, 20_000)}

# With fewer seconds, and so many for each number of a matrix besides, block annealing would hardly
# get beyond its set-up.
_HASTE = (0.01, 7e-9)

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
        (``settings["working_copy"]``) and certified on the original. The solver "block" keeps a
        copy of rows in memory in eight bits beside them. A path names a file that
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
        ``block`` anneals block by block at O(1) a proposal, goes on as a tabu search where all
        rows fit one block, and looks at all subsets that may be better among up to 20 rows, or
        36 where that is affordable; ``anneal`` is the plain reference, O(N) a flip. The latter
        also stands in for ``block`` where ``time_limit`` is below .01 s and 7 ns for each number
        of a matrix; the result's ``settings["solver"]`` says which it was.
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
    settings = Settings(
        reweight,
        groups,
        balance,
        min_keep,
        protect,
        solver,
        seed,
        sweeps,
        time_limit,
        threads,
        device,
        progress,
        callback,
    )
    return Search(S, settings).solve(eps, m, fraction)


@dataclass(frozen=True)
class Settings:
    """prune()'s arguments other than the rows and the goal."""

    reweight: float = 0.0
    groups: npt.ArrayLike | None = None
    balance: str | None = None
    min_keep: int = 0
    protect: npt.ArrayLike | None = None
    solver: str = "block"
    seed: int = 0
    sweeps: int | str = "auto"
    time_limit: float | None = None
    threads: int | None = None
    device: str | None = None
    progress: bool = False
    callback: Callable[[Progress], bool | None] | None = None

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.threads is not None:
            at_least(self.threads, 1, "threads")
        at_least(self.seed, 0, "seed")
        if self.solver not in _SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(_SOLVERS)}, found {self.solver!r}")
        if self.sweeps != "auto":
            at_least(self.sweeps, 1, "sweeps")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be positive, found {self.time_limit}")
        if not 0.0 <= float(self.reweight) <= 1.0:
            raise ValueError(f"reweight must lie in [0, 1], found {self.reweight}")


class Search:
    """One matrix under one set of rules, solved for one goal or for several.

    What the solver has learnt of the rows serves every goal, and each search of Eq. 4 starts from
    the last answer.
    """

    def __init__(self, S: Any, settings: Settings) -> None:
        self._started: float | None = time.perf_counter()
        self.settings = settings
        threads = settings.threads
        self.threads = _core.hardware_threads() if threads is None else int(threads)
        self.reweight = float(settings.reweight)
        self.source = source_of(S, self.threads, settings.device)
        self.rules = constraints(
            self.n, settings.groups, settings.balance, settings.min_keep, settings.protect
        )
        self.total = self.source.group_sums(np.zeros(self.n, dtype=np.int64), 1)[0]
        self._fingerprint: str | None = None
        self._mask: npt.NDArray[np.uint8] | None = None
        limit = math.inf if settings.time_limit is None else settings.time_limit
        mean = self.total / self.n
        in_memory = isinstance(self.source, MatrixSource) and self.source.device == "cpu"
        haste = in_memory and limit < _HASTE[0] + _HASTE[1] * self.n * self.source.width
        self.solver = "anneal" if haste else settings.solver
        self._metric = EUCLIDEAN
        if self.solver == "block":
            self._metric = metric(self.source, mean, limit)
        self._engine = self.source.solver(
            self.source.store,
            mean,
            self.source.squared_norms,
            self._metric.store,
            self._metric.mean,
            self.reweight,
            self.rules.labels,
            self.rules.floors,
            self.rules.proportional,
            self.rules.protect,
            self.solver,
            int(settings.seed),
            self.threads,
            limit,
        )

    @property
    def n(self) -> int:
        """Samples."""
        return self.source.n

    @property
    def planned_sweeps(self) -> int:
        """The budget."""
        if not isinstance(self.settings.sweeps, str):
            return int(self.settings.sweeps)
        numbers, extra, least, largest = _AUTO[self.solver]
        # A small problem has few subsets: no need to propose each many times.
        largest = min(largest, 1000 + 2 ** min(self.n, 20))
        return int(min(max(numbers / (self.n * (self.source.width + extra)), least), largest))

    def solve(
        self, eps: float | None = None, m: int | None = None, fraction: float | None = None
    ) -> PruneResult:
        """Eq. 3 or Eq. 4, certified."""
        settings, source, rules = self.settings, self.source, self.rules
        n, c, everything = self.n, self.reweight, self.total
        # The first search pays for the set-up.
        start = time.perf_counter() if self._started is None else self._started
        self._started = None
        eps, m = goal(eps, m, fraction, n, c)
        most = min(rules.most_removable, n - 1) if m is None else rules.most_removable
        if m is not None and m > most:
            raise ValueError(
                f"m must be at most {most} under min_keep={settings.min_keep} and "
                f"{int(rules.protect.sum())} protected samples, found {m}"
            )
        bound = Bound(most if m is None else m, "trivial")
        limit = settings.time_limit
        if eps is not None:
            caps = rules.sizes - rules.floors
            share = 10.0 if limit is None else 0.2 * limit
            bound = dual_bound(source, everything, eps, c, rules.labels, caps, rules.protect, share)
        left = max(1e-3, math.inf if limit is None else limit - time.perf_counter() + start)
        with ExitStack() as stack:
            watchers = [] if settings.callback is None else [settings.callback]
            if settings.progress:
                watchers.append(stack.enter_context(_ProgressBar(self.planned_sweeps)))
            fingerprint = None
            if self._fingerprint is None:
                # Reading S once more for its fingerprint costs nothing beside the search.
                pool = stack.enter_context(ThreadPoolExecutor(1))
                fingerprint = pool.submit(source.fingerprint)
            trivial = m == 0 or most == 0 or (m is not None and m == most)

            def search(limit: float | None) -> dict[str, Any]:
                solution: dict[str, Any] = self._engine.solve(
                    m,
                    bound.removed,
                    math.inf if limit is None else limit,
                    self.planned_sweeps,
                    left,
                    self._mask,
                    _hook(watchers) if watchers else None,
                )
                return solution

            found = search(eps)
            norm, raw_norm = certificate(source, found["mask"], everything / n, c)
            # A working copy can differ from the original by its rounding: ask for that much less.
            tighter = eps
            while eps is not None and tighter is not None and norm > eps:
                tighter *= eps / norm * (1.0 - 1e-7)
                found = search(tighter)
                norm, raw_norm = certificate(source, found["mask"], everything / n, c)
        if fingerprint is not None:
            self._fingerprint = fingerprint.result()
        self._mask = found["mask"]

        status = Status(found["status"])
        if trivial:
            status = Status.TRIVIAL
        elif eps is not None and c < 1.0 and float(np.linalg.norm(everything)) <= eps:
            status = Status.DEGENERATE
            warnings.warn(
                f"removing all samples changes the head by {np.linalg.norm(everything):.3g} <= "
                "eps: the paper's formula (reweight < 1) does not bound the cost here; use "
                "reweight=1 or a smaller eps",
                stacklevel=3,
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
                "groups": None if settings.groups is None else len(rules.floors),
                "balance": settings.balance,
                "min_keep": int(settings.min_keep),
                "protected": int(rules.protect.sum()),
                "solver": self.solver,
                "metric": self._metric.kind,
                "seed": int(settings.seed),
                "sweeps": settings.sweeps,
                "planned_sweeps": self.planned_sweeps,
                "done_sweeps": found["sweeps"],
                "time_limit": settings.time_limit,
                "threads": self.threads,
                "device": source.device,
                "shape": [n, source.width],
                "dtype": source.dtype,
                "working_copy": source.working_copy,
                "upper_bound_kind": bound.kind,
            },
            fingerprint=str(self._fingerprint),
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
        if strata == 1 and drawn.all():  # known, one pass over the rows less
            sums = n * mean[None]
        else:
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
