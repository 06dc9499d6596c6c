"""Negative weights and effective sample sizes in a whole run, on invented ntuples."""

import json
import logging

import numpy as np
import pytest
import uproot

from darksieve.config_loading import load_config
from darksieve.errors import InputError
from darksieve.workflow.chain import run_chain
from darksieve.workflow.weighing import tables_of_weights

CONFIG = """
search: weighed
luminosity_fb: 100
samples:
  qed: {role: background, files: [qed.root], luminosity_fb: 50, weight: w, negative_weights: rescale}
  signal: {role: signal, files: [signal.root], mass: genM_a, n_generated: {1.5: 2000, 2.5: 2000}}
scan:
  observable: M_gg
  range: [1.5, 2.5]
  masses: [1.5, 2.5]
  background: {family: chebyshev, order: 1, window_sigma: 15}
  bins_per_sigma: 1
  method: asymptotic
tracking: {enabled: false}
"""
N_BACKGROUND = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weighed")
    rng = np.random.default_rng(11)

    def write(name, n, m_gg, mass, weight):
        columns = {
            "__event__": (10**6 * (name == "signal") + np.arange(n)).astype(np.uint32),
            "M_gg": m_gg,
            "x": rng.normal(0.5 * (name == "signal"), 1, n),
            "genM_a": mass,
            "w": weight,
        }
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("ntuple", {key: values.dtype for key, values in columns.items()})
            file["ntuple"].extend(columns)

    n = N_BACKGROUND
    write("qed", n, rng.uniform(1, 3, n), np.full(n, np.nan), np.where(rng.random(n) < 0.1, -1.0, 1.0))
    mass = rng.choice([1.5, 2.5], 3000)
    write("signal", 3000, rng.normal(mass, 0.02), mass, np.ones(3000))
    return folder


def run(folder, tmp_path, *overrides, last="scan"):
    (folder / "search.yaml").write_text(CONFIG)
    run_chain(load_config(folder / "search.yaml", overrides), tmp_path / "run", last)
    return json.loads((tmp_path / "run" / "metrics.json").read_text())


def expected_limits(tmp_path):
    limits = json.loads((tmp_path / "run" / "limits.json").read_text())
    return np.array([point["expected"]["0"] for point in limits["points"]])


def test_metrics_and_report_have_effective_sizes_and_what_the_policy_changed(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "darksieve"):
        metrics = run(folder, tmp_path)
    with uproot.open(f"{folder}/qed.root:ntuple") as tree:
        w, m_gg = (tree[name].array(library="np") for name in ("w", "M_gg"))
    qed = metrics["weights"]["qed"]
    assert qed["rows"] == N_BACKGROUND
    assert qed["sum_of_weights"] == pytest.approx(2 * w.sum(), rel=1e-9)
    assert qed["effective_events"] == pytest.approx(N_BACKGROUND), "all weights are alike after rescaling"
    window = qed["windows"][3]
    inside = (m_gg >= window["low"]) & (m_gg < window["high"])
    assert (window["low"], window["high"]) == (pytest.approx(1.8), pytest.approx(1.9))
    assert window["rows"] == inside.sum()
    negative = qed["negative_weights"]
    assert (negative["policy"], negative["negative_rows"]) == ("rescale", (w < 0).sum())
    assert negative["change_of_sum"] == pytest.approx(0, abs=1e-12)
    scale = w.sum() / np.abs(w).sum()
    change = scale * np.abs(w[inside]).sum() / w[inside].sum() - 1
    assert negative["change_by_window"][3] == pytest.approx(change, rel=1e-9)
    assert "negative_weights" not in metrics["weights"]["signal"]
    sizes, changed = tables_of_weights(metrics)
    assert sizes.rows[0][:4] == ["qed", N_BACKGROUND, qed["sum_of_weights"], N_BACKGROUND]
    assert changed.rows[0][:4] == ["qed", "rescale", N_BACKGROUND, int((w < 0).sum())]
    assert "rows have a negative weight: rescale; the total changes by" in caplog.text


def test_kept_and_rescaled_weights_give_nearly_the_same_limit_and_dropped_ones_a_worse(folder, tmp_path):
    limits = {}
    for policy in ("keep", "rescale", "drop"):
        run(folder, tmp_path, f"samples.qed.negative_weights={policy}")
        limits[policy] = expected_limits(tmp_path)
    # 0.9 - 0.1 of the rows count; dropping leaves 0.9: the limit goes with the root
    np.testing.assert_allclose(limits["drop"] / limits["rescale"], np.sqrt(0.9 / 0.8), rtol=0.02)
    # some 3000 rows in a window, a tenth of them negative: its weight is known to 2.5 %, the limit to half
    np.testing.assert_allclose(limits["keep"] / limits["rescale"], 1, rtol=0.05)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["samples.qed.negative_weights=error"],
            r"say what to do with them: negative_weights: keep, drop or",
        ),
        (["samples.qed.negative_weights=keep", "scan.bins_per_sigma=60"], "add up to less than zero"),
        (
            [
                "samples.qed.negative_weights=keep",
                "classifiers=[{name: c, model: bdt, features: [x], folds: 2, options: {n_trees: 5}}]",
            ],
            "a classifier trains on weights >= 0: say negative_weights: drop or rescale",
        ),
        (
            ["samples.signal.weight=minus", "samples.signal.negative_weights=keep"],
            "has no branch 'minus'",
        ),
        (
            ["samples.qed.negative_weights=keep", "samples.qed.peaking=true"],
            "of a peak have a negative weight",
        ),
    ],
)
def test_negative_weights_are_refused_where_they_cannot_be_used(folder, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        run(folder, tmp_path, *overrides)
