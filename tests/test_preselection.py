"""Cuts on columns that are chosen together with those on the score, from the config to what is applied."""

import json

import numpy as np
import pytest
import yaml

from darksieve.config_loading import load_config, validate
from darksieve.errors import InputError
from darksieve.workflow.checks import check_search

CONFIG = """
search: preselected
luminosity_fb: 1
samples:
  background: {role: background, files: [background.root], luminosity_fb: 1}
  signal: {role: signal, files: [signal.root], mass: genM, n_generated: 8000, mass_range: [1, 3]}
candidates: {columns: {heavier: "M + 1", wrong: "genM - M"}}
channels:
  pi: {select: "is_pi > 0.5", n_parents: 1.0e7}
  K:  {select: "is_pi < 0.5", n_parents: 1.0e7}
classifiers:
  - {name: shape, model: bdt, features: [shape], folds: 2, options: {n_trees: 30, max_depth: 3}}
working_points:
  kind: categories
  n_categories: 2
  preselection:
    chi2: {keep: below, high: 30}
    kaonID: {low: 0.2, high: 0.9}
scan: {observable: M, range: [1.5, 2.5], masses: [1.7, 2.0, 2.3], method: asymptotic,
       background: {family: chebyshev, order: 1, window_sigma: 10}}
interpretation: {parameter: branching_fraction}
tracking: {enabled: false}
"""


def write(path, n, first, *, signal):
    import uproot

    rng = np.random.default_rng(first)
    gen = rng.uniform(1, 3, n)
    columns = {
        "__event__": (first + np.arange(n)).astype(np.uint32),
        "M": gen + rng.normal(0, 0.02, n) if signal else rng.uniform(0.8, 3.2, n),
        "shape": rng.normal(1.5 * signal, 1, n),
        "chi2": rng.chisquare(5, n) * (1 if signal else 4),
        "kaonID": rng.beta(4, 1, n) if signal else rng.beta(1, 2, n),
        "is_pi": rng.integers(0, 2, n).astype(float),
        "isSignal": np.full(n, float(signal)),
        "genM": gen,
    }
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
        file["ntuple"].extend(columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("preselection")
    write(path / "background.root", 12_000, 1, signal=False)
    write(path / "signal.root", 8_000, 200_000, signal=True)
    (path / "search.yaml").write_text(CONFIG, encoding="utf-8")
    return path


def test_a_good_preselection_passes_the_check(folder, monkeypatch):
    monkeypatch.chdir(folder)
    check_search(load_config(folder / "search.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kaonIDD={low: 0.2}", r"has no branch 'kaonIDD'; did you mean 'kaonID'"),
        ("isSignal={}", r"working_points\.preselection\.isSignal: 'isSignal' is known in simulation only"),
        ("wrong={}", r"preselection\.wrong: 'genM' is known in simulation only"),
        ("M={}", r"preselection\.M: 'M' is scanned.*blind"),
        ("heavier={}", r"preselection\.heavier: 'M' is scanned"),
        ("shape={keep: left}", r"preselection\.shape\.keep"),
        ("shape={n: 7}", r"preselection\.shape\.n: unknown key"),
        ("kaonID={low: 0.9, high: 0.2}", "low is 0.9 and high 0.2: low has to lie below high"),
    ],
)
def test_what_cannot_be_cut_on_is_refused_before_any_event(folder, monkeypatch, override, message):
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=message):
        check_search(load_config(folder / "search.yaml", [f"working_points.preselection.{override}"]))


def test_a_preselection_needs_a_score_and_another_name_than_it(folder):
    document = yaml.safe_load(CONFIG)
    with pytest.raises(InputError, match="there is no classifier"):
        validate(document | {"classifiers": []})
    document["classifiers"][0]["name"] = "chi2"
    with pytest.raises(InputError, match=r"preselection\.chi2: a classifier has that name"):
        validate(document)


def test_columns_that_no_one_may_see_are_not_cut_on(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"preselection\.kaonID: .*matches 'kaon\*'"):
        check_search(load_config(folder / "search.yaml", ["never_features=[kaon*]"]))


@pytest.mark.slow
@pytest.mark.long
def test_what_is_chosen_is_what_is_scanned_written_and_applied(folder, monkeypatch):
    import uproot

    from darksieve.inference import apply_bundle
    from darksieve.workflow.candidates_file import write_candidates
    from darksieve.workflow.chain import run_chain

    monkeypatch.chdir(folder)
    config = load_config(folder / "search.yaml")
    run = folder / "run"
    run_chain(config, run)
    document = json.loads((run / "working_points.json").read_text())
    for boundaries in document["boundaries"].values():
        gates = boundaries["gates"]
        assert gates["variables"] == {"chi2": "below", "kaonID": "above"}
        chi2, kaon = (np.array(gates["edges"][name]) for name in ("chi2", "kaonID"))
        assert ((chi2 > 5) & (chi2 <= 30)).all()
        assert ((kaon >= 0.2) & (kaon <= 0.9)).all()
    # without the cuts the limits are worse: one column tells what the score does not know
    free = load_config(folder / "search.yaml", ["working_points.preselection={}"])
    run_chain(free, folder / "free")
    with_cuts, without = (
        [p["expected"]["0"] for p in json.loads((path / "limits.json").read_text())["points"]]
        for path in (run, folder / "free")
    )
    assert max(np.array(with_cuts) / without) < 0.9

    write_candidates(config, run, folder / "candidates.root")
    apply_bundle(run / "bundles" / "shape", ["signal.root"], folder / "applied.root")
    with uproot.open(folder / "candidates.root") as file:
        names = ["__event__", "category_pi", "category_K", "chi2", "kaonID", "is_pi"]
        tree = file[file.keys()[0]].arrays(names, library="np")
    with uproot.open(folder / "applied.root") as file:
        applied = file["ntuple"].arrays(["__event__", "shape_category"], library="np")
    of_run = np.where(tree["is_pi"] > 0.5, tree["category_pi"], tree["category_K"])
    kept = of_run > 0
    assert 0.2 < kept.mean() < 0.8
    assert tree["chi2"][kept].max() <= 30
    assert tree["kaonID"][kept].min() >= 0.2
    category = dict(zip(applied["__event__"].tolist(), applied["shape_category"].tolist(), strict=True))
    signal = tree["__event__"] >= 200_000
    assert signal.sum() == 8_000
    np.testing.assert_array_equal(of_run[signal], [category[e] for e in tree["__event__"][signal].tolist()])
    # the hand-over expects the signal that passes every cut
    search = json.loads((run / "search.json").read_text())
    for label, mass in (("1.700", 1.7), ("2.300", 2.3)):
        point = next(p for p in search["points"] if abs(p["mass"] - mass) < 1e-6)
        expected = sum(c["yield_per_unit"] for c in point["channels"].values())
        gen_near = 8_000 * 2 * 0.2 / 2  # generated within ±0.2 GeV
        events = tree["__event__"][kept & signal]
        passing = _near(folder, events, mass)
        assert expected == pytest.approx(1e7 * 2 * passing / gen_near / 2, rel=0.1), label


def _near(folder, events, mass):
    """How many of some signal events were generated within 0.2 GeV of a mass."""
    import uproot

    with uproot.open(folder / "signal.root") as file:
        made = file["ntuple"].arrays(["__event__", "genM"], library="np")
    wanted = np.isin(made["__event__"], events)
    return int(np.sum(wanted & (np.abs(made["genM"] - mass) < 0.2)))
