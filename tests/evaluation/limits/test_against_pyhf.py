"""The engine against pyhf 0.7 on models that both express exactly."""

import numpy as np
import pytest

from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import upper_limits

pyhf = pytest.importorskip("pyhf")

PEAK = {
    "shape": "double_sided_crystal_ball",
    "mean": 0.0,
    "sigma": 1.0,
    "alpha_left": 1.4,
    "n_left": 4,
    "alpha_right": 1.8,
    "n_right": 6,
    "window": [-12.5, 12.5],
    "yield_per_unit": 1.0,
}


def batch_of(counts, means):
    edges = np.linspace(-12.5, 12.5, counts.size + 1)
    model = SearchModel.parse(
        {
            "format": "darksieve-search/1",
            "channels": [
                {
                    "name": "c",
                    "data": {"edges": edges.tolist(), "counts": counts.tolist()},
                    "background": {"family": "bernstein", "order": 3},
                }
            ],
            "points": [{"label": str(m), "channels": {"c": PEAK | {"mean": float(m)}}} for m in means],
            "nuisances": [
                {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.08},
                {"name": "width", "on": "sigma", "kind": "linear", "size": 0.10},
                {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
            ],
        }
    )
    return compile_search(model, morphing="linear")


def pyhf_model(batch, p):
    """The same likelihood as a HistFactory workspace: one free normfactor sample per Bernstein polynomial."""
    begin, end = batch.rows.start[p]
    size = int(end - begin)
    origin = int(batch.rows.column_start[p, 0])
    s, d_w, d_m, *basis = batch.rows.columns[origin : origin + 7 * size].reshape(7, size)
    scale = batch.rows.counts[begin:end].sum() / 4
    signal_scale = 50.0
    signal = {
        "name": "signal",
        "data": (signal_scale * s).tolist(),
        "modifiers": [
            {"name": "mu", "type": "normfactor", "data": None},
            {"name": "efficiency", "type": "normsys", "data": {"hi": 1.08, "lo": 1 / 1.08}},
            *(
                {
                    "name": name,
                    "type": "histosys",
                    "data": {
                        "hi_data": (signal_scale * (s + d)).tolist(),
                        "lo_data": (signal_scale * (s - d)).tolist(),
                    },
                }
                for name, d in (("width", d_w), ("scale", d_m))
            ),
        ],
    }
    polynomials = [
        {
            "name": f"b{k}",
            "data": (scale * row).tolist(),
            "modifiers": [{"name": f"beta{k}", "type": "normfactor", "data": None}],
        }
        for k, row in enumerate(basis)
    ]
    parameters = [{"name": "mu", "bounds": [[0.0, 20.0]], "inits": [0.5]}]
    parameters += [{"name": f"beta{k}", "bounds": [[0.0, 20.0]], "inits": [1.0]} for k in range(4)]
    workspace = {
        "version": "1.0.0",
        "channels": [{"name": "c", "samples": [signal, *polynomials]}],
        "observations": [{"name": "c", "data": batch.rows.counts[begin:end].tolist()}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
    }
    model = pyhf.Workspace(workspace).model(
        modifier_settings={"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    )
    return model, batch.rows.counts[begin:end].tolist() + model.config.auxdata, signal_scale


@pytest.mark.slow
@pytest.mark.parametrize("n_events", [5000, 60])
def test_cls_and_limits_agree_to_a_few_parts_in_ten_thousand(n_events):
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(strategy=1, tolerance=0.001))
    rng = np.random.default_rng(n_events)
    counts = rng.poisson(n_events / 75 * np.linspace(1.3, 0.7, 75)).astype(float)
    batch = batch_of(counts, [-3.0, 0.0, 4.0])
    limits = upper_limits(batch)
    for p in range(batch.n_problems):
        model, data, scale = pyhf_model(batch, p)
        # CLs at our limits: pyhf's own root finder would add its tolerance
        for k, mu in ((None, limits.observed[p]), (1, limits.expected[p, 1]), (2, limits.expected[p, 2])):
            observed, bands = pyhf.infer.hypotest(
                mu / scale, data, model, test_stat="qtilde", return_expected_set=True
            )
            cls = float(observed if k is None else bands[k])
            # d ln CLs / d ln μ is about −4 at the limit: 1.2e-3 of CLs is 3e-4 of the limit
            assert cls == pytest.approx(0.05, rel=1.2e-3)
