"""Which method influence() takes by itself, and why."""

from __future__ import annotations

import os

from dprune.head import LastLayer

# Share of the free memory that a method may fill.
_MEMORY_SHARE = 0.7
# Operations that "auto" will spend on exact rows: about half an hour of two laptop cores; of half
# the float64 rate in an H200's data sheet.
_MOST_OPERATIONS, _MOST_DEVICE_OPERATIONS = 2e14, 5e16
# What "auto" expects of conjugate gradients.
EXPECTED_ITERATIONS = 15


def choose_method(
    head: LastLayer,
    device: str | None,
    *,
    placed: bool,
    leverage: bool,
    rank: int | None,
    bytes_each: int,
) -> tuple[str, str]:
    """Method and reason: exact factors, the cheaper exact method that fits, or approximate ones."""
    if head.criterion == "squared":
        return "kfac", "squared loss: the Hessian is a Kronecker product, factored rows are exact"
    n, width = head.n, head.hessian.width
    features = head.design.shape[1]
    solves = n if rank is None else rank
    free, most_operations = free_memory(), _MOST_OPERATIONS
    if device == "cuda":
        free, most_operations = free_device_memory(), _MOST_DEVICE_OPERATIONS
    memory = _MEMORY_SHARE * free
    rows = 0 if placed else bytes_each * n * (width if rank is None else rank)
    pairs = head.classes * (head.classes - 1) // 2
    # Operations, and bytes beside the rows: a float64 factor and its float32 copy.
    costs = {
        "dense": (n * features**2 * pairs + width**3 / 3 + 2 * solves * width**2, 16 * width**2),
        "pcg": (EXPECTED_ITERATIONS * 4 * n * solves * head.classes * features, 0),
    }
    if leverage:
        del costs["pcg"]
    fitting = {
        name: operations
        for name, (operations, working) in costs.items()
        if rows + working <= memory and operations <= most_operations
    }
    size = f"n = {n}, N = {width}" + ("" if rank is None else f", rank = {rank}")
    if fitting:
        # Whole rows: the more accurate method wherever it fits. A sketch is approximate anyway.
        method = min(fitting, key=lambda name: fitting[name]) if rank else next(iter(fitting))
        return method, (
            f"{size}: {fitting[method]:.1e} operations and {(rows + costs[method][1]) / 1e9:.2g} "
            f"of {memory / 1e9:.2g} GB"
        )
    if rank is not None:
        return "pcg", f"{size}: a dense Hessian does not fit into {memory / 1e9:.2g} GB"
    cheapest = min(operations for operations, _ in costs.values())
    return "kfac", (
        f"{size}: exact rows would need {rows / 1e9:.2g} GB and {cheapest:.1e} operations, more "
        f"than {memory / 1e9:.2g} GB or {most_operations:.0e}; rank= gives a sketch of exact rows"
    )


def free_memory() -> float:
    """Bytes that this machine can still hand out."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_device_memory() -> float:
    """Bytes that the current CUDA device can still hand out, to torch."""
    import torch

    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return float(torch.cuda.mem_get_info()[0] + unused)
