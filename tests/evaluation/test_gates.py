"""Gates are chosen together with what follows them, and never by the events that they are applied to."""

from types import SimpleNamespace

import numpy as np
import pytest

from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.gates import CutVariable, Gates, choose_gates
from darksieve.evaluation.objectives import make_objective

MASSES = np.linspace(1.2, 2.8, 9)


def candidates(n=40_000, seed=0):
    """Two backgrounds, each told from signal by a score of its own."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)  # 0, 1: backgrounds, 2: signal
    gen = rng.uniform(1, 3, n)
    scores = {
        "first": rng.normal(np.where(kind == 0, 0, 2), 1),
        "second": rng.normal(np.where(kind == 1, 0, 2), 1),
    }
    signal = kind == 2
    rows = SimpleNamespace(
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        label=signal.astype(float),
        weight=np.where(signal, 1 / 15_000, 1.0),
        mass=np.where(signal, gen, np.nan),
        observable=np.where(signal, gen + rng.normal(0, 0.02, n), rng.uniform(0.9, 3.1, n)),
        score=scores["second"],
    )
    return rows, scores


@pytest.fixture(scope="module")
def chosen():
    rows, scores = candidates()
    limit = make_objective("expected_limit_counting")
    chooser = Chooser.of(rows, MASSES, 0.02 * np.ones(9), limit=limit, n_bootstrap=0)
    return rows, scores, limit, choose_gates(chooser, scores, limit, 1, freedoms=(1, 2))


def limit_of(rows, scores, objective, passed):
    """Counting limit over all masses in one window each, with a cut at 1 on the second score."""
    kept = passed & (scores["second"] > 1)
    near = np.abs(rows.observable - 2) < 0.4
    s = rows.weight[kept & (rows.label == 1)].sum()
    b = rows.weight[kept & near & (rows.label == 0)].sum() / 20
    return float(objective(np.array([s]), np.array([b])))


def test_a_gate_against_another_background_pays(chosen):
    rows, scores, limit, gates = chosen
    passed = gates.passed(rows.observable, scores, rows.key)
    background = rows.label == 0
    assert passed[background].mean() < 0.5 < passed[~background].mean()
    assert limit_of(rows, scores, limit, passed) < 0.9 * limit_of(
        rows, scores, limit, np.ones(len(passed), bool)
    )


def test_each_fold_is_cut_by_what_the_others_chose(chosen):
    rows, scores, _, gates = chosen
    fold = choice_fold_of(rows.key, gates.n_folds)
    passed = gates.passed(rows.observable, scores, rows.key)
    for k in range(gates.n_folds):
        mine = (fold == k) & (rows.observable > 1.3) & (rows.observable < 2.7)
        edge = np.interp(rows.observable[mine], gates.mass_grid, gates.edges["first"][k])
        assert np.mean(passed[mine] == (scores["first"][mine] >= edge)) > 0.999  # curves are cubic in between


def test_gates_survive_json_and_open_ones_pass_everything(chosen):
    rows, scores, _, gates = chosen
    back = Gates.from_json(gates.to_json())
    np.testing.assert_array_equal(
        back.passed(rows.observable, scores, rows.key), gates.passed(rows.observable, scores, rows.key)
    )
    nothing = Gates(gates.mass_grid, {"first": np.full_like(gates.edges["first"], -np.inf)})
    assert nothing.to_json()["edges"] == {"first": None}
    assert Gates.from_json(nothing.to_json()).passed(rows.observable, {}, rows.key).all()


def test_missing_scores_pass_no_gate_and_absent_ones_are_named(chosen):
    rows, scores, _, gates = chosen
    holes = {"first": np.full(len(rows.key), np.nan)}
    assert not gates.passed(rows.observable, holes, rows.key).any()
    with pytest.raises(InputError, match="a cut on first comes before"):
        gates.passed(rows.observable, {"second": scores["second"]}, rows.key)


def preselection(rows, scores, **changes):
    """The first score as a variable of a preselection, and one that tells nothing."""
    noise = np.random.default_rng(5).normal(size=len(rows.key))
    return {"like": CutVariable(scores["first"], **changes), "noise": CutVariable(noise)}


def choose_with(rows, scores, variables):
    limit = make_objective("expected_limit_counting")
    chooser = Chooser.of(rows, MASSES, 0.02 * np.ones(9), limit=limit, n_bootstrap=0)
    last = {"second": scores["second"]}
    return choose_gates(chooser, last, limit, 1, variables=variables, freedoms=(1, 2))


def test_a_variable_is_cut_as_a_score_would_be_and_one_that_tells_nothing_is_not(chosen):
    rows, scores, _, gates = chosen
    found = choose_with(rows, scores, preselection(rows, scores))
    np.testing.assert_allclose(found.edges["like"], gates.edges["first"], atol=0.05)
    assert found.to_json()["edges"]["noise"] is None
    assert found.variables == {"like": "above", "noise": "above"}


def test_what_is_below_an_edge_is_kept_where_the_signal_lies_low(chosen):
    rows, scores, _, gates = chosen
    turned = {"like": CutVariable(-scores["first"], keep="below")}
    found = Gates.from_json(choose_with(rows, scores, turned).to_json())
    np.testing.assert_allclose(found.edges["like"], -gates.edges["first"])
    np.testing.assert_array_equal(
        found.passed(rows.observable, {"like": -scores["first"]}, rows.key),
        gates.passed(rows.observable, scores, rows.key),
    )


@pytest.mark.parametrize(("ends", "at"), [({"high": -0.5}, -0.5), ({"low": 2.5}, 2.5)])
def test_edges_stay_between_their_ends(chosen, ends, at):
    rows, scores, _, gates = chosen
    free = np.median(gates.edges["first"])
    assert -0.5 < free < 2.5
    found = choose_with(rows, scores, preselection(rows, scores, **ends))
    np.testing.assert_allclose(found.edges["like"], at)


def test_a_loosest_edge_cuts_even_where_nothing_is_gained():
    rows, scores = candidates(12_000, seed=1)
    noise = np.random.default_rng(6).normal(size=len(rows.key))
    found = choose_with(rows, scores, {"noise": CutVariable(noise, keep="below", high=2.0)})
    np.testing.assert_allclose(found.edges["noise"], 2.0)
    passed = found.passed(rows.observable, {"noise": noise}, rows.key)
    np.testing.assert_array_equal(passed, noise <= 2.0)
