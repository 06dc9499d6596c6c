"""Corrections of the simulation reach the limits: factors through the yields, covariance through nuisances.

The ntuples and the tables are invented.
"""

import json

import numpy as np
import pytest
import uproot

from darksieve.config_loading import load_config
from darksieve.datasets.cache import Cache
from darksieve.datasets.corrections import CorrectionTable
from darksieve.datasets.reader import SampleReader
from darksieve.errors import InputError
from darksieve.workflow.chain import run_chain
from darksieve.workflow.checks import check_search

CONFIG = """
search: corrected
luminosity_fb: 711
beams: belle
samples:
  continuum: {role: background, files: [continuum.root], luminosity_fb: 50}
  eta_c: {role: background, files: [peak.root], luminosity_fb: 2000, peaking: true}
  signal: {role: signal, files: [signal.root], mass: genM_a, n_generated: {1.5: 4000, 2.0: 4000, 2.5: 4000}}
channels:
  slow: {select: "p_K < 1.5", n_parents: 7.9e8}
  fast: {select: "p_K >= 1.5", n_parents: 7.9e8}
scan:
  observable: M_gg
  range: [1.5, 2.5]
  masses: [1.5, 1.75, 2.0, 2.5]
  background: {family: chebyshev, order: 1, window_sigma: 15}
  nuisances: {efficiency: 0.05}
  method: asymptotic
interpretation: {parameter: branching_fraction}
tracking: {enabled: false}
"""
WITH = """
corrections:
  pid: {file: pid.json, roles: [signal, background], keep: 1.0}
"""
EDGES = [0.0, 1.0, 1.5, 3.0]
VALUES = [0.9, 0.95, 1.05]


def ntuple(path, rng, n, m_gg, mass=None, first=0):
    p = np.clip(rng.gamma(3.0, 0.5, n) if mass is None else rng.normal(2.2 - 0.5 * mass, 0.4), 0.05, 2.95)
    columns = {
        "__experiment__": np.full(n, 7, np.int32),
        "__event__": (first + np.arange(n)).astype(np.uint32),
        "M_gg": m_gg,
        "p_K": p,
        "genM_a": np.full(n, np.nan) if mass is None else mass,
    }
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
        file["ntuple"].extend(columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrected")
    rng = np.random.default_rng(5)
    ntuple(folder / "continuum.root", rng, 8000, rng.uniform(1.0, 3.0, 8000))
    ntuple(folder / "peak.root", rng, 2000, rng.normal(2.05, 0.02, 2000), first=10_000)
    mass = rng.choice([1.5, 2.0, 2.5], 6000)
    ntuple(folder / "signal.root", rng, 6000, rng.normal(mass, 0.02), mass=mass, first=20_000)
    return folder


def write_table(folder, *, values=VALUES, scale=1.0):
    table = {
        "format": "darksieve-correction/1",
        "name": "kaon identification",
        "source": "illustrative",
        "axes": [{"branch": "p_K", "unit": "GeV", "edges": EDGES}],
        "values": values,
        "uncorrelated": [0.03 * scale, 0.02 * scale, 0.04 * scale],
        "correlated": {"method": [0.05 * scale, 0.03 * scale, -0.04 * scale]},
    }
    (folder / "pid.json").write_text(json.dumps(table))
    return CorrectionTable.parse(table)


@pytest.fixture
def run(folder, tmp_path):
    """Run the search: search document and expected limits by mass."""

    def do(name, text, *overrides):
        (folder / "search.yaml").write_text(text)
        run_chain(load_config(folder / "search.yaml", overrides), tmp_path / name, "scan")
        document = json.loads((tmp_path / name / "search.json").read_text())
        limits = json.loads((tmp_path / name / "limits.json").read_text())
        return document, np.array([point["expected"]["0"] for point in limits["points"]])

    return do


def test_correction_of_one_without_uncertainty_changes_nothing(folder, run):
    write_table(folder, values=[1.0, 1.0, 1.0], scale=0.0)
    plain, limits = run("plain", CONFIG)
    corrected, same = run("ones", CONFIG + WITH)
    assert corrected == plain
    np.testing.assert_array_equal(same, limits)


def test_factors_multiply_the_yields(folder, run):
    write_table(folder, values=[0.9, 0.9, 0.9], scale=0.0)
    plain, limits = run("plain", CONFIG)
    corrected, worse = run("less", CONFIG + WITH + "\n", "corrections.pid.roles=[signal]")
    for before, after in zip(plain["points"], corrected["points"], strict=True):
        for channel in ("slow", "fast"):
            ratio = (
                after["channels"][channel]["yield_per_unit"] / before["channels"][channel]["yield_per_unit"]
            )
            assert ratio == pytest.approx(0.9, rel=5e-4)  # the efficiency is a fit with binomial errors
    np.testing.assert_allclose(worse, limits / 0.9, rtol=5e-4)


def test_sizes_are_those_of_the_ntuple_and_limits_loosen_with_the_covariance(folder, run, tmp_path):
    limits = []
    for scale in (0.0, 1.0, 2.0):
        table = write_table(folder, scale=scale)
        document, expected = run(f"scale{scale}", CONFIG + WITH)
        limits.append(expected)
        if scale == 1.0:
            check_sizes(folder, table, document)
            metrics = json.loads((tmp_path / "scale1.0" / "metrics.json").read_text())["corrections"]["pid"]
            assert metrics["n_variations"] == 3
            assert metrics["fraction_of_variance_kept"] == pytest.approx(1.0)
            assert set(metrics["samples"]) == {"signal", "continuum", "eta_c"}
            p = uproot.open(f"{folder}/signal.root:ntuple")["p_K"].array(library="np")
            factors = np.array(VALUES)[np.digitize(p, EDGES) - 1]
            assert metrics["samples"]["signal"]["mean_factor"] == pytest.approx(factors.mean(), rel=1e-9)
    assert (np.diff(limits, axis=0) > 0).all()


def check_sizes(folder, table, document):
    """Against the shares of bins counted in the ntuple, without darksieve."""
    assert [n["name"] for n in document["nuisances"]] == ["efficiency", "pid_1", "pid_2", "pid_3"]
    with uproot.open(f"{folder}/signal.root:ntuple") as tree:
        p, mass = (tree[name].array(library="np") for name in ("p_K", "genM_a"))
    with uproot.open(f"{folder}/peak.root:ntuple") as tree:
        p_peak = tree["p_K"].array(library="np")
    stacked = {}
    for point in document["points"]:
        if point["mass"] == 1.75:
            continue
        for channel, entry in point["channels"].items():
            own = (mass == point["mass"]) & ((p < 1.5) == (channel == "slow"))
            weights = np.histogram(p[own], EDGES)[0] * np.array(VALUES)
            sensitivity = weights / weights.sum() / np.array(VALUES)
            sizes = np.array([entry["sizes"][f"pid_{k}"] for k in (1, 2, 3)])
            assert np.sum(sizes**2) == pytest.approx(sensitivity @ table.covariance @ sensitivity, rel=1e-9)
            stacked[point["mass"], channel] = sizes, sensitivity
            for peak in entry["background"].get("peaking", ()):
                own = (p_peak < 1.5) == (channel == "slow")
                weights = np.histogram(p_peak[own], EDGES)[0] * np.array(VALUES)
                sensitivity = weights / weights.sum() / np.array(VALUES)
                total = np.sum(np.square(list(peak["sizes"].values())))
                assert total == pytest.approx(sensitivity @ table.covariance @ sensitivity, rel=1e-9)
    (slow, of_slow), (fast, of_fast) = stacked[2.0, "slow"], stacked[2.0, "fast"]
    assert slow @ fast == pytest.approx(of_slow @ table.covariance @ of_fast, rel=1e-9), "of two channels"
    at = {point["mass"]: point["channels"]["slow"]["sizes"]["pid_1"] for point in document["points"]}
    assert at[1.75] == pytest.approx((at[1.5] + at[2.0]) / 2, rel=1e-9), "between generated masses"
    assert any(
        entry["background"].get("peaking") for p in document["points"] for entry in p["channels"].values()
    )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("corrections: {pid: {file: none.json}}", r"corrections.pid: .*none.json cannot be read"),
        (
            "corrections: {pid: {file: pid.json, samples: [sgnal]}}",
            "'sgnal' is no sample of signal or background",
        ),
        ("corrections: {pid: {file: pid.json, objects: [a]}}", "do not go together; leave out objects"),
        ("corrections: {pid: {fiel: pid.json}}", "corrections.pid.fiel: unknown key; did you mean 'file'"),
    ],
)
def test_wrong_correction_is_refused_before_any_work(folder, extra, message):
    write_table(folder)
    (folder / "wrong.yaml").write_text(CONFIG + extra)
    with pytest.raises(InputError, match=message):
        check_search(load_config(folder / "wrong.yaml"))


def test_check_says_how_much_of_the_variance_is_kept_and_names_a_missing_branch(folder):
    write_table(folder)
    (folder / "search.yaml").write_text(CONFIG + WITH)
    lines = check_search(load_config(folder / "search.yaml", ["corrections.pid.keep=0.9"]))
    [line] = [line for line in lines if line.startswith("correction pid")]
    assert "kaon identification, 3 bins, on continuum, eta_c, signal; 2 nuisances keep" in line
    assert line.endswith("the rest is one more")
    table = json.loads((folder / "pid.json").read_text())
    table["axes"][0]["branch"] = "p_k"
    (folder / "pid.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match="has no branch 'p_k'"):
        check_search(load_config(folder / "search.yaml"))


def test_second_run_and_another_luminosity_read_no_file_again(folder, run, tmp_path, monkeypatch):
    write_table(folder)
    monkeypatch.setenv("DARKSIEVE_CACHE", "off")
    uncached, limits = run("uncached", CONFIG + WITH)
    monkeypatch.setenv("DARKSIEVE_CACHE", str(tmp_path / "cache"))
    run("first", CONFIG + WITH)
    assert len(Cache(tmp_path / "cache").entries()) == 3
    monkeypatch.setattr(SampleReader, "_passes", lambda _: pytest.fail("files were read"))
    cached, same = run("second", CONFIG + WITH)
    assert cached == uncached
    np.testing.assert_array_equal(same, limits)
    _, worse = run("third", CONFIG + WITH, "luminosity_fb=2844")
    # four times the background for the same number of parents; counts of a few hundred and more
    np.testing.assert_allclose(worse / limits, 2, rtol=0.03)
