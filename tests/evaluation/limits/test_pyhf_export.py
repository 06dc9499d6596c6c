import json

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.pyhf_export import export_closure, export_patchset, export_workspace

EDGES = np.linspace(0.2, 1.8, 81)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2
EXPECTED = 400 * np.exp(-MIDDLES)
YIELD = {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.1}
WIDTH = {"name": "width", "on": "sigma", "kind": "linear", "size": 0.1}
SCALE = {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2}
CUBIC = {"family": "chebyshev", "order": 3}
TEMPLATE = {
    "family": "template", "edges": EDGES.tolist(), "values": EXPECTED.tolist(), "uncertainty": 0.1,
    "peaking": [{"name": "pi0", "shape": "gaussian", "mean": 0.7, "sigma": 0.05, "yield": 100.0,
                 "uncertainty": 0.2}],
}  # fmt: skip


def search(background, nuisances=(), masses=(0.8, 1.2), data=True, **signal):
    counts = np.random.default_rng(1).poisson(EXPECTED).astype(float).tolist()
    shape = {"shape": "gaussian", "sigma": 0.05, "window": [0.2, 1.8], "yield_per_unit": 2.0} | signal
    points = [{"label": f"m{m}", "mass": m, "channels": {"c": shape | {"mean": m}}} for m in masses]
    histogram = {"edges": EDGES.tolist()} | ({"counts": counts} if data else {})
    channel = {"name": "c", "data": histogram, "background": background}
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    return SearchModel.parse(document | {"nuisances": list(nuisances)})


@pytest.mark.parametrize("background", [CUBIC, {"family": "bernstein", "order": 2}, TEMPLATE])
def test_the_exported_workspace_gives_the_same_limits(background):
    closure = export_closure(search(background, [YIELD], spurious_signal=20.0))
    assert np.isfinite(closure.observed).all()
    assert closure.largest < 3e-6


@pytest.mark.parametrize("family", ["exponential", "power"])
def test_free_slopes_close_to_the_constraint_that_histfactory_forces_on_them(family):
    model = search({"family": family}, [YIELD])
    assert export_closure(model).largest < 3e-4
    assert export_closure(model, interpolation="normsys=code1").largest < 1e-4


def test_morphs_are_exact_with_the_parabolas_own_code_and_close_with_pyhfs():
    for nuisance in (WIDTH, SCALE):
        model = search(CUBIC, [nuisance])
        assert export_closure(model, interpolation="histosys=code2").largest < 3e-6
        assert export_closure(model).largest < 1e-3
    model = search(CUBIC, [YIELD, WIDTH, SCALE])
    assert export_closure(model, interpolation="normsys=code1,histosys=code2").largest < 3e-4
    assert export_closure(model).largest < 1e-3


def test_a_blind_document_is_exported_with_its_expectation_as_observation():
    background = CUBIC | {"yield": 12000.0, "coefficients": [-0.7, 0.1, 0.0]}
    model = search(background, [YIELD], data=False)
    workspace = export_workspace(model, "m0.8")
    assert sum(workspace["observations"][0]["data"]) == pytest.approx(12000.0)
    closure = export_closure(model)
    assert np.isnan(closure.observed).all()
    assert closure.largest < 3e-6


def test_a_list_of_backgrounds_is_exported_as_its_best_fit():
    several = export_workspace(search([{"family": "chebyshev", "order": 0}, CUBIC]), "m0.8")
    alone = export_workspace(search(CUBIC), "m0.8")
    assert several["channels"] == alone["channels"]


def test_a_measured_count_is_a_shapesys():
    known = {"family": "known", "yield": 50.0, "uncertainty": 7.0}
    channel = {"name": "box", "data": {"counts": [55]}, "background": known}
    points = [{"label": "a", "channels": {"box": {"yield_per_unit": 10.0}}}]
    model = SearchModel.parse({"format": "darksieve-search/1", "channels": [channel], "points": points})
    [sample] = [s for s in export_workspace(model, "a")["channels"][0]["samples"] if s["name"] != "signal"]
    assert sample["modifiers"][0]["type"] == "shapesys"
    assert export_closure(model).largest < 3e-5


def test_a_patchset_gives_every_point_its_own_limits(tmp_path):
    model = search(CUBIC, [YIELD], masses=(0.8, 1.0, 1.2))
    workspace, patchset = export_patchset(model)
    for name, document in (("workspace", workspace), ("patchset", patchset)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    own = answer_documents([model], method="asymptotic", look_elsewhere=False)
    back = answer_documents(
        [tmp_path / "workspace.json", tmp_path / "patchset.json"], method="asymptotic", look_elsewhere=False
    )
    for point in own.points:
        same = back.point(f"workspace/{point.label.replace('.', '_')}")
        assert same.observed == pytest.approx(point.observed, rel=1e-5)
        assert same.p0 == pytest.approx(min(point.p0, 0.5), abs=1e-5)
        assert list(same.expected.values()) == pytest.approx(list(point.expected.values()), rel=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pyhf_accepts_the_workspace_and_the_digest_of_its_patchset():
    pyhf = pytest.importorskip("pyhf")
    workspace, patchset = export_patchset(search({"family": "exponential"}, [YIELD, WIDTH]))
    patches = pyhf.PatchSet(patchset)
    patches.verify(workspace)
    model = pyhf.Workspace(patches.apply(workspace, "m1_2")).model()
    assert model.config.poi_name == "mu"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pyhf_agrees_at_the_observed_limit():
    pyhf = pytest.importorskip("pyhf")
    pyhf.set_backend("numpy", "minuit")
    model = search(CUBIC, [YIELD], masses=(0.8,))
    limit = answer_documents([model], method="asymptotic", look_elsewhere=False).points[0].observed
    workspace = pyhf.Workspace(export_workspace(model, "m0.8"))
    hypothesis = workspace.model()
    cls = pyhf.infer.hypotest(limit, workspace.data(hypothesis), hypothesis, test_stat="qtilde")
    assert float(cls) == pytest.approx(0.05, rel=3e-3)


def test_a_scaled_parameter_counts_in_its_unit():
    model = search(CUBIC)
    one, thousand = (export_workspace(model, "m0.8", poi_scale=scale) for scale in (1.0, 1000.0))
    ratio = np.array(thousand["channels"][0]["samples"][0]["data"])
    assert ratio == pytest.approx(1000 * np.array(one["channels"][0]["samples"][0]["data"]))


def test_an_unknown_point_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"no point 'm0.9'.*did you mean"):
        export_workspace(search(CUBIC), "m0.9")
