"""A scan that was interrupted goes on where it stopped, with the numbers of one that was not."""

import json

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits import search_answer
from darksieve.evaluation.limits.answer import InterruptedScanError, answer_documents
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.hepdata import save_hepdata


def scan(masses=(0.8, 0.9, 1.0, 1.1, 1.2), level=2.0, label="m{}"):
    edges = np.linspace(0, 2, 81)
    counts = np.random.default_rng(1).poisson(level, 80).astype(float).tolist()
    shape = {"shape": "gaussian", "sigma": 0.05, "window": [0.2, 1.8], "yield_per_unit": 1.0}
    points = [{"label": label.format(m), "mass": m, "channels": {"c": shape | {"mean": m}}} for m in masses]
    points.append({"label": "veto", "mass": 1.5, "status": "vetoed"})
    background = {"family": "chebyshev", "order": 1}
    channel = {"name": "c", "data": {"edges": edges.tolist(), "counts": counts}, "background": background}
    return {"format": "darksieve-search/1", "channels": [channel], "points": points}


class Stopper:
    """Presses Ctrl-C after so many points."""

    def __init__(self, n):
        self.n = n

    def __call__(self, done, in_all):
        if done >= self.n:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["asymptotic", "toys"])
def test_an_interrupted_scan_continues_to_the_same_numbers(method, tmp_path, monkeypatch):
    options = {"method": method, "n_toys": 400, "look_elsewhere": False}
    whole = answer_documents([scan()], **options)
    monkeypatch.setattr(search_answer, "PORTION", 2)
    with pytest.raises(InterruptedScanError) as stopped:
        answer_documents([scan()], progress=Stopper(2), **options)
    stopped.value.curve.save(tmp_path / "part.json")
    part = LimitCurve.load(tmp_path / "part.json")
    labels = [point["label"] for point in scan()["points"]]
    assert part.missing(labels) == ("m1.0", "m1.1", "m1.2", "veto")
    answered = []
    real = search_answer._answer_point

    def counted(model, i, *others):
        answered.append(model.points[i].label)
        return real(model, i, *others)

    monkeypatch.setattr(search_answer, "_answer_point", counted)
    again = answer_documents([scan()], known=part, **options)
    assert answered == ["m1.0", "m1.1", "m1.2"]
    assert again == whole


def test_toys_that_are_done_outlive_an_interruption_in_the_same_portion():
    with pytest.raises(InterruptedScanError) as stopped:
        answer_documents([scan()], method="toys", n_toys=300, progress=Stopper(1), look_elsewhere=False)
    assert [point.label for point in stopped.value.curve.points] == ["m0.8"]


def test_points_can_be_added_to_a_scan():
    first = answer_documents([scan((0.8, 1.2), level=50)])
    both = answer_documents([scan((0.8, 1.0, 1.2), level=50)], known=first)
    assert both.point("m0.8") == first.point("m0.8")
    assert both == answer_documents([scan((0.8, 1.0, 1.2), level=50)])
    assert both.global_ is not None


def test_patches_of_a_workspace_are_not_answered_twice(tmp_path):
    from darksieve.evaluation.limits.document import SearchModel
    from darksieve.evaluation.limits.pyhf_export import export_patchset

    paths = [tmp_path / "workspace.json", tmp_path / "patches.json"]
    for path, document in zip(paths, export_patchset(SearchModel.parse(scan(level=50))), strict=True):
        path.write_text(json.dumps(document))
    whole = answer_documents(paths, method="asymptotic", look_elsewhere=False)
    part = whole.model_copy(update={"points": whole.points[:3]})
    counted = []
    again = answer_documents(
        paths, method="asymptotic", known=part, look_elsewhere=False, progress=lambda *n: counted.append(n)
    )
    assert again == whole
    assert counted == [(4, 5), (5, 5)]


def test_an_answer_to_another_question_is_refused():
    known = answer_documents([scan((1.0,), level=50)], confidence_level=0.9)
    with pytest.raises(InputError, match="differ in confidence_level"):
        answer_documents([scan((1.0,), level=50)], known=known)


def test_hepdata_tables_hold_limits_bands_p_values_and_best_fits(tmp_path):
    yaml = pytest.importorskip("yaml")
    curve = answer_documents([scan(level=50)], look_elsewhere=False)
    save_hepdata(curve, tmp_path)
    limits = yaml.safe_load((tmp_path / "limits.yaml").read_text())
    observed, expected = limits["dependent_variables"]
    n = len(curve.points) - 1  # without the veto
    for values in (observed["values"], expected["values"]):
        assert len(values) == n
    band = {e["label"]: e["asymerror"] for e in expected["values"][0]["errors"]}
    first = curve.points[0]
    assert first.expected["0"] + band["2 sigma"]["plus"] == pytest.approx(first.expected["2"])
    assert first.expected["0"] + band["1 sigma"]["minus"] == pytest.approx(first.expected["-1"])
    p_values = yaml.safe_load((tmp_path / "p_values.yaml").read_text())["dependent_variables"]
    assert p_values[0]["values"][0]["value"] == first.p0
    assert p_values[1]["values"][0]["errors"][0]["asymerror"]["plus"] == first.best_fit_error[1]
