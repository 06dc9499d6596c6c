import copy
import json
import math

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.components import PolynomialBackground
from darksieve.evaluation.limits.document import SearchModel, kept_bins

SIGNAL = {
    "window": [0.4125, 0.5875],
    "yield_per_unit": 1.0,
    "shape": "double_sided_crystal_ball",
    "mean": 0.5,
    "sigma": 0.007,
    "alpha_left": 1.4,
    "n_left": 4,
    "alpha_right": 1.8,
    "n_right": 6,
}
DOCUMENT = {
    "format": "darksieve-search/1",
    "parameter": {"name": "signal events", "unit": "1"},
    "channels": [
        {"name": "c", "data": {"values": [0.4228, 0.4620]}, "background": {"family": "exponential"}}
    ],
    "points": [{"label": "m0.5", "mass": 0.5, "channels": {"c": SIGNAL}}],
    "nuisances": [
        {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.08},
        {"name": "width", "on": "sigma", "kind": "linear", "size": 0.10},
        {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
    ],
}


def changed(**changes):
    """The document with changes of the signal, the channel or itself, by dotted path."""
    document = copy.deepcopy(DOCUMENT)
    places = {
        "signal": document["points"][0]["channels"]["c"],
        "channel": document["channels"][0],
        "document": document,
        "nuisance": document["nuisances"][0],
    }
    for where, change in changes.items():
        for key, value in change.items():
            if value is None:
                del places[where][key]
            else:
                places[where][key] = value
    return document


def test_a_document_is_the_same_after_saving_and_loading(tmp_path):
    model = SearchModel.parse(DOCUMENT)
    model.save(tmp_path / "search.json")
    assert SearchModel.load(tmp_path / "search.json") == model
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]


@pytest.mark.parametrize(
    ("changes", "place", "mend"),
    [
        ({"signal": {"sgima": 1.0}}, "points[0].channels.c.sgima", "did you mean 'sigma'"),
        ({"signal": {"sigma": None}}, "points[0].channels.c.sigma", "must be given"),
        ({"signal": {"sigma": math.nan}}, "points[0].channels.c.sigma", "finite"),
        ({"signal": {"sigma": -1.0}}, "points[0].channels.c.sigma", "greater than 0"),
        ({"signal": {"sigma": "wide"}}, "points[0].channels.c.sigma", "'wide'"),
        ({"signal": {"shape": "gausian"}}, "points[0].channels.c", "did you mean 'gaussian'"),
        ({"signal": {"shape": None}}, "points[0].channels.c", "'shape'"),
        ({"signal": {"window": [0.6, 0.4]}}, "points[0].channels.c.window", "low < high"),
        (
            {"signal": {"yield_per_unit": -1.0}},
            "points[0].channels.c.yield_per_unit",
            "greater than or equal",
        ),
        (
            {"channel": {"background": {"family": "chebychev", "order": 2}}},
            "channels[0].background",
            "'chebyshev'",
        ),
        (
            {"channel": {"background": {"family": "chebyshev"}}},
            "channels[0].background.order",
            "must be given",
        ),
        ({"channel": {"background": None}}, "points[0].channels.c", "no background"),
        ({"channel": {"data": {"values": []}}}, "points[0].channels.c", "no events"),
        ({"channel": {"data": None}}, "points[0].channels.c.background", "'yield' and 'coefficients'"),
        (
            {"channel": {"data": {"edges": [0, 1, 1], "counts": [1, 2]}}},
            "channels[0].data.edges[2]",
            "increase",
        ),
        ({"channel": {"data": {"edges": [0, 1, 2], "counts": [1]}}}, "channels[0].data.counts", "per bin, 2"),
        ({"channel": {"data": {"edges": [0, 1, 2], "counts": [1, -1]}}}, "channels[0].data.counts[1]", "-1"),
        (
            {"channel": {"data": {"edges": [0, 1, 2], "counts": [1, 3]}}},
            "points[0].channels.c.window",
            "whole bin",
        ),
        ({"channel": {"data": {"counts": [1, 2]}}}, "channels[0].data.counts", "without edges"),
        ({"channel": {"name": "d"}}, "points[0].channels.c", "no such channel"),
        ({"document": {"chanels": []}}, "chanels", "did you mean 'channels'"),
        ({"document": {"format": "darksieve-search/2"}}, "format", "darksieve-search/1"),
        ({"document": {"points": []}}, "points", "no point"),
        ({"nuisance": {"on": "yeild"}}, "nuisances[0].on", "did you mean 'yield'"),
        ({"nuisance": {"size": None}}, "nuisances[0]", "'size'"),
        ({"nuisance": {"channels": ["e"]}}, "nuisances[0].channels[0]", "no such channel"),
    ],
)
def test_a_fault_names_its_place_and_its_mend(changes, place, mend):
    with pytest.raises(InputError) as error:
        SearchModel.parse(changed(**changes), source="mine.json")
    assert f"mine.json: {place}" in str(error.value)
    assert mend in str(error.value)


def template(edges, values):
    return {
        "window": [0.45, 0.55],
        "yield_per_unit": 1.0,
        "shape": "template",
        "edges": edges,
        "values": values,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -0.5, 1.0], "negative bin -0.5"),
        ([0.0, 0.0, 0.0], "every bin of the template is zero"),
        ([1.0, 0.0, 0.0], "zero everywhere in the window"),
        ([1.0, 2.0], "2 values for 4 edges"),
    ],
)
def test_signal_templates_that_cannot_be_fitted_are_refused(values, message):
    document = changed()
    document["points"][0]["channels"]["c"] = template([0.3, 0.4, 0.5, 0.6], values)
    with pytest.raises(InputError, match=message):
        SearchModel.parse(document)


def test_labels_and_channel_names_are_unique():
    document = changed()
    document["points"] *= 2
    with pytest.raises(InputError, match=r"points\[1\].label: 'm0.5' twice"):
        SearchModel.parse(document)


def test_blind_backgrounds_say_what_they_expect_and_stay_positive():
    good = {"family": "chebyshev", "order": 2, "yield": 100.0, "coefficients": [-0.5, 0.1]}
    model = SearchModel.parse(changed(channel={"data": None, "background": good}))
    assert model.blind
    with pytest.raises(InputError, match="negative at u = 1"):
        SearchModel.parse(changed(channel={"data": None, "background": good | {"coefficients": [-1.5, 0.0]}}))
    with pytest.raises(InputError, match="3 coefficients; this family takes 2"):
        SearchModel.parse(changed(channel={"data": None, "background": good | {"coefficients": [0, 0, 0]}}))


def test_edges_without_counts_keep_a_document_blind():
    background = {"family": "bernstein", "order": 1, "yield": 10.0, "coefficients": [1.0, 2.0]}
    edges = np.linspace(0.4, 0.6, 21).tolist()
    model = SearchModel.parse(changed(channel={"data": {"edges": edges}, "background": background}))
    assert model.blind
    assert isinstance(model.channels[0].background, PolynomialBackground)
    assert model.channels[0].background.n_coefficients == 2


def test_a_channel_without_data_among_others_is_refused():
    document = changed()
    document["channels"].append({"name": "d", "background": {"family": "known", "yield": 1.0}})
    with pytest.raises(InputError, match=r"channels\[1\]: no data"):
        SearchModel.parse(document)


def test_a_window_keeps_the_bins_wholly_inside_and_none_that_touch_an_exclusion():
    edges = np.arange(11.0)
    assert np.flatnonzero(kept_bins(edges, (1.5, 8.0))).tolist() == [2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(kept_bins(edges, (1.0, 8.0), [(3.5, 5.0)])).tolist() == [1, 2, 5, 6, 7]
    assert not kept_bins(edges, (1.2, 1.8)).any()


def test_data_in_a_file_are_read_from_the_documents_folder(tmp_path):
    uproot = pytest.importorskip("uproot")
    values = np.array([0.45, 0.46, 0.5, 0.7])
    with uproot.recreate(tmp_path / "d.root") as file:
        file.mktree("t", {"M": "f8", "q": "i4"})
        file["t"].extend({"M": values, "q": np.array([1, 0, 1, 1], np.int32)})
    data = {"file": "d.root", "tree": "t", "branch": "M", "select": "q == 1"}
    (tmp_path / "s.json").write_text(json.dumps(changed(channel={"data": data})))
    assert SearchModel.load(tmp_path / "s.json").channels[0].data.values == (0.45, 0.5, 0.7)


def test_a_file_that_is_no_json_or_is_not_there_is_an_input_error(tmp_path):
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        SearchModel.load(tmp_path / "s.json")
    with pytest.raises(InputError, match="cannot be read"):
        SearchModel.load(tmp_path / "t.json")


def test_a_scan_of_1300_points_in_four_channels_is_loaded_whole(tmp_path):
    document = changed()
    edges = np.linspace(0, 2000, 5001).tolist()
    data = {"edges": edges, "counts": [3.0] * 5000}
    document["channels"] = [
        {"name": f"c{i}", "data": data, "background": {"family": "chebyshev", "order": 3}} for i in range(4)
    ]
    document["points"] = [
        {"label": str(i), "channels": {f"c{j}": SIGNAL | {"window": [i, i + 150]} for j in range(4)}}
        for i in range(1300)
    ]
    (tmp_path / "s.json").write_text(json.dumps(document))
    model = SearchModel.load(tmp_path / "s.json")
    assert [point.label for point in model.points] == [str(i) for i in range(1300)]
    for i, point in enumerate(model.points):
        assert {name: entry.window for name, entry in point.channels.items()} == {
            f"c{j}": (i, i + 150) for j in range(4)
        }
