"""A shared nuisance whose size differs from point to point and from channel to channel."""

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import upper_limits
from darksieve.evaluation.limits.search_answer import as_count

EDGES = np.linspace(0.0, 1.2, 13)
SHAPE = np.exp(-0.5 * ((EDGES[:-1] + 0.05 - 0.55) / 0.1) ** 2)
SLOPE = 60 * np.exp(-EDGES[:-1])
COUNTS = {"a": [67, 55, 41, 52, 45, 53, 39, 31, 28, 29, 24, 20], "b": [6, 9, 4, 7, 6, 9, 5, 2, 6, 3, 2, 2]}
SCALE = {"a": 1.0, "b": 0.12}  # of the background
YIELD = {"a": 1.0, "b": 0.4}
NUISANCES = [
    {"name": "pid_1", "on": "yield", "kind": "log_normal"},
    {"name": "pid_2", "on": "yield", "kind": "linear"},
]
SIZES = {"a": {"pid_1": 0.25, "pid_2": -0.1}, "b": {"pid_1": -0.3, "pid_2": 0.2}}
OF_PEAK = {"a": {"pid_1": 0.2}, "b": {"pid_1": -0.15, "pid_2": 0.1}}


def signal(channel, sizes, peak_sizes):
    peak = {"name": f"peak_{channel}", "shape": "template", "edges": EDGES.tolist()}
    peak |= {"values": SHAPE[::-1].tolist(), "yield": 20.0 * SCALE[channel], "sizes": peak_sizes}
    background = {"family": "template", "edges": EDGES.tolist(), "uncertainty": "free", "peaking": [peak]}
    return {
        "window": [0.0, 1.2],
        "yield_per_unit": YIELD[channel],
        "shape": "template",
        "edges": EDGES.tolist(),
        "values": SHAPE.tolist(),
        "sizes": sizes,
        "background": background | {"values": (SLOPE * SCALE[channel]).tolist()},
    }


def document(sizes=(SIZES,), of_peak=OF_PEAK, nuisances=NUISANCES):
    return {
        "format": "darksieve-search/1",
        "channels": [
            {"name": name, "data": {"edges": EDGES.tolist(), "counts": counts}}
            for name, counts in COUNTS.items()
        ],
        "points": [
            {
                "label": f"p{i}",
                "channels": {c: signal(c, of_point[c], of_peak[c] if of_peak else {}) for c in COUNTS},
            }
            for i, of_point in enumerate(sizes)
        ],
        "nuisances": nuisances,
    }


def limits_of(content):
    return upper_limits(compile_search(SearchModel.parse(content)))


def _modifiers(nominal, sizes):
    found = []
    if "pid_1" in sizes:
        high = 1 + sizes["pid_1"]
        found.append({"name": "pid_1", "type": "normsys", "data": {"hi": high, "lo": 1 / high}})
    if "pid_2" in sizes:
        ends = {
            "hi_data": (nominal * (1 + sizes["pid_2"])).tolist(),
            "lo_data": (nominal * (1 - sizes["pid_2"])).tolist(),
        }
        found.append({"name": "pid_2", "type": "histosys", "data": ends})
    return found


def test_limits_are_those_of_pyhf():
    """Two channels with opposite signs, on the signal and on peaking backgrounds: pyhf 0.7, own workspace."""
    pyhf = pytest.importorskip("pyhf")
    channels = []
    for name in COUNTS:
        nominal = YIELD[name] * SHAPE / SHAPE.sum()
        peak = 20.0 * SCALE[name] * SHAPE[::-1] / SHAPE.sum()
        free = [{"name": f"free_{name}", "type": "normfactor", "data": None}]
        mu = [{"name": "mu", "type": "normfactor", "data": None}]
        channels.append(
            {
                "name": name,
                "samples": [
                    {
                        "name": "signal",
                        "data": nominal.tolist(),
                        "modifiers": mu + _modifiers(nominal, SIZES[name]),
                    },
                    {"name": "smooth", "data": (SLOPE * SCALE[name]).tolist(), "modifiers": free},
                    {"name": "peak", "data": peak.tolist(), "modifiers": _modifiers(peak, OF_PEAK[name])},
                ],
            }
        )
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-5))
    model = pyhf.Model(
        {
            "channels": channels,
            "parameters": [{"name": "mu", "bounds": [[0, 400]], "inits": [10.0]}],
        },
        poi_name="mu",
        modifier_settings={"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}},
    )
    data = [n for name in model.config.channels for n in COUNTS[name]] + model.config.auxdata
    observed, expected = pyhf.infer.intervals.upper_limits.toms748_scan(data, model, 1.0, 150.0, rtol=1e-5)
    ours = limits_of(document())
    np.testing.assert_allclose(ours.observed[0], observed, rtol=3e-4)
    np.testing.assert_allclose(ours.expected[0], expected, rtol=3e-4)
    without = limits_of(document(of_peak=None, nuisances=NUISANCES))
    assert abs(without.observed[0] / ours.observed[0] - 1) > 1e-3, "the peaks' sizes do nothing"


def test_same_size_everywhere_is_the_nuisance_with_that_size():
    common = [{"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.15}]
    at_points = [{"name": "efficiency", "on": "yield", "kind": "log_normal"}]
    sizes = {name: {"efficiency": 0.15} for name in COUNTS}
    plain = limits_of(document([{"a": {}, "b": {}}], None, common))
    ours = limits_of(document([sizes], None, at_points))
    np.testing.assert_array_equal(ours.expected, plain.expected)
    np.testing.assert_array_equal(ours.observed, plain.observed)


def test_size_at_a_point_goes_before_the_size_of_the_nuisance():
    common = [{"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.4}]
    zero = {name: {"efficiency": 0.0} for name in COUNTS}
    without = limits_of(document([{"a": {}, "b": {}}], None, []))
    np.testing.assert_allclose(
        limits_of(document([zero], None, common)).expected, without.expected, rtol=1e-9
    )


def test_limits_loosen_with_the_size_and_points_of_a_batch_do_not_mix():
    steps = [0.0, 0.1, 0.2, 0.4]
    points = [{name: {"pid_1": size, "pid_2": 0.0} for name in COUNTS} for size in steps]
    together = limits_of(document(points, None))
    assert (np.diff(together.expected[:, 2]) > 0).all()
    for i, point in enumerate(points):
        alone = limits_of(document([point], None))
        np.testing.assert_allclose(together.expected[i], alone.expected[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "nuisances", "message"),
    [
        ({"pid": 0.1}, NUISANCES, r"sizes.pid: no nuisance 'pid' on the yield.*did you mean 'pid_"),
        ({"pid_1": -1.0}, NUISANCES, "a log-normal size must be above -1"),
        ({"pid_1": 0.1}, NUISANCES, r"nuisances\[1\]: no 'size', neither here nor in 'sizes'"),
        (
            {"pid_1": 0.1},
            [NUISANCES[0] | {"channels": ["b"]}],
            "no nuisance 'pid_1' on the yield of this channel",
        ),
        (
            {"w": 0.1},
            [{"name": "w", "on": "sigma", "kind": "linear", "size": 0.1}],
            "no nuisance 'w' on the yield",
        ),
    ],
)
def test_size_that_belongs_to_no_nuisance_and_nuisance_without_size_are_refused(sizes, nuisances, message):
    with pytest.raises(InputError, match=message):
        SearchModel.parse(document([{"a": sizes, "b": {}}], None, nuisances))


def test_document_with_sizes_is_the_same_after_saving_and_loading(tmp_path):
    model = SearchModel.parse(document())
    model.save(tmp_path / "search.json")
    assert SearchModel.load(tmp_path / "search.json") == model


def test_count_with_a_size_is_no_count_without_nuisances():
    def counting(sizes, size=None):
        nuisance = {"name": "e", "on": "yield", "kind": "log_normal", "size": size}
        return SearchModel.parse(
            {
                "format": "darksieve-search/1",
                "channels": [
                    {"name": "c", "data": {"counts": [6]}, "background": {"family": "known", "yield": 5.5}}
                ],
                "points": [{"label": "x", "channels": {"c": {"yield_per_unit": 1.0, "sizes": sizes}}}],
                "nuisances": [nuisance],
            }
        )

    with_size = counting({"e": 0.1})
    assert as_count(with_size, with_size.points[0]) is None
    without = counting({"e": 0.0}, 0.1)
    assert as_count(without, without.points[0]) == (6.0, 1.0, 5.5)
