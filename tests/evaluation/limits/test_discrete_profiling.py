import numpy as np
import pytest

from darksieve.evaluation.limits.answer import answer_documents

LINE = {"family": "chebyshev", "order": 1}
CURVED = {"family": "chebyshev", "order": 4}


def document(background, *, signal=0.0, blind=False):
    edges = np.linspace(0.8, 1.2, 81)
    middle = (edges[1:] + edges[:-1]) / 2
    expected = 40 * (1 - 1.5 * (middle - 1)) + signal * np.exp(-0.5 * ((middle - 1) / 0.02) ** 2) / 10
    data = {"edges": edges.tolist()}
    if not blind:
        data["counts"] = np.round(expected).tolist()
    shape = {"shape": "gaussian", "sigma": 0.02, "yield_per_unit": 1.0, "window": [0.8, 1.2]}
    points = [{"label": f"{m}", "mass": m, "channels": {"c": shape | {"mean": m}}} for m in (0.98, 1.0)]
    channel = {"name": "c", "data": data, "background": background}
    return {"format": "darksieve-search/1", "channels": [channel], "points": points}


def answer(background, **options):
    return answer_documents([document(background, **options)], look_elsewhere=False, cls_at=30.0).points


def test_choosing_between_equals_changes_nothing():
    for alone, twice in zip(answer(LINE), answer([LINE, LINE]), strict=True):
        assert twice.observed == pytest.approx(alone.observed, rel=1e-4)
        assert list(twice.expected.values()) == pytest.approx(list(alone.expected.values()), rel=1e-4)
        assert twice.best_fit_error == pytest.approx(alone.best_fit_error, rel=1e-4)
        assert twice.cls_observed == pytest.approx(alone.cls_observed, rel=1e-3)
        assert twice.background_family == "c: chebyshev 1"
        assert alone.background_family is None


def test_a_function_that_fits_as_well_with_fewer_parameters_wins():
    for point in answer([CURVED, LINE]):
        assert point.background_family == "c: chebyshev 1"


def test_the_envelope_is_never_narrower_than_the_best_background():
    for alone, both in zip(answer(LINE), answer([LINE, CURVED]), strict=True):
        low, high = both.best_fit_error
        assert both.background_family == "c: chebyshev 1"
        assert low <= alone.best_fit_error[0] * (1 - 1e-4)
        assert high >= alone.best_fit_error[1] * (1 - 1e-4)


def test_a_signal_is_found_through_the_envelope():
    point = answer([LINE, CURVED, {"family": "exponential"}], signal=150.0)[1]
    assert point.significance > 3
    assert point.status == "converged"
    assert point.best_fit_error[0] < 0 < point.best_fit_error[1]


def test_a_blind_document_expects_the_first_background():
    backgrounds = [
        LINE | {"yield": 3200.0, "coefficients": [-0.3]},
        CURVED | {"yield": 3200.0, "coefficients": [-0.3, 0.1, 0.0, 0.0]},
    ]
    alone = answer(backgrounds[0], blind=True)[0]
    both = answer(backgrounds, blind=True)[0]
    assert both.observed is None
    assert both.expected["0"] >= alone.expected["0"] * (1 - 1e-4)
    assert both.expected["0"] < 2 * alone.expected["0"]
