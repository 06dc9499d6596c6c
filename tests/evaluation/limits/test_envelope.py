from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_ndtr

from darksieve.errors import InputError
from darksieve.evaluation.limits import family_curve
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import fit, limits_of_search
from darksieve.evaluation.limits.envelope import envelope_limits
from darksieve.evaluation.limits.envelope_toys import EnvelopeToys
from darksieve.evaluation.limits.family_curve import FamilyCurve, falling_root
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.search_toys import SearchToys

EDGES = np.linspace(0.2, 1.8, 81)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2
CUBIC = {"family": "chebyshev", "order": 3}
FAMILIES = [*({"family": "chebyshev", "order": k} for k in (1, 2, 3)), {"family": "exponential"}]
NUISANCES = [
    {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.1},
    {"name": "width", "on": "sigma", "kind": "linear", "size": 0.1},
]


def search(background, *, masses=(0.6, 1.0, 1.4), level=400.0, seed=1, signal=0.0, values=False, **more):
    peak = signal * np.exp(-0.5 * ((MIDDLES - 1.0) / 0.05) ** 2) * 0.02 / 0.05 / np.sqrt(2 * np.pi)
    counts = np.random.default_rng(seed).poisson(level * np.exp(-MIDDLES) + peak)
    data = {"edges": EDGES.tolist(), "counts": counts.astype(float).tolist()}
    if values:
        data = {"values": np.repeat(MIDDLES, counts).tolist()}
    shape = {"shape": "gaussian", "sigma": 0.05, "window": [0.2, 1.8], "yield_per_unit": 2.0}
    points = [{"label": f"m{m}", "mass": m, "channels": {"c": shape | {"mean": m}}} for m in masses]
    channel = {"name": "c", "data": data, "background": background}
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    return SearchModel.parse(document | {"nuisances": NUISANCES} | more)


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("statistic", ["qtilde", "q"])
def test_an_envelope_of_one_family_is_the_plain_answer(values, statistic):
    options = {"test_statistic": statistic, "cls_at": 20.0, "confidence_level": 0.9}
    plain = limits_of_search(search(CUBIC, values=values), **options)
    envelope = envelope_limits(search([CUBIC], values=values), **options).limits
    for name in ("observed", "expected", "best_fit", "best_fit_error", "p0", "cls_observed", "cls_expected"):
        assert getattr(envelope, name) == pytest.approx(getattr(plain, name), rel=2e-5), name
    assert envelope.background_near_peak == pytest.approx(plain.background_near_peak)
    assert envelope.status == plain.status == ("converged",) * 3


def by_hand(model, i, penalty):
    """Limit and error interval of one point from a grid of fits with every family."""
    grid = np.linspace(-80, 250, 661)
    batches = [compile_search(model, points=[i], choice=k) for k in range(len(FAMILIES))]
    free = [int((b.structure.n_linear + 2 * b.structure.has_slope)[0, 0]) for b in batches]

    def curve(members):
        many = [b.subset(np.zeros(grid.size, np.int64)) for b in members]
        return np.array([2 * fit(b, grid).nll + penalty * n for b, n in zip(many, free, strict=True)])

    each = curve(batches)
    values, zero = each.min(axis=0), int(np.argmin(np.abs(grid)))
    least, best = values.min(), grid[values.argmin()]
    family = int(each[:, zero].argmin())
    one = MinuitProblem(batches[family], 0, batches[family].rows)
    x = fit(batches[family], 0.0).parameters[0, : one.n]
    counts = one.expectation(x)
    asimov = [b.with_counts(counts) for b in batches]
    measured = x[one.strength + 1 :][None, :]
    asimov = [replace(b, structure=b.structure._replace(auxiliary=measured)) for b in asimov]
    q_a = curve(asimov).min(axis=0)
    q_a = np.sqrt(np.maximum(q_a - q_a[zero], 1e-12))
    q = values - (values[zero] if best < 0 else least)
    q = np.where(grid <= best, 0.0, np.maximum(q, 0.0))
    far = q > q_a**2
    s = np.where(far, (q + q_a**2) / (2 * q_a), np.sqrt(q))
    b = np.where(far, (q - q_a**2) / (2 * q_a), np.sqrt(q) - q_a)
    allowed = (log_ndtr(-s) - log_ndtr(-b) > np.log(0.05)) & (grid > 0)
    inside = grid[values <= least + 1]
    return grid[allowed].max(), inside.min() - best, inside.max() - best, best


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_the_envelope_agrees_with_a_grid_of_fits(penalty):
    model = search(FAMILIES, signal=60.0)
    limits = envelope_limits(model, penalty=penalty).limits
    for i in (0, 1):
        observed, low, high, best = by_hand(model, i, penalty)
        step = 0.51
        assert limits.observed[i] == pytest.approx(observed, abs=step)
        assert limits.best_fit[i] == pytest.approx(best, abs=step)
        assert limits.best_fit_error[i] == pytest.approx([low, high], abs=2 * step)


def test_the_envelope_excludes_less_than_the_family_of_its_best_fit():
    several = envelope_limits(search(FAMILIES))
    for i, choice in enumerate(several.choices):
        alone = limits_of_search(search(FAMILIES[choice["c"]]))
        assert several.limits.observed[i] > alone.observed[i] * (1 - 1e-4)
        if several.families[i] == several.families_without_signal[i]:
            assert np.all(several.limits.expected[i] > alone.expected[i] * (1 - 1e-4))


def test_a_larger_penalty_prefers_fewer_parameters():
    model = search([{"family": "chebyshev", "order": 6}, {"family": "chebyshev", "order": 2}], seed=4)
    assert set(envelope_limits(model, penalty=0.0).families) == {"c: chebyshev 6"}
    assert set(envelope_limits(model, penalty=10.0).families) == {"c: chebyshev 2"}


def test_several_channels_are_profiled_in_all_combinations():
    one = search(FAMILIES[:2], masses=(1.0,)).to_json()
    two = one | {"channels": [one["channels"][0], one["channels"][0] | {"name": "d", "background": CUBIC}]}
    for point in two["points"]:
        point["channels"]["d"] = point["channels"]["c"]
    free = envelope_limits(SearchModel.parse(two))
    assert free.families[0].startswith("c: ")
    two["channels"][1]["background"] = FAMILIES[:2]
    both = envelope_limits(SearchModel.parse(two))
    first, second = both.families[0].split(", ")
    assert first[2:] == second[2:]  # the same data in both
    two["channels"][0]["background"] = [CUBIC] * 17
    two["channels"][1]["background"] = [CUBIC] * 17
    with pytest.raises(InputError, match="289 combinations"):
        envelope_limits(SearchModel.parse(two))


def test_the_envelope_covers_where_no_family_is_quite_right():
    """Pulls and limits of 100 spectra, with the exponential that makes them left out of the list."""
    truth, covered, inside, pulls = 40.0, 0, 0, []
    n = 100
    for seed in range(n):
        model = search(FAMILIES[:3], masses=(1.0,), seed=100 + seed, signal=2 * truth, nuisances=[])
        limits = envelope_limits(model).limits
        low, high = limits.best_fit_error[0]
        difference = truth - limits.best_fit[0]
        covered += limits.observed[0] >= truth
        inside += low <= difference <= high
        pulls.append(-difference / (high if difference > 0 else -low))
    assert covered / n > 0.95 - 3 * np.sqrt(0.95 * 0.05 / n)
    assert inside / n > 0.683 - 3 * np.sqrt(0.683 * 0.317 / n)
    assert abs(np.mean(pulls)) < 0.1 + 3 / np.sqrt(n)


def test_fits_that_fail_are_repeated_by_minuit(monkeypatch):
    model = search(FAMILIES[:2], masses=(1.0,), nuisances=[])
    expected = envelope_limits(model).limits

    def fails(batch, mu=None, **options):
        found = fit(batch, mu, **options)
        return replace(found, status=("failed",) * len(found.status))

    monkeypatch.setattr(family_curve, "fit", fails)
    found = envelope_limits(model).limits
    assert found.status == ("converged_by_minuit",)
    assert found.observed == pytest.approx(expected.observed, rel=1e-4)
    assert found.expected == pytest.approx(expected.expected, rel=1e-4)


def test_a_fit_that_falls_into_another_valley_is_repeated():
    """In nearly empty windows an exponential may get stuck at its steepest slope."""
    masses = tuple(np.linspace(0.5, 1.5, 20).tolist())
    limits = envelope_limits(search(FAMILIES, masses=masses, level=0.1, seed=7)).limits
    alone = limits_of_search(search(FAMILIES[3], masses=masses, level=0.1, seed=7))
    assert np.isfinite(limits.best_fit_error).all()
    assert limits.observed == pytest.approx(alone.observed, rel=0.2)
    assert limits.best_fit_error[:, 1] == pytest.approx(alone.best_fit_error[:, 1], rel=0.3)


def test_toys_of_an_envelope_of_one_family_are_the_plain_toys():
    seed = np.random.SeedSequence(1)
    plain = SearchToys(search(CUBIC, level=3.0), 1, seed=seed)
    envelope = EnvelopeToys(search([CUBIC, CUBIC], level=3.0), 1, seed=seed)
    mine, theirs = (toys.test_statistics(6.0, 200) for toys in (envelope, plain))
    assert mine.observed == pytest.approx(theirs.observed, abs=1e-4)
    assert mine.with_signal == pytest.approx(theirs.with_signal, abs=1e-3)
    assert mine.without_signal == pytest.approx(theirs.without_signal, abs=1e-3)


def test_sparse_windows_with_a_list_are_answered_by_toys():
    model = search(FAMILIES[:2], level=3.0, masses=(1.0,))
    [point] = answer_documents([model], n_toys=1500, look_elsewhere=False).points
    assert point.method == "toys"
    assert point.background_family.startswith("c: chebyshev")
    assert point.asymptotic.observed < 1.3 * point.observed


def test_the_scan_of_a_list_names_gross_vitells_and_why():
    curve = answer_documents([search(FAMILIES)], method="asymptotic")
    assert curve.global_.method == "gross_vitells"
    assert "profiles over several backgrounds" in curve.global_.note


def test_curves_reach_their_targets_on_both_sides():
    batch = compile_search(search(CUBIC))
    curve = FamilyCurve(batch, 1.0)
    every = np.arange(batch.n_problems)
    lowest, strength = curve.minimum(every)
    for sign in (-1.0, 1.0):
        ends = curve.where_it_reaches(lowest + 4.0, lowest, strength, sign, np.full(3, 0.1))
        assert np.all(sign * (ends - strength) > 0)
        assert curve.minimum(every, ends)[0] == pytest.approx(lowest + 4.0, abs=1e-4)
    below = curve.where_it_reaches(lowest - 1.0, lowest, strength, 1.0, np.full(3, 0.1))
    assert np.all(below == -np.inf)


def test_falling_roots_are_found_for_all_problems_at_once():
    goals = np.array([0.3, 4.0, 900.0])
    found = falling_root(lambda p, x: np.log(goals[p]) - np.log(x), np.arange(3), np.zeros(3), np.ones(3))
    assert found == pytest.approx(goals, rel=1e-5)
