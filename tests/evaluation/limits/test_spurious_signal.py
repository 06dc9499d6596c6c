import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.components import OneSlopeBackground, PolynomialBackground
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import limits_of_search
from darksieve.evaluation.limits.spurious_signal import (
    Spectrum,
    largest_spurious_signal,
    spurious_signals,
    with_spurious_signal,
)

EDGES = np.linspace(0.0, 2.0, 101)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2
SHAPE = 400 * np.exp(-MIDDLES)
MASSES = (0.6, 1.0, 1.4)
EXPONENTIAL = OneSlopeBackground(family="exponential")


def search(order=2, nuisances=(), spurious=None, seed=1, **signal):
    counts = np.random.default_rng(seed).poisson(SHAPE).astype(float)
    data = {"edges": EDGES.tolist(), "counts": counts.tolist()}
    shape = {"shape": "gaussian", "sigma": 0.05, "window": [0.2, 1.8], "yield_per_unit": 2.0} | signal
    if spurious is not None:
        shape["spurious_signal"] = spurious
    points = [{"label": f"m{m}", "mass": m, "channels": {"c": shape | {"mean": m}}} for m in MASSES]
    channel = {"name": "c", "data": data, "background": {"family": "chebyshev", "order": order}}
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    return SearchModel.parse(document | {"nuisances": list(nuisances)})


def test_a_background_that_holds_the_shape_has_no_spurious_signal():
    [result] = spurious_signals(search(3), {"line": PolynomialBackground(family="bernstein", order=2)})
    assert np.abs(result.relative_to_sigma).max() < 1e-4
    assert result.events_error == pytest.approx(0, abs=0)


def test_the_bias_of_a_line_under_an_exponential_is_found():
    results = spurious_signals(
        search(1), {"exponential": EXPONENTIAL, "exact": {"c": Spectrum(EDGES, SHAPE)}}
    )
    for result in results:
        assert np.abs(result.relative_to_sigma).max() > 1
        # the line runs above the exponential in the middle, and below at the sides
        assert result.events[1] < 0
        limits = limits_of_search(search(1))
        assert result.sigma == pytest.approx(-2 * limits.best_fit_error[:, 0], rel=0.1)
        assert result.expected_limit == pytest.approx(2 * limits.expected[:, 2], rel=0.1)
    assert results[0].events == pytest.approx(results[1].events, rel=0.3)
    assert np.all(largest_spurious_signal(results) >= np.abs(results[0].events))


def test_the_error_from_finite_simulation_is_the_spread_of_simulations():
    model = search(2)
    generator = np.random.default_rng(3)
    n, weight = 150, 0.5
    [stated] = spurious_signals(model, {"mc": {"c": Spectrum(EDGES, SHAPE, weight * SHAPE)}})
    spectra = {str(i): {"c": Spectrum(EDGES, weight * generator.poisson(SHAPE / weight))} for i in range(n)}
    thrown = np.array([result.events for result in spurious_signals(model, spectra)])
    spread = thrown.std(axis=0, ddof=1)
    assert spread / stated.events_error == pytest.approx(1, abs=4 / np.sqrt(2 * n))
    assert thrown.mean(axis=0) == pytest.approx(stated.events, abs=4 * spread.max() / np.sqrt(n))


def test_weighted_events_make_a_spectrum_with_its_variances():
    spectrum = Spectrum.from_events([0.1, 0.1, 0.3], [2.0, 3.0, 0.5], [0, 0.2, 0.4])
    assert spectrum.contents.tolist() == [5.0, 0.5]
    assert spectrum.variances.tolist() == [13.0, 0.25]


def test_a_limit_dominated_by_spurious_signal_is_that_of_its_constraint():
    events = 5000.0
    answer = limits_of_search(search(spurious=events))
    assert answer.expected[:, 2] == pytest.approx(1.96 * events / 2, rel=1e-3)
    assert answer.best_fit_error[:, 1] == pytest.approx(events / 2, rel=1e-3)


def test_spurious_signal_adds_in_quadrature_to_the_error():
    plain = limits_of_search(search())
    wider = limits_of_search(search(spurious=30.0))
    expected = np.hypot(plain.best_fit_error[:, 1], 30.0 / 2)
    assert wider.best_fit_error[:, 1] == pytest.approx(expected, rel=0.01)
    assert wider.best_fit == pytest.approx(plain.best_fit, abs=0.02)
    assert np.all(np.abs(wider.significance) < np.abs(plain.significance))


def test_measured_sizes_become_nuisances_of_the_document(tmp_path):
    model = search()
    results = spurious_signals(model, {"exponential": EXPONENTIAL})
    sizes = largest_spurious_signal(results).tolist()
    labels = results[0].labels
    nominal = with_spurious_signal(model, {m: {"c": s} for m, s in zip(labels, sizes, strict=True)})
    nominal.save(tmp_path / "search.json")
    again = SearchModel.load(tmp_path / "search.json")
    assert [p.channels["c"].spurious_signal for p in again.points] == sizes
    limits, wider = (answer_documents([m], look_elsewhere=False).expected(0) for m in (model, again))
    assert np.all(wider > limits)
    # what is stated is left out of the next test
    assert spurious_signals(again, {"x": EXPONENTIAL})[0].events == pytest.approx(results[0].events, rel=1e-9)


def test_exact_answers_do_not_forget_a_spurious_signal():
    known = {"family": "known", "yield": 5.5}
    channel = {"name": "box", "data": {"counts": [6]}, "background": known}
    signal = {"yield_per_unit": 1.0, "spurious_signal": 1.0}
    points = [{"label": "a", "channels": {"box": signal}}]
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    with pytest.raises(InputError, match="exact limits are for one count"):
        answer_documents([document], method="exact")
    with pytest.raises(InputError, match="no point looks for a shape"):
        spurious_signals(SearchModel.parse(document), {"x": EXPONENTIAL})


def test_wrong_names_and_sizes_are_refused():
    model = search()
    with pytest.raises(InputError, match="no such channel 'd'"):
        spurious_signals(model, {"x": EXPONENTIAL}, channel="d")
    with pytest.raises(InputError, match="no spectrum for channel 'c'"):
        spurious_signals(model, {"x": {"d": Spectrum(EDGES, SHAPE)}})
    with pytest.raises(InputError, match="no such point"):
        with_spurious_signal(model, {"m7": {"c": 1.0}})
    with pytest.raises(InputError, match="no such channel"):
        with_spurious_signal(model, {"m1.0": {"d": 1.0}})
    with pytest.raises(InputError, match="spurious_signal"):
        search(spurious=-1.0)
    with pytest.raises(InputError, match="no signal is expected"):
        search(spurious=1.0, yield_per_unit=0.0)
