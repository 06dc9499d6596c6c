"""Several decays in one fit: what ties them, what is fitted beside it, and what it says of the coupling."""

import json

import numpy as np
import pytest
import yaml

from darksieve import couplings
from darksieve.config_loading import validate
from darksieve.errors import InputError
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.workflow.fits import fits_of
from darksieve.workflow.interpreting import interpret

CONFIG = """
search: modes
luminosity_fb: 10
confidence_level: 0.9
beams: belle
samples:
  continuum: {role: background, files: [continuum.root], luminosity_fb: 5}
  kplus:     {role: signal, files: [kplus.root], mass: genM, n_generated: 20000, mass_range: [0.3, 3.0]}
  kstar:     {role: signal, files: [kstar.root], mass: genM, n_generated: 20000, mass_range: [0.3, 3.0]}
channels:
  kplus: {select: "mode < 0.5", n_parents: 1.0e9, hadron: K+}
  kstar: {select: "mode > 0.5", n_parents: 1.0e9, hadron: "K*+"}
scan: {observable: M, range: [0.5, 2.5], masses: [0.5, 1.0, 2.0], method: asymptotic,
       background: {family: chebyshev, order: 1, window_sigma: 10},
       nuisances: {named: {photon: {size: 0.04}, K_S: {size: 0.05, channels: [kstar]}}}}
interpretation:
  parameter: g_aW
  prompt_mm: 10
  also: {B_to_K: {channels: [kplus]}, B_to_Kstar: {channels: [kstar]}}
tracking: {enabled: false}
"""


def config(**changes):
    return validate(yaml.safe_load(CONFIG) | changes)


def test_the_coupling_ties_the_decays_and_the_fits_beside_it_have_parameters_of_their_own():
    first, plus, star = fits_of(config())
    assert (first.reference, plus.reference, star.reference) == ("K+", "K+", "K*+")
    assert first.ratio(config().channels["kplus"]) is None
    mass = np.array([1.0, 2.0])
    expected = couplings.alp_branching_fraction("K*+", mass, 1e-5)
    expected /= couplings.alp_branching_fraction("K+", mass, 1e-5)
    np.testing.assert_allclose(first.ratio(config().channels["kstar"])(mass), expected)
    assert star.ratio(config().channels["kstar"]) is None


def test_one_branching_fraction_for_all_channels_has_no_reference():
    (fit,) = fits_of(config(interpretation={"parameter": "branching_fraction"}))
    assert fit.reference is None
    assert fit.ratio(config().channels["kstar"]) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interpretation": {"parameter": "g_aW", "fold_flight": True}}, "needs prompt_mm"),
        ({"channels": {"kplus": {"n_parents": 1e9}}}, r"needs hadron in channels \['kplus'\]"),
        ({"channels": {"kplus": {"n_parents": 1e9, "hadron": "K"}}}, "no decay B → K a"),
        (
            {"interpretation": {"parameter": "g_aW", "also": {"x": {"channels": ["kpls"]}}}},
            "did you mean 'kplus'",
        ),
        (
            {"interpretation": {"parameter": "signal_events", "also": {"x": {"channels": ["kplus"]}}}},
            "goes with",
        ),
    ],
)
def test_fits_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        config(**changes)


def _curve(masses, limits):
    points = [
        {"label": f"m{mass}", "mass": mass, "status": "converged", "expected": {"0": limit}}
        for mass, limit in zip(masses, limits, strict=True)
    ]
    document = {
        "format": "darksieve-limits/1",
        "confidence_level": 0.9,
        "asimov": "nominal",
        "parameter": {"name": "branching_fraction", "unit": "1"},
        "points": points,
    }
    return LimitCurve.model_validate(document)


def test_what_flies_too_far_is_marked_and_with_flight_folded_in_costs_reach():
    curve = _curve([0.3, 1.0, 2.5], [1e-6, 1e-7, 1e-7])
    given = {"parameter": "g_aW", "prompt_mm": 10}
    prompt, folded = (
        interpret(config(interpretation=given | more), curve, 10.58)["points"]
        for more in ({}, {"fold_flight": True})
    )
    assert [point["prompt"] for point in prompt] == [p["flight_mm_at_median"] <= 10 for p in prompt]
    assert (prompt[0]["prompt"], prompt[2]["prompt"]) == (False, True)
    ratios = [f["expected"]["0"] / p["expected"]["0"] for f, p in zip(folded, prompt, strict=True)]
    assert ratios[0] > 1.2  # few ALPs of 0.3 GeV decay within 10 mm
    assert ratios[2] == pytest.approx(1, abs=0.01)


def _write(path, rng, n, first, *, signal, mode=None):
    import uproot

    gen = rng.uniform(0.3, 3, n)
    columns = {
        "__event__": (first + np.arange(n)).astype(np.uint32),
        "M": gen + rng.normal(0, 0.02, n) if signal else rng.uniform(0.1, 3.3, n),
        "mode": rng.integers(0, 2, n).astype(float) if mode is None else np.full(n, float(mode)),
        **({"genM": gen} if signal else {}),
    }
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
        file["ntuple"].extend(columns)


@pytest.mark.slow
def test_a_run_limits_the_coupling_and_each_branching_fraction(tmp_path, monkeypatch):
    from darksieve.workflow.chain import run_chain

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKSIEVE_CACHE", "off")
    rng = np.random.default_rng(0)
    _write(tmp_path / "continuum.root", rng, 40_000, 1, signal=False)
    _write(tmp_path / "kplus.root", rng, 15_000, 100_000, signal=True, mode=0)
    _write(tmp_path / "kstar.root", rng, 10_000, 200_000, signal=True, mode=1)
    run_chain(config(), tmp_path / "run")

    def medians(name):
        points = json.loads((tmp_path / "run" / name).read_text())["points"]
        return np.array([point["expected"]["0"] for point in points])

    together, plus, star = (medians(f"limits{part}.json") for part in ("", "_B_to_K", "_B_to_Kstar"))
    mass = np.array([0.5, 1.0, 2.0])
    ratio = couplings.alp_branching_fraction("K*+", mass, 1.0) / couplings.alp_branching_fraction(
        "K+", mass, 1.0
    )
    # two Gaussian measurements of one number: inverse squares add up, but for the shared systematics
    closure = 1 / np.sqrt(1 / plus**2 + (ratio / star) ** 2)
    np.testing.assert_allclose(together, closure, rtol=0.02)
    interpretation = json.loads((tmp_path / "run" / "interpretation.json").read_text())
    assert interpretation["parameter"] == {"name": "g_aW", "unit": "1/GeV"}
    g = np.array([point["expected"]["0"] for point in interpretation["points"]])
    np.testing.assert_allclose(couplings.alp_branching_fraction("K+", mass, g), together, rtol=1e-9)
    prompt = [point["prompt"] for point in interpretation["points"]]
    flight = [point["flight_mm_at_median"] for point in interpretation["points"]]
    assert prompt == [length <= 10 for length in flight]
    nuisances = {
        n["name"]: n for n in json.loads((tmp_path / "run" / "search.json").read_text())["nuisances"]
    }
    assert nuisances["K_S"]["channels"] == ["kstar"]
    assert "channels" not in nuisances["photon"]
    for name in ("coupling", "limits_B_to_K", "limits_B_to_Kstar"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").is_file()
