"""Classifiers in a row: what each learns from and scores."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from darksieve.config_loading import validate
from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.errors import InputError
from darksieve.models.scores import Scores
from darksieve.training.folds_training import train_bundle
from darksieve.workflow.cascade import classifiers_of, earlier_classifiers, gate, training_rows
from darksieve.workflow.table import CandidateTable

CONFIG = """
search: cascade
luminosity_fb: 1
samples:
  continuum: {role: background, files: [c.root], luminosity_fb: 1}
  charged: {role: background, files: [b.root], luminosity_fb: 1}
  signal: {role: signal, files: [s.root], mass: 1.0, n_generated: 1000}
channels: {pi: {select: "x > 0"}, K: {select: "x <= 0"}}
classifiers:
  - {name: continuum, model: bdt, features: [shape], samples: [continuum, signal], lets_through: 0.9}
  - {name: charged, model: bdt, features: [other], samples: [charged, signal], select: "other > -2"}
  - {name: kaon, model: bdt, features: [other], channels: [K]}
scan: {observable: M, range: [0.5, 1.5], masses: [1.0]}
"""


@pytest.fixture(scope="module")
def config():
    return validate(yaml.safe_load(CONFIG))


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(0)
    n = 6000
    sample = rng.integers(0, 3, n).astype(np.int16)
    columns = {
        "x": rng.normal(size=n),
        "shape": rng.normal(np.where(sample == 0, 0.0, 2.0), 1),
        "other": rng.normal(np.where(sample == 1, 0.0, 2.0), 1),
        "M": rng.normal(1, 0.1, n),
    }
    roles = (("continuum", Role.BACKGROUND), ("charged", Role.BACKGROUND), ("signal", Role.SIGNAL))
    samples = tuple(SampleInfo(*one) for one in roles)
    mass = np.where(sample == 2, 1.0, np.nan)
    key = rng.integers(0, 2**63, n).astype(np.uint64)
    return Events(columns, samples, sample, np.ones(n), mass, key, np.zeros(n, np.int32))


@pytest.fixture(scope="module")
def run(config, events, tmp_path_factory):
    """A run in which the first classifier is trained."""
    folder = tmp_path_factory.mktemp("run")
    context = SimpleNamespace(config=config, run=folder)
    masks = {"pi": events["x"] > 0, "K": events["x"] <= 0}
    rows, _ = training_rows(context, events, masks, config.classifiers[0])
    bundle, _, _ = train_bundle(
        events.select(rows),
        model="bdt",
        features=["shape"],
        n_folds=2,
        mass_column=None,
        options={"n_trees": 20, "max_depth": 2},
        name="continuum",
    )
    bundle.save(folder / "bundles" / "continuum")
    return context, masks, bundle


def test_channels_say_which_classifiers_are_theirs_and_which_come_before(config):
    first, second, third = config.classifiers
    assert classifiers_of(config, "pi") == (first, second)
    assert classifiers_of(config, "K") == (first, second, third)
    assert earlier_classifiers(config, second) == (first,)
    assert earlier_classifiers(config, third) == (first, second)


def test_the_first_stage_learns_from_its_own_samples(config, events, run):
    context, masks, _ = run
    rows, steps = training_rows(context, events, masks, config.classifiers[0])
    np.testing.assert_array_equal(rows, events.sample_index != 1)
    assert steps == {"channels": 6000, "samples": int(rows.sum())}


def test_the_second_stage_learns_from_what_the_first_lets_through_by_channel(config, events, run):
    context, masks, bundle = run
    rows, steps = training_rows(context, events, masks, config.classifiers[1])
    score = bundle.score(events)
    signal = events.is_signal
    for channel, mask in masks.items():
        threshold = steps["continuum"]["gates"][channel]
        of_signal = score[mask & signal]
        assert (of_signal > threshold).mean() <= 0.9 <= (of_signal >= threshold).mean()
        expected = mask & (score >= threshold) & (events.sample_index != 0) & (events["other"] > -2)
        np.testing.assert_array_equal(rows & mask, expected)
    assert rows.sum() == steps["continuum"]["candidates"] < steps["select"] < steps["samples"]


def test_the_gate_keeps_the_wanted_share_of_the_weight(events):
    rng = np.random.default_rng(1)
    weighted = events.with_weight(rng.exponential(size=len(events)))
    score = rng.random(len(events))
    everything = np.ones(len(events), bool)
    signal = weighted.is_signal
    threshold = gate(score, weighted, everything, 0.7)
    kept = weighted.weight[signal & (score >= threshold)].sum() / weighted.weight[signal].sum()
    assert kept == pytest.approx(0.7, abs=weighted.weight[signal].max() / weighted.weight[signal].sum())
    assert gate(score, weighted, everything, 1.0) == score[signal].min()


def test_a_stage_with_nothing_to_learn_from_is_refused(config, events, run):
    context, masks, _ = run
    changed = config.classifiers[1].model_copy(update={"select": "other > 100"})
    with pytest.raises(InputError, match=r"classifiers\.charged\.samples and select leave no signal"):
        training_rows(context, events, masks, changed)


def test_tables_keep_the_scores_of_every_stage(tmp_path):
    n = 5
    own = {
        name: np.arange(n) for name in ("sample", "channel", "label", "weight", "mass", "key", "observable")
    }
    score = np.linspace(0, 1, n, dtype=np.float32)
    scores = {"first": score[::-1], "kaon": np.where(score > 0.5, score, np.nan).astype(np.float32)}
    table = CandidateTable(("s",), ("c",), **own, score=score, scores=scores)
    table.save(tmp_path / "t.parquet")
    back = CandidateTable.load(tmp_path / "t.parquet")
    assert set(back.scores) == {"first", "kaon"}
    for name, values in scores.items():
        np.testing.assert_array_equal(back.scores[name], values)
        np.testing.assert_array_equal(back.select([4, 0]).scores[name], values[[4, 0]])


TWO_STAGES = """
search: two_stages
luminosity_fb: 10
beams: belle
samples:
  continuum: {role: background, files: [continuum.root], luminosity_fb: 5}
  bb:        {role: background, files: [bb.root], luminosity_fb: 5}
  signal:    {role: signal, files: [signal.root], mass: genM, n_generated: 20000, mass_range: [1.0, 3.0]}
channels:
  pi: {select: "is_pi > 0.5", n_parents: 1.0e7}
  K:  {select: "is_pi < 0.5", n_parents: 1.0e7}
classifiers:
  - {name: continuum, model: bdt, features: [shape], folds: 2, samples: [continuum, signal],
     options: {n_trees: 30, max_depth: 3}}
  - {name: tag, model: bdt, features: [tag], folds: 2, samples: [bb, signal],
     options: {n_trees: 30, max_depth: 3}}
working_points: {kind: categories, n_categories: 2}
scan: {observable: M, range: [1.5, 2.5], masses: [1.7, 2.0, 2.3], method: asymptotic,
       background: {family: chebyshev, order: 1, window_sigma: 10}}
interpretation: {parameter: branching_fraction}
tracking: {enabled: false}
"""


def _write(path, rng, n, first, *, signal, shape, tag):
    import uproot

    gen = rng.uniform(1, 3, n)
    columns = {
        "__event__": (first + np.arange(n)).astype(np.uint32),
        "M": gen + rng.normal(0, 0.02, n) if signal else rng.uniform(0.8, 3.2, n),
        "shape": rng.normal(shape, 1, n),
        "tag": rng.normal(tag, 1, n),
        "is_pi": rng.integers(0, 2, n).astype(float),
        **({"genM": gen} if signal else {}),
    }
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
        file["ntuple"].extend(columns)


@pytest.mark.slow
def test_two_stages_run_from_ntuples_to_limits(tmp_path, monkeypatch):
    import uproot

    from darksieve.inference import apply_bundle
    from darksieve.workflow.chain import run_chain

    rng = np.random.default_rng(2)
    _write(tmp_path / "continuum.root", rng, 20_000, 1, signal=False, shape=0, tag=2)
    _write(tmp_path / "bb.root", rng, 20_000, 100_000, signal=False, shape=2, tag=0)
    _write(tmp_path / "signal.root", rng, 15_000, 200_000, signal=True, shape=2, tag=2)
    monkeypatch.chdir(tmp_path)
    run_chain(validate(yaml.safe_load(TWO_STAGES)), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["classifiers"]
    assert metrics["continuum"]["by_process"]["continuum"]["auc"] > 0.8
    assert metrics["tag"]["by_process"]["bb"]["auc"] > 0.8
    stages = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]
    learnt = stages["train.tag"]["candidates_to_train_on"]
    assert set(learnt["continuum"]["gates"]) == {"pi", "K"}
    assert learnt["continuum"]["candidates"] < learnt["samples"]
    for name in ("continuum", "tag"):
        assert len(Scores.load(tmp_path / "run" / "scores" / f"{name}.parquet")) == 55_000
    limits = json.loads((tmp_path / "run" / "limits.json").read_text())["points"]
    assert [point["status"] for point in limits] == ["converged"] * 3
    boundaries = json.loads((tmp_path / "run" / "working_points.json").read_text())["boundaries"]
    # the continuum looks like signal to the second classifier, so a cut on the first one pays
    assert all(b["gates"]["edges"]["continuum"] is not None for b in boundaries.values())
    assert {b["classifier"] for b in boundaries.values()} == {"tag"}

    bundles = tmp_path / "run" / "bundles"
    with pytest.raises(InputError, match="apply bundle continuum first"):
        apply_bundle(bundles / "tag", ["signal.root"], tmp_path / "alone.root")
    apply_bundle(bundles / "continuum", ["signal.root"], tmp_path / "first.root")
    apply_bundle(bundles / "tag", ["first.root"], tmp_path / "second.root")
    with uproot.open(tmp_path / "second.root") as file:
        applied = file["ntuple"].arrays(["continuum_score", "tag_category", "tag_score"], library="np")
    cut = applied["tag_category"] == 0
    assert 0 < cut.mean() < 0.9
    assert applied["continuum_score"][~cut].min() > applied["continuum_score"][cut].min()
