import numpy as np
import pytest
import torch

from darksieve.models.fit_rows import Rows
from darksieve.training.losses import Boundaries, MassHypotheses, SensitivityLoss, Windows
from darksieve.training.soft_limit import log_expected_limits, log_punzi

LOW, HIGH = 0.2, 9.8  # GeV
OBJECTIVES = {"expected_limit": (-0.5, 0.5, 1.2), "punzi": (0.7,)}
each_objective = pytest.mark.parametrize("objective", OBJECTIVES)


def make_hypotheses(n_masses=1300, half_width=0.03):
    masses = np.linspace(LOW + 0.1, HIGH - 0.1, n_masses)
    return MassHypotheses(masses, np.full(n_masses, half_width), np.ones(n_masses))


def make_loss(objective, hypotheses=None, **more):
    thresholds = np.array(OBJECTIVES[objective])
    slope = np.array([[0.0], [0.3]])  # thresholds that rise with the mass
    boundaries = Boundaries.of(np.array([LOW, HIGH]), thresholds + slope)
    return SensitivityLoss(objective, hypotheses or make_hypotheses(), boundaries, 1e6, **more)


def make_columns(n, seed=1):
    """Logits, labels, own masses and yields of n rows."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.5).astype(np.float32)
    logits = rng.normal(labels, 1).astype(np.float32)
    masses = rng.uniform(LOW, HIGH, n).astype(np.float32)
    return logits, labels, masses, rng.uniform(0.5, 1.5, n).astype(np.float32)


def test_windows_sum_what_lies_in_them_however_many_overlap():
    # 3000 windows over each event: a count that is kept in one byte would wrap at 256
    hypotheses = make_hypotheses(3000, half_width=20.0)
    narrow = make_hypotheses(700, half_width=0.02)
    rng = np.random.default_rng(2)
    masses = rng.uniform(LOW - 1, HIGH + 1, 4000).astype(np.float32)
    weights = rng.random(4000)
    for of in (hypotheses, narrow):
        windows = Windows(of)
        by_cell = np.bincount(windows.cells(masses), weights, windows.n_cells)
        low = (of.masses - of.half_width).astype(np.float32)
        high = (of.masses + of.half_width).astype(np.float32)
        inside = (masses > low[:, None]) & (masses <= high[:, None])  # (n_masses, n)
        np.testing.assert_allclose(windows.sums(by_cell), inside @ weights, atol=1e-9)
        of_windows = rng.random(len(of.masses))
        by_event = windows.transposed(of_windows)[windows.cells(masses)]
        np.testing.assert_allclose(by_event, of_windows @ inside, atol=1e-9)


@each_objective
@pytest.mark.parametrize("background_error", [0.0, 0.02])
def test_the_loss_is_the_mean_over_windows_that_are_counted_one_by_one(objective, background_error):
    logits, labels, masses, yields = make_columns(20_000)
    hypotheses = make_hypotheses(40, half_width=0.15)
    loss = make_loss(objective, hypotheses, background_error=background_error)
    value, _, by_mass = loss.of_batch(logits, labels, masses, yields)
    place = (masses - LOW) / (HIGH - LOW)
    total = yields[labels == 0].sum(dtype=float)
    for i, mass in enumerate(hypotheses.masses):
        here = np.abs(masses - mass) < 0.15
        above = [1 / (1 + np.exp(-(logits - t - 0.3 * place) / 0.3)) for t in OBJECTIVES[objective]]
        above = np.array([np.ones(len(logits)), *above, np.zeros(len(logits))])
        counts = [(above[:, here & (labels == c)] * yields[here & (labels == c)]).sum(axis=1) for c in (0, 1)]
        background, signal = counts[0] * 1e6 / total, counts[1] / counts[1][0]
        if objective == "punzi":
            expected = log_punzi(signal[1], background[1], background_error=background_error)[0]
        else:
            of_categories = -np.diff(signal[1:])[None], -np.diff(background[1:])[None]
            expected = log_expected_limits(*of_categories, background_error=background_error)[0][0]
        assert by_mass[i] == pytest.approx(expected, abs=2e-5)
    assert value == pytest.approx(by_mass.mean())


@each_objective
@pytest.mark.parametrize("background_error", [0.0, 0.02])
def test_the_gradient_is_that_of_finite_differences(objective, background_error):
    logits, labels, masses, yields = make_columns(30_000)
    loss = make_loss(objective, background_error=background_error)
    _, gradient, _ = loss.of_batch(logits, labels, masses, yields)
    rng = np.random.default_rng(3)
    for direction in (labels, 1 - labels, rng.normal(size=len(logits)) * (masses > 5), np.cos(3 * masses)):
        up, down = (
            loss.of_batch(logits + s * 0.02 * direction.astype(np.float32), labels, masses, yields)[0]
            for s in (1, -1)
        )
        exact = float(gradient @ direction)
        assert exact == pytest.approx((up - down) / 0.04, rel=0.01, abs=2e-5)


def test_torch_gets_the_gradient():
    columns = make_columns(5000)
    logits, labels, masses, yields = (torch.from_numpy(c) for c in columns)
    rows = Rows(torch.empty(5000, 0), labels, torch.ones(5000), torch.stack([masses, yields], dim=1))
    loss = make_loss("expected_limit", make_hypotheses(50, 0.2))
    logits.requires_grad_()
    (3 * loss(logits, rows)).backward()
    np.testing.assert_allclose(logits.grad, 3 * loss.of_batch(*columns)[1], rtol=1e-5)


@each_objective
def test_the_order_of_the_rows_and_the_unit_of_the_yields_change_nothing(objective):
    columns = make_columns(10_000)
    loss = make_loss(objective)
    value, gradient, _ = loss.of_batch(*columns)
    order = np.random.default_rng(4).permutation(10_000)
    shuffled, of_shuffled, _ = loss.of_batch(*(c[order] for c in columns))
    scaled, _, _ = loss.of_batch(*columns[:3], 7 * columns[3])
    assert shuffled == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(of_shuffled, gradient[order], atol=1e-8)
    assert scaled == pytest.approx(value, abs=1e-5)


def test_batches_are_biased_by_no_more_than_is_stated():
    # three categories that count, each with about n_s = n_b rows of its class in a window of one batch
    columns = make_columns(400_000)
    loss = make_loss("expected_limit", make_hypotheses(60, half_width=0.15))
    whole, full_gradient, _ = loss.of_batch(*columns)
    parts = np.array_split(np.random.default_rng(5).permutation(400_000), 50)
    found = [loss.of_batch(*(c[part] for c in columns)) for part in parts]
    values = np.array([value for value, _, _ in found])
    rows_of_a_category = 8000 / 2 * 0.3 / (HIGH - LOW) / 4
    error = values.std(ddof=1) / np.sqrt(len(parts))
    assert abs(values.mean() - whole) < 1 / (2 * rows_of_a_category) + 3 * error
    # each row is in one batch, so the mean of the batches' gradients is a pass over the sample
    mean = np.empty_like(full_gradient)
    for part, (_, gradient, _) in zip(parts, found, strict=True):
        mean[part] = gradient / len(parts)
    direction = columns[1] - 0.5
    assert float(mean @ direction) == pytest.approx(float(full_gradient @ direction), rel=0.05)


def test_windows_with_few_rows_are_left_out_and_none_is_no_gradient():
    logits, labels, masses, yields = make_columns(10_000)
    loss = make_loss("expected_limit", make_hypotheses(50, 0.2))
    empty = labels * ((masses > 4) & (masses < 6)) > 0  # no signal there
    _, _, by_mass = loss.of_batch(logits[~empty], labels[~empty], masses[~empty], yields[~empty])
    centres = loss.hypotheses.masses
    np.testing.assert_array_equal(np.isnan(by_mass), (centres > 4.2) & (centres < 5.8))
    value, gradient, _ = loss.of_batch(logits[:4], labels[:4], masses[:4], yields[:4])
    assert value == 0
    assert not gradient.any()


def test_the_name_tells_losses_apart():
    names = {
        make_loss(o, make_hypotheses(n), background_error=e).name
        for o in OBJECTIVES for n in (100, 101) for e in (0.0, 0.1)
    }  # fmt: skip
    assert len(names) == 8


@pytest.mark.parametrize("bad", [{"objective": "auc"}, {"temperature": 0.0}, {"expected_background": 0.0}])
def test_what_makes_no_loss_is_refused(bad):
    boundaries = Boundaries.of(np.array([LOW, HIGH]), np.zeros((2, 1)))
    settings = {
        "objective": "punzi",
        "hypotheses": make_hypotheses(5),
        "boundaries": boundaries,
        "expected_background": 1.0,
    }
    with pytest.raises(ValueError, match=r"sensitivity loss|positive"):
        SensitivityLoss(**settings | bad)
