import json

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.interpolation import FEWEST_ROWS, TestMass, close_in_mass, near, nodes_and_tests
from darksieve.evaluation.plots.interpolation import draw_closure
from darksieve.evaluation.plots.style import Stamp


def test_masses_to_train_at_are_multiples_and_tests_lie_there_between_and_beyond():
    nodes, tests = nodes_and_tests(0.17, 9.8, 1.0)
    assert nodes == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    of_kind = {kind: [t.mass for t in tests if t.kind == kind] for kind in ("trained", "between", "beyond")}
    assert of_kind["trained"] == nodes
    assert of_kind["between"] == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
    assert of_kind["beyond"] == [0.17, 9.8]
    assert [t.mass for t in tests] == sorted(t.mass for t in tests)


def test_a_range_with_one_multiple_has_nothing_between():
    with pytest.raises(InputError, match=r"interpolation.spacing is 3 GeV: 1 of its multiples lie between"):
        nodes_and_tests(0.2, 4.5, 3.0)


def test_only_rows_within_the_reach_are_near():
    mass = np.array([0.9, 0.95, 1.0, 1.05, 1.1, 2.0])
    np.testing.assert_array_equal(near(mass, [1.0, 3.0], 0.08), [False, True, True, True, False, False])


def sample(n=40_000, seed=1):
    """Two classes whose ratio of densities at each mass is known, its logarithm the score x: AUC 0.76."""
    rng = np.random.default_rng(seed)
    is_signal = np.arange(2 * n) >= n
    mass = np.where(is_signal, rng.uniform(1, 3, 2 * n), 1 + 2 * rng.random(2 * n) ** 2)
    return rng.normal(size=2 * n) + is_signal, mass, is_signal


TESTS = (TestMass(1.5, "trained"), TestMass(2.0, "between"))


def test_a_score_that_is_the_reference_loses_nothing():
    x, mass, is_signal = sample()
    for point in close_in_mass(x, 3 * x, mass, is_signal, np.ones(len(x)), TESTS, reach=0.2):
        assert point.comparison is not None
        assert point.comparison.auc_loss == 0
        assert point.comparison.limit_ratio == 1


def test_a_factor_of_the_mass_on_the_reference_is_no_gain():
    x, mass, is_signal = sample()
    ratio = x - 0.5 + 2.0 * (mass - 2) ** 2  # up to a factor that depends on the mass
    for point in close_in_mass(x, ratio, mass, is_signal, np.ones(len(x)), TESTS, reach=0.2, up_to_mass=True):
        assert point.comparison is not None
        assert abs(point.comparison.auc_loss) < 5 * point.comparison.auc_loss_error + 1e-4


def test_a_score_that_fails_between_is_seen_to():
    x, mass, is_signal = sample()
    noise = np.random.default_rng(2).normal(size=len(x)) * (np.abs(mass - 2) < 0.25)
    trained, between = close_in_mass(x + noise, x, mass, is_signal, np.ones(len(x)), TESTS, reach=0.2)
    assert trained.comparison.auc_loss == 0
    # ΔAUC of a unit normal's noise: Φ(1/√2) − Φ(1/2) = 0.069
    assert between.comparison.auc_loss == pytest.approx(0.069, abs=5 * between.comparison.auc_loss_error)
    assert between.comparison.limit_ratio < 0.95


def test_masses_with_few_rows_say_so():
    x, mass, is_signal = sample(n=2000)
    (point,) = close_in_mass(x, x, mass, is_signal, np.ones(len(x)), TESTS[:1], reach=0.05)
    assert point.comparison is None
    assert 0 < point.n_signal < FEWEST_ROWS
    assert json.loads(json.dumps(point.to_json()))["comparison"] is None


def test_the_picture_holds_every_mass_with_its_errors():
    masses, kinds = [1.0, 1.5, 2.0, 2.6], ["trained", "between", "trained", "beyond"]
    drawing = draw_closure(
        masses, kinds, ([1e-4, 4e-4, 2e-4, 3e-3], [1e-4] * 4), ([0.0, 0.001, 0.0, 0.02], [0.001] * 4),
        reference="exact likelihood ratio", stamp=Stamp("a search"),
    )  # fmt: skip
    assert drawing.table["kind"] == kinds
    np.testing.assert_allclose(drawing.table["auc_loss"], [1e-4, 4e-4, 2e-4, 3e-3])
    assert "3 thousandths, at 2.6 GeV" in drawing.alt
    with pytest.raises(ValueError, match="no mass"):
        draw_closure([], [], ([], []), ([], []), reference="network", stamp=Stamp("a search"))
