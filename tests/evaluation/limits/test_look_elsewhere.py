import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.look_elsewhere import count_up_crossings, gross_vitells
from darksieve.evaluation.limits.scan_toys import (
    ToysNotShared,
    full_significances,
    linear_scores,
    scan_toys,
    share,
    throw,
)


def scan_document(n_points, level, seed=0, unbinned=False):
    sigma = 0.01
    rng = np.random.default_rng(seed)
    masses = 1 + np.arange(n_points) * sigma / 2
    edges = np.arange(masses[0] - 10 * sigma, masses[-1] + 10 * sigma, sigma / 4)
    counts = rng.poisson(level, edges.size - 1)
    data = {"edges": edges.tolist(), "counts": counts.astype(float).tolist()}
    if unbinned:
        data = {"values": rng.uniform(edges[0], edges[-1], counts.sum()).tolist()}
    points = []
    for m in masses.tolist():
        shape = {"shape": "gaussian", "mean": m, "sigma": sigma, "yield_per_unit": 1.0}
        window = [m - 8 * sigma, m + 8 * sigma]
        points.append({"label": f"m{m:.3f}", "mass": m, "channels": {"c": shape | {"window": window}}})
    channel = {"name": "c", "data": data, "background": {"family": "chebyshev", "order": 1}}
    return SearchModel.parse({"format": "darksieve-search/1", "channels": [channel], "points": points})


def test_up_crossings_are_counted_in_order_and_not_over_gaps():
    z = [0.0, 1.5, 0.5, 1.2, np.nan, 2.0, 0.0]
    assert count_up_crossings(z) == 2
    assert count_up_crossings([z, [0.0] * 7]).tolist() == [2, 0]


def test_gross_vitells_is_the_published_one_and_capped():
    p, error = gross_vitells(4.0, 10.0, 1.0)
    assert p == pytest.approx(5.562515e-3, rel=1e-5)
    assert error == pytest.approx(0.1 * (p - 3.167e-5), rel=1e-3)
    assert gross_vitells(1.5, 30.0)[0] == 1.0


@pytest.fixture(scope="module")
def toys_of_scan():
    scan = share(scan_document(25, 20.0))
    toys = throw(scan, 400, 1, 0)
    return scan, toys, linear_scores(scan, toys)


def test_linear_scores_are_standard_normal_under_the_background(toys_of_scan):
    _, toys, z = toys_of_scan
    one = z[:, ::8]  # points far enough apart
    n = one.size
    # the spectrum that is thrown is a patchwork of the windows' fits, so means differ from 0 by their spread
    assert abs(one.mean()) < 0.3
    assert abs((one - one.mean(axis=0)).std() - 1) < 4 / np.sqrt(2 * n / 2)
    assert len(toys) == len(z)


def test_the_linear_score_is_near_the_full_fit(toys_of_scan):
    scan, toys, z = toys_of_scan
    toy, point = np.nonzero(z > 1.5)
    full = full_significances(scan, toys, toy, point)
    assert np.isfinite(full).all()
    assert np.abs(full - z[toy, point]).max() < 0.7
    assert np.std(full - z[toy, point]) < 0.2


def test_the_screen_finds_the_p_value_of_full_fits(toys_of_scan):
    scan, toys, z = toys_of_scan
    toy, point = (grid.ravel() for grid in np.indices(z.shape))
    largest = full_significances(scan, toys, toy, point).reshape(z.shape).max(axis=1)
    model = scan_document(25, 20.0)
    screened = scan_toys(model, n_toys=400, seed=1)
    assert screened.n_above == int(np.sum(largest >= screened.significance))
    assert screened.n_fits < z.size


def test_the_same_seed_gives_the_same_toys_for_any_number_of_threads():
    model = scan_document(8, 20.0)
    assert scan_toys(model, n_toys=300, seed=5, threads=1) == scan_toys(model, n_toys=300, seed=5, threads=2)


def test_unbinned_scans_share_fine_bins():
    found = scan_toys(scan_document(8, 20.0, unbinned=True), n_toys=300, seed=2)
    assert 0 < found.p_global <= 1


def test_documents_that_share_no_spectrum_fall_back_to_up_crossings():
    points = [
        {"label": str(i), "mass": float(i), "channels": {"c": {"yield_per_unit": 1.0}}} for i in range(2)
    ]
    channel = {"name": "c", "data": {"counts": [9]}, "background": {"family": "known", "yield": 5.0}}
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    with pytest.raises(ToysNotShared, match="counts instead of scanning"):
        scan_toys(SearchModel.parse(document))
    excess = answer_documents([document]).global_
    assert excess.method == "gross_vitells"
    assert "no toys of the scan" in excess.note
    assert excess.p0_min <= excess.p_global <= 1


@pytest.mark.slow
def test_global_p_values_are_uniform_under_the_background():
    # 40 data sets of one scan: the p-value's distribution against the uniform one
    p = [scan_toys(scan_document(10, 20.0, seed=s), n_toys=500, seed=s).p_global for s in range(40)]
    distance = np.abs(np.sort(p) - (np.arange(40) + 0.5) / 40).max()
    assert distance < 1.63 / np.sqrt(40)  # Kolmogorov, 1 %


@pytest.mark.slow
def test_the_benchmark_measures_its_figure():
    path = Path(__file__).parents[3] / "benchmarks" / "look_elsewhere.py"
    spec = importlib.util.spec_from_file_location("look_elsewhere_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    figures = module.measure(n_toys=1000, n_masses=60)
    assert {figure["area"] for figure in figures} == {"limits"}
    assert all(
        set(figure) >= {"name", "value", "bar", "peer", "ratio", "command", "passed"} for figure in figures
    )
