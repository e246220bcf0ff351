"""The walk over a block, proposal by proposal, and the resampling of chains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprune import _cuda

_MASK64 = (1 << 64) - 1


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return z ^ (z >> 31)


class Case:
    """Chains in front of one block, in the state that a walk is given."""

    def __init__(self, chains, size, groups, proportional, seed):
        rng = np.random.default_rng(seed)
        self.kappa = 0.3
        self.labels = rng.integers(0, groups, size)
        self.strata = groups if proportional else 1
        self.proportional = proportional
        S = rng.standard_normal((size, 6)).astype(np.float32)
        self.K = S @ S.T
        stratum = self.labels if proportional else np.zeros(size, np.int64)
        self.joined = np.float32(self.kappa) * (stratum[:, None] == stratum)
        self.stratum = stratum
        self.dots = (3 * rng.standard_normal((chains, size))).astype(np.float32)
        stride = -(-size // 8) * 8
        self.mask = np.zeros((chains, stride), np.uint8)
        self.mask[:, :size] = rng.random((chains, size)) < 0.4
        removed = [np.bincount(self.labels[m[:size] == 1], minlength=groups) for m in self.mask]
        self.counts = np.array(removed, dtype=np.int64)
        self.caps = self.counts.max(axis=0) + 1
        by_stratum = [np.bincount(stratum[m[:size] == 1], minlength=self.strata) for m in self.mask]
        self.excess = np.array(by_stratum) - rng.integers(0, size // self.strata + 1, self.strata)
        self.violation = (self.excess**2).sum(axis=1)
        self.mu = rng.standard_normal((chains, self.strata))
        self.energy = 50 + rng.random(chains)

    def walk(self, machine, temperature, passes, enough, draw):
        return _cuda.walk(
            machine,
            self.K,
            self.dots,
            self.mask,
            self.labels,
            self.caps,
            self.proportional,
            self.mu,
            self.excess,
            self.counts,
            self.violation,
            self.energy,
            temperature,
            self.kappa,
            passes,
            enough,
            draw,
        )

    def walk_one_by_one(self, temperature, passes, enough, draw):
        """The same in Python: one proposal after the other, each on its own."""
        heat = float(np.float32(temperature))  # the multipliers are in units of it
        chains, size = self.dots.shape
        flips = np.zeros((chains, size), np.float32)
        for chain in range(chains):
            mask, excess, counts = self.mask[chain], self.excess[chain], self.counts[chain]

            def pull(i, chain=chain, excess=excess):
                s = self.stratum[i]
                return heat * self.mu[chain, s] + 2 * self.kappa * float(excess[s])

            dots = self.dots[chain].astype(np.float64)
            field = np.array([2 * dots[i] + pull(i) for i in range(size)]).astype(np.float32)
            accepted = 0
            for number in range(passes):
                if accepted >= enough:
                    break
                key = mix64((draw + chain * passes + number) & _MASK64) & 0xFFFFFFFF
                e = _cuda.exponentials(key, size)
                for i in range(size):
                    s = np.float32(-1 if mask[i] else 1)
                    cost = self.K[i, i] + np.float32(self.kappa)
                    if s * field[i] + cost >= np.float32(temperature) * e[i]:
                        continue
                    g = self.labels[i]
                    if not self.proportional and s > 0 and counts[g] >= self.caps[g]:
                        continue
                    self.energy[chain] += (
                        float(cost) - self.kappa + float(s) * (float(field[i]) - pull(i))
                    )
                    field += np.float32(2) * s * (self.K[i] + self.joined[i])
                    step = int(s)
                    excess[self.stratum[i]] += step
                    counts[g] += step
                    mask[i] ^= 1
                    flips[chain, i] += step
                    accepted += 1
            self.violation[chain] = (excess**2).sum()
            self.mu[chain] += self.kappa / heat * excess
        return flips


@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 20.0])
def test_walk_equals_one_proposal_at_a_time(machine, proportional, temperature):
    for seed in range(4):
        found = Case(3, 21, 4, proportional, seed)
        expected = Case(3, 21, 4, proportional, seed)
        before = found.mask.copy()
        flips = found.walk(machine, temperature, 5, 30, 17 + seed)
        np.testing.assert_array_equal(
            flips, expected.walk_one_by_one(temperature, 5, 30, 17 + seed)
        )
        for name in ("mask", "excess", "counts", "violation"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
        np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12)
        np.testing.assert_allclose(found.mu, expected.mu, rtol=1e-12)
        difference = found.mask.astype(int) - before.astype(int)
        np.testing.assert_array_equal(flips, difference[:, :21])
        assert temperature > 1 or not proportional or (flips != 0).any()


def test_walk_keeps_the_energy():
    """Energy by increments is that of the subset."""
    rng = np.random.default_rng(0)
    S = rng.standard_normal((40, 5)).astype(np.float32)
    case = Case(6, 40, 1, False, 0)
    case.kappa = 0.0
    case.K = S @ S.T
    case.mu[:] = 0
    removed = case.mask[:, :40].astype(np.float64)
    case.dots = (removed @ S @ S.T).astype(np.float32)
    case.energy = ((removed @ S) ** 2).sum(axis=1)
    case.caps[:] = 40
    flips = case.walk(_cuda.HostMachine(), 0.5, 16, 100, 3)
    assert (flips != 0).any()
    after = case.mask[:, :40].astype(np.float64) @ S
    np.testing.assert_allclose(case.energy, (after**2).sum(axis=1), rtol=1e-5, atol=1e-4)


def test_exponentials_are_exponential():
    e = np.concatenate([_cuda.exponentials(key, 4096) for key in range(64)]).astype(np.float64)
    assert e.mean() == pytest.approx(1, abs=0.01)
    assert e.var() == pytest.approx(1, abs=0.03)
    for t in (0.1, 1.0, 3.0, 5.0):
        assert (e > t).mean() == pytest.approx(np.exp(-t), rel=0.1)
    # Each number is -log of the hash's upper 24 bits, its logarithm a polynomial.
    x = (np.arange(1000, dtype=np.uint64) * 0x9E3779B9 + 7) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = ((x ^ (x >> np.uint64(shift))) * factor) & 0xFFFFFFFF
    uniform = ((x >> np.uint64(8)).astype(np.float64) + 0.5) / 2**24
    np.testing.assert_allclose(_cuda.exponentials(7, 1000), -np.log(uniform), atol=0.013)


@settings(deadline=None)
@given(
    energies=st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
    beta_step=st.floats(0, 10),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_resample(energies, beta_step, uniform):
    energies = np.array(energies)
    count = len(energies)
    parents = np.array(_cuda.resample(energies, beta_step, uniform))
    offspring = np.bincount(parents, minlength=count)
    alive = offspring > 0
    # Survivors keep their place, which is what copies in place rely on.
    np.testing.assert_array_equal(parents[alive], np.flatnonzero(alive))
    weights = np.exp(-beta_step * (energies - energies.min()))
    if weights.sum() ** 2 >= 0.5001 * count * (weights**2).sum():
        expected = count * weights / weights.sum()
        assert (np.abs(offspring - expected) < 1 + 1e-6).all()
    # The lowest is never lost, and half of the population stays.
    assert alive[energies == energies.min()].any()
    assert alive.sum() >= count // 4
