import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.impacts import impacts_at, impacts_of_workspace
from darksieve.evaluation.limits.interpolation import parse_interpolation
from darksieve.evaluation.limits.pyhf_export import export_workspace
from darksieve.evaluation.limits.workspace import Workspace

EDGES = np.linspace(0.0, 2.0, 101)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2
YIELD = {"name": "efficiency", "on": "yield", "kind": "linear", "size": 0.1}
WIDTH = {"name": "width", "on": "sigma", "kind": "linear", "size": 0.1}
SCALE = {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2}


def search(nuisances, background=None, signal=200.0, data=True, spurious=0.0, mean=1.0):
    peak = signal * np.exp(-0.5 * ((MIDDLES - mean) / 0.05) ** 2) * 0.02 / 0.05 / np.sqrt(2 * np.pi)
    counts = np.round(100 * np.exp(-MIDDLES) + peak)
    histogram = {"edges": EDGES.tolist()} | ({"counts": counts.tolist()} if data else {})
    shape = {"shape": "gaussian", "sigma": 0.05, "window": [0, 2], "yield_per_unit": 2.0}
    points = [
        {"label": f"m{m}", "mass": m, "channels": {"c": shape | {"mean": m, "spurious_signal": spurious}}}
        for m in (0.5, 1.0)
    ]
    background = background or {"family": "exponential"}
    channel = {"name": "c", "data": histogram, "background": background}
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    return SearchModel.parse(document | {"nuisances": nuisances})


def test_an_efficiency_moves_the_strength_by_its_size():
    [found] = impacts_at(search([YIELD]), ["m1.0"])
    assert found.names == ("efficiency",)
    assert found.pulls == pytest.approx([0], abs=1e-6)
    assert found.pull_errors == pytest.approx([1], abs=1e-3)
    assert found.impacts[0] / found.strength == pytest.approx([1 / 0.9 - 1, 1 / 1.1 - 1], rel=1e-3)


def test_a_spurious_signal_moves_the_strength_by_its_events():
    [found] = impacts_at(search([], spurious=30.0), [1.02])
    assert (found.label, found.mass) == ("m1.0", 1.0)
    assert found.names == ("spurious signal of c",)
    assert found.impacts[0] == pytest.approx([15.0, -15.0], rel=1e-3)


def test_a_shifted_peak_pulls_the_scale_towards_it():
    [found] = impacts_at(search([YIELD, WIDTH, SCALE], signal=2000.0, mean=1.005), ["m1.0"])
    scale = found.names.index("scale")
    assert 0.3 < found.pulls[scale] <= 0.55  # 0.005 = half of what one σ of the nuisance moves
    assert found.pull_errors[scale] < 0.6
    assert found.strength == pytest.approx(1000, abs=4 * found.strength_error)
    assert np.all(np.isfinite(found.impacts))


def test_impacts_are_those_of_a_document_without_freedom():
    """Fixing a nuisance at its fitted value ± its error is the fit that a narrower document makes."""
    [found] = impacts_at(search([WIDTH]), ["m1.0"])
    for side, sign in enumerate((-1, 1)):
        width = 0.05 * (1 + 0.1 * (found.pulls[0] + sign * found.pull_errors[0]))
        fixed = search([]).to_json()
        fixed["points"][1]["channels"]["c"]["sigma"] = width
        [there] = impacts_at(SearchModel.parse(fixed), ["m1.0"])
        assert there.impacts.shape == (0, 2)
        assert found.strength + found.impacts[0, side] == pytest.approx(there.strength, rel=3e-3)


def test_profiled_backgrounds_take_the_best_fits_family():
    line = {"family": "chebyshev", "order": 0}
    [several] = impacts_at(search([YIELD], [line, {"family": "exponential"}]), ["m1.0"])
    [alone] = impacts_at(search([YIELD]), ["m1.0"])
    assert several.strength == pytest.approx(alone.strength, rel=1e-6)


def test_a_workspace_has_the_impacts_of_the_document_that_it_was_made_of():
    model = search([YIELD, WIDTH], {"family": "chebyshev", "order": 2}, spurious=10.0)
    [own] = impacts_at(model, ["m1.0"])
    exported = export_workspace(model, "m1.0", histosys="code2")
    codes = parse_interpolation("normsys=code1,histosys=code2")
    back = impacts_of_workspace(Workspace.parse(exported, interpolation=codes))
    order = [back.names.index(name) for name in own.names]
    assert back.strength == pytest.approx(own.strength, rel=1e-3)
    assert back.strength_error == pytest.approx(own.strength_error, rel=1e-2)
    assert back.pulls[order] == pytest.approx(own.pulls, abs=0.01)
    assert back.pull_errors[order] == pytest.approx(own.pull_errors, abs=0.01)
    assert back.impacts[order] == pytest.approx(own.impacts, abs=0.02 * own.strength_error)


def test_a_measured_count_pulls_in_units_of_its_own_error():
    modifiers = [{"name": "u", "type": "shapesys", "data": [7.0]}]
    samples = [
        {"name": "s", "data": [10.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "b", "data": [50.0], "modifiers": modifiers},
    ]
    workspace = {
        "channels": [{"name": "c", "samples": samples}],
        "observations": [{"name": "c", "data": [65.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
    found = impacts_of_workspace(Workspace.parse(workspace))
    assert found.names == ("u[0]",)
    assert found.pulls == pytest.approx([0], abs=1e-4)
    assert found.pull_errors == pytest.approx([1], rel=1e-3)
    assert found.strength_error == pytest.approx(np.sqrt(65 + 49) / 10, rel=1e-3)
    assert found.impacts[0] == pytest.approx([0.7, -0.7], rel=1e-3)


def test_they_can_be_drawn():
    pytest.importorskip("matplotlib")
    from darksieve.evaluation.plots import fits
    from darksieve.evaluation.plots.style import Stamp

    [found] = impacts_at(search([YIELD, WIDTH]), ["m1.0"])
    drawing = fits.draw_impacts(
        found.names,
        found.pulls,
        found.pull_errors,
        found.impacts,
        mass=found.mass,
        unit="1",
        stamp=Stamp("x"),
    )
    assert drawing.table["nuisance"][0] == "efficiency"


def test_blind_documents_and_unknown_points_are_refused():
    blind = {"family": "exponential", "yield": 1000.0, "coefficients": [-1.0]}
    with pytest.raises(InputError, match="blind"):
        impacts_at(search([YIELD], blind, data=False), ["m1.0"])
    with pytest.raises(InputError, match=r"no point 'm1'.*did you mean 'm1.0'"):
        impacts_at(search([YIELD]), ["m1"])
