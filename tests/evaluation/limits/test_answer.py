import json
import re
from pathlib import Path

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits import answer as answer_module
from darksieve.evaluation.limits.answer import InterruptedScanError, answer_documents
from darksieve.evaluation.limits.counting import Count, exact_limit
from darksieve.evaluation.limits.document import SearchModel

GUIDE = Path(__file__).parents[3] / "docs" / "limits.md"


def counting(n=6, background=5.5, per_unit=1.0, label="x", **more):
    known = {"family": "known", "yield": background} | more
    channel = {"name": "c", "background": known}
    if n is not None:
        channel["data"] = {"counts": [n]}
    points = [{"label": label, "channels": {"c": {"yield_per_unit": per_unit}}}]
    return {"format": "darksieve-search/1", "channels": [channel], "points": points}


def scan(n_points=12, level=20.0, seed=3, signal=None, sigma=0.01, **more):
    """A sliding-window search in one histogram."""
    rng = np.random.default_rng(seed)
    masses = 1 + np.arange(n_points) * sigma / 2
    edges = np.arange(masses[0] - 13 * sigma, masses[-1] + 13 * sigma, sigma / 4)
    middle = (edges[1:] + edges[:-1]) / 2
    expected = 1.5 * level * np.exp(-(middle - 1) / 2)
    if signal is not None:
        mass, events = signal
        expected = expected + events * np.exp(-0.5 * ((middle - mass) / sigma) ** 2) / 4 / 2.5066
    data = {"edges": edges.tolist(), "counts": rng.poisson(expected).astype(float).tolist()}
    points = []
    for m in masses.tolist():
        shape = {"shape": "gaussian", "mean": m, "sigma": sigma, "yield_per_unit": 1.0}
        points.append(
            {"label": f"m{m:.3f}", "mass": m, "channels": {"c": shape | {"window": [m - 0.1, m + 0.1]}}}
        )
    channel = {"name": "c", "data": data, "background": {"family": "chebyshev", "order": 2}}
    return {"format": "darksieve-search/1", "channels": [channel], "points": points} | more


WORKSPACE = {
    "channels": [
        {
            "name": "c",
            "samples": [
                {
                    "name": "s",
                    "data": [10.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {
                    "name": "b",
                    "data": [50.0],
                    "modifiers": [{"name": "u", "type": "shapesys", "data": [7.0]}],
                },
            ],
        }
    ],
    "observations": [{"name": "c", "data": [55.0]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
}


def written(folder, name, document):
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_a_count_without_nuisances_is_answered_exactly_with_the_asymptotic_beside():
    curve = answer_documents([counting(per_unit=2.0)], cls_at=2.5)
    [point] = curve.points
    assert point.method == "exact"
    assert point.observed == pytest.approx(exact_limit(6, 5.5) / 2, rel=1e-9)
    assert point.cls_observed == pytest.approx(0.148145, abs=1e-6)
    assert point.asymptotic.observed == pytest.approx(6.432314 / 2, rel=1e-4)
    assert point.best_fit == pytest.approx(0.25)
    assert curve.asimov == "postfit"
    assert curve.global_ is None


def test_a_blind_count_has_expected_limits_only():
    curve = answer_documents([counting(n=None)], method="exact")
    [point] = curve.points
    assert curve.asimov == "nominal"
    assert point.expected["0"] == pytest.approx(exact_limit(5, 5.5))
    assert (point.observed, point.best_fit, point.p0, curve.global_) == (None, None, None, None)


@pytest.mark.parametrize("constraint", ["gamma", "gaussian", "log_normal"])
def test_an_uncertain_background_is_profiled_asymptotically(constraint):
    document = counting(60, 50.0, uncertainty=7.0, constraint=constraint)
    [point] = answer_documents([document], method="asymptotic").points
    count = Count(60, 50.0, 7.0, constraint)
    assert point.observed == pytest.approx(count.asymptotic_limit(), rel=2e-4)
    assert list(point.expected.values()) == pytest.approx(count.asymptotic_expected_limits(), rel=2e-4)
    assert point.significance == pytest.approx(count.discovery_significance(), rel=1e-3)


def test_toys_of_an_uncertain_count_lie_near_the_exact_limit_of_the_known_one():
    [known] = answer_documents([counting(3, 3.0)], method="toys", n_toys=20_000).points
    assert known.method == "toys"
    assert abs(known.observed - exact_limit(3, 3.0)) < 4 * known.observed_error
    [uncertain] = answer_documents([counting(3, 3.0, uncertainty=0.9)], n_toys=10_000).points
    assert uncertain.method == "toys"
    assert uncertain.asymptotic.observed < uncertain.observed


def test_exact_limits_of_a_model_with_nuisances_are_refused():
    for document in (counting(uncertainty=1.0), scan(2), WORKSPACE):
        with pytest.raises(InputError, match="exact limits are for one count over a known background"):
            answer_documents([document], method="exact")


def test_the_threshold_of_auto_is_configurable():
    [point] = answer_documents([counting(40, 40.0)]).points
    assert point.method == "asymptotic"
    [point] = answer_documents([counting(40, 40.0)], threshold=100).points
    assert point.method == "exact"


def test_labels_are_the_documents_own_or_the_files(tmp_path):
    one = written(tmp_path, "one.json", counting())
    two = written(tmp_path, "two.json", scan(2))
    workspace = written(tmp_path, "w.json", WORKSPACE)
    patch = [{"op": "replace", "path": "/channels/0/samples/0/data/0", "value": 5.0}]
    patches = written(tmp_path, "p.json", {"patches": [{"metadata": {"name": "a"}, "patch": patch}]})
    assert [p.label for p in answer_documents([one]).points] == ["x"]
    assert [p.label for p in answer_documents([workspace]).points] == ["w"]
    assert [p.label for p in answer_documents([workspace, patches]).points] == ["w/a"]
    curve = answer_documents([two, one, workspace], method="asymptotic", look_elsewhere=False)
    assert {p.label for p in curve.points} == {"one", "two/m1.000", "two/m1.005", "w"}


def test_a_patched_workspace_scales_its_limit(tmp_path):
    patch = written(
        tmp_path, "half.json", [{"op": "replace", "path": "/channels/0/samples/0/data/0", "value": 5.0}]
    )
    [whole] = answer_documents([WORKSPACE]).points
    workspace = written(tmp_path, "w.json", WORKSPACE)
    [half] = answer_documents([workspace, patch]).points
    assert half.label == "w/half"
    assert half.observed == pytest.approx(2 * whole.observed, rel=1e-6)


def test_vetoed_points_and_points_without_signal_have_no_numbers():
    document = scan(3)
    document["points"][0] = {"label": "v", "mass": 0.9, "status": "vetoed"}
    document["points"][1]["channels"]["c"]["yield_per_unit"] = 0.0
    curve = answer_documents([document], look_elsewhere=False)
    assert [p.status for p in curve.points] == ["vetoed", "no_signal", "converged"]
    assert curve.points[0].observed is None


def test_what_is_no_document_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither a search document nor a workspace"):
        answer_documents([written(tmp_path, "a.json", {"x": 1})])
    with pytest.raises(InputError, match="did you mean 'darksieve-search/1'"):
        answer_documents([written(tmp_path, "a.json", {"format": "darksieve-serch/1"})])
    with pytest.raises(InputError, match="patch without a workspace"):
        answer_documents([written(tmp_path, "a.json", [{"op": "remove", "path": "/x"}])])
    with pytest.raises(InputError, match="confidence level 95"):
        answer_documents([counting()], confidence_level=95)
    with pytest.raises(InputError, match="has no data, but others have"):
        answer_documents([counting(), counting(n=None)])


def test_an_interrupted_scan_keeps_the_points_done(monkeypatch):
    first = answer_documents([counting()])

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(answer_module, "answer_workspace", stop)
    with pytest.raises(InterruptedScanError) as error:
        answer_documents([counting(), WORKSPACE])
    assert len(error.value.curve.points) == 1
    assert error.value.curve.points[0].observed == first.points[0].observed


def test_progress_counts_the_points():
    seen = []
    answer_documents([counting(), WORKSPACE], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_an_injected_signal_is_found_at_its_mass():
    curve = answer_documents([scan(12, level=30.0, signal=(1.03, 250.0))], look_elsewhere=True)
    best = min(curve.points, key=lambda point: point.p0)
    assert best.mass == pytest.approx(1.03, abs=0.006)
    assert best.significance > 4
    assert curve.global_.p0_min == best.p0
    assert curve.global_.p_global < 0.01


def test_windows_with_little_background_are_answered_by_toys():
    document = scan(1, level=0.3)
    [toys] = answer_documents([document], n_toys=4000).points
    assert toys.method == "toys"
    assert toys.status == "converged"
    assert toys.observed_error < 0.05 * toys.observed
    assert toys.observed == pytest.approx(toys.asymptotic.observed, rel=0.4)
    again = answer_documents([document], n_toys=4000).points[0]
    assert again == toys


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_guides_documents_can_be_answered():
    spectrum, box = (json.loads(text) for text in blocks("json"))
    assert SearchModel.parse(spectrum).points[1].mass == 0.50
    curve = answer_documents([spectrum])
    assert [point.status for point in curve.points] == ["converged", "converged"]
    assert curve.points[0].best_fit_error[1] > 0
    assert answer_documents([box]).points[0].observed == pytest.approx(7.0135, rel=1e-4)


def test_the_guides_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "mine.json", counting())
    answer_documents([counting(label="y")], confidence_level=0.90).save("more.json")
    code = blocks("python")[0]
    scope = {}
    exec(compile(code, "limits.md", "exec"), scope)
    assert [p.label for p in scope["both"].points] == ["x", "y"]
