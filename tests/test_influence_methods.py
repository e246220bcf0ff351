"""Every method against float64 rows without structure."""

import numpy as np
import pytest

import dprune
import influence_oracle as oracle

HEADS = {
    "digits": {"weight_decay": 1e-3, "count": 700},
    "breast_cancer": {"weight_decay": 1e-2},
    "wine": {"weight_decay": 1e-4},
}


@pytest.fixture(scope="module", params=HEADS)
def model(request):
    return oracle.head(request.param, **HEADS[request.param])


@pytest.fixture(scope="module")
def truth(model):
    return oracle.in_contrasts(model, oracle.rows(model))


def test_contrast_hessian(model):
    q = model.hessian.contrasts
    full = oracle.hessian(model).reshape(*model.theta.shape, *model.theta.shape)
    turned = np.einsum("ca,cidj,db->aibj", q, full, q, optimize=True)
    turned = turned.reshape(model.hessian.width, -1)
    np.testing.assert_allclose(model.hessian.dense(), turned, rtol=0, atol=1e-12)
    vectors = np.random.default_rng(0).standard_normal((model.hessian.width, 3))
    np.testing.assert_allclose(model.hessian.product(vectors), turned @ vectors, atol=1e-11)


def test_dense(model, truth):
    S = dprune.influence(model, "dense")
    assert oracle.relative_error(S, truth) < 1e-5
    assert S.residuals.max() < 1e-3
    assert S.error < 1e-5
    assert not S.approximate


def test_pcg(model, truth):
    S = dprune.influence(model, "pcg")
    assert S.residuals.shape == (model.n,)
    assert S.residuals.max() < 1.01e-5
    assert oracle.relative_error(S, truth) < 1e-2
    assert 0 < S.iterations < 100


def test_kfac_states_its_error(model, truth):
    S = dprune.influence(model, "kfac")
    b, a = S.factors
    assert S.approximate
    assert b.shape == (model.n, model.classes - 1)
    assert a.shape == (model.n, model.features.shape[1] + 1)
    np.testing.assert_allclose(
        np.asarray(S), np.einsum("nk,nj->nkj", b, a).reshape(model.n, -1), rtol=1e-6
    )
    assert 0 < S.error <= oracle.relative_error(S, truth) * 1.01


def test_rows_sum_to_the_weight_decay_offset(model):
    """sum_i S_i = -lam H^-1 theta at the minimum."""
    S = np.asarray(dprune.influence(model, "dense"), dtype=np.float64)
    offset = -model.weight_decay * np.linalg.solve(oracle.hessian(model), model.theta.ravel())
    offset = oracle.in_contrasts(model, offset[None])[0]
    assert np.linalg.norm(S.sum(axis=0) - offset) < 1e-6 * np.linalg.norm(offset)
