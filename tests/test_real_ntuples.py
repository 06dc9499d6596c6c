"""A search on ntuples as they come: periods, three formats, lists, sentinels, several candidates per event.

The ntuples imitate a B+ -> K+ a(-> gamma gamma) search with basf2's branch names; their physics is invented.
"""

import json
import os
import subprocess
import sys

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

CONFIG = """
search: two_periods
luminosity_fb: 1000
confidence_level: 0.90
beams: belle2
periods:
  belle:  {luminosity_fb: 600, beams: belle}
  belle2: {luminosity_fb: 400, beams: belle2}
never_features: [sample]
samples:
  old_qq: {role: background, period: belle, process: continuum, files: ["qq1.root"], luminosity_fb: 30}
  new_qq: {role: background, period: belle2, process: continuum, files: ["qq2.parquet"], luminosity_fb: 20}
  old_signal: {role: signal, period: belle, process: alp, files: ["s1.root"], mass: genM_a,
               n_generated: 20000, mass_range: [0.2, 4.7]}
  new_signal: {role: signal, period: belle2, process: alp, files: ["s2.parquet"], mass: genM_a,
               n_generated: 20000, mass_range: [0.2, 4.7]}
  off_data:   {role: control, period: belle2, files: ["off_data.root"]}
  off_mc:     {role: control, period: belle2, files: ["off_mc.parquet"], luminosity_fb: 40}
candidates:
  select: "Mbc > 5.2 and abs(deltaE) < 0.3 and nHard < 4"
  columns: {nHard: "count(roePt > 1.0)", hardest: "max_of(roePt)", sumE: "sum(roePt * (roePt > 0.2))"}
  missing: {"KSFWVariables*": [-1]}
  best: {by: chiProb, keep: highest, per: event, truth: isSignal}
channels:
  kplus: {select: "Mbc > 5.27", n_parents: 1.1e9}
classifiers:
  - {name: continuum, model: bdt, features: [R2, hardest, sumE, "KSFWVariables(hso00)"], folds: 2,
     options: {n_trees: 40, max_depth: 3, learning_rate: 0.2}}
working_points: {objective: expected_limit, kind: categories, n_categories: 2}
scan:
  observable: M_gg
  range: [0.5, 4.0]
  masses: [1.0, 2.0, 3.0]
  background: {family: chebyshev, order: 2, window_sigma: 15}
interpretation: {parameter: branching_fraction}
tracking: {enabled: false}
cache: {enabled: false}
"""


def candidates(rng, n_events, *, signal, run, events_from):
    """Columns of n events with one or two candidates each, the first the true one of a signal."""
    per_event = rng.integers(1, 3, n_events)
    n = int(per_event.sum())
    event = np.repeat(np.arange(n_events), per_event)
    number = np.concatenate([np.arange(k) for k in per_event])
    gen = rng.uniform(0.2, 4.7, n_events)[event]
    is_true = (number == 0) & signal
    m_gg = np.where(is_true, gen + rng.normal(0, 0.01 + 0.005 * gen), 0.2 + 4.6 * rng.beta(1.3, 1.6, n))
    shape = rng.normal(0.3 + 0.15 * signal, 0.2, n).astype(np.float32)
    shape[rng.random(n) < 0.03] = -1
    counts = rng.integers(0, 6, n)
    return {
        "__experiment__": np.full(n, 55, np.int32),
        "__run__": np.full(n, run, np.int32),
        "__event__": (events_from + event).astype(np.uint32),
        "__candidate__": number.astype(np.int32),
        "Mbc": np.where(is_true, rng.normal(5.2794, 0.003, n), rng.uniform(5.24, 5.29, n)),
        "deltaE": rng.normal(0, 0.1, n),
        "R2": rng.normal(0.45 - 0.2 * signal, 0.12, n),
        "chiProb": np.where(is_true, rng.uniform(0.3, 1, n), rng.uniform(0, 1, n)),
        "KSFWVariables__bohso00__bc": shape,
        "M_gg": m_gg,
        "isSignal": is_true.astype(float),
        "genM_a": gen if signal else np.full(n, np.nan),
        "roePt": ak.unflatten(rng.exponential(0.5 - 0.15 * signal, counts.sum()), counts),
    }


def write(path, columns):
    if path.suffix == ".parquet":
        pq.write_table(pa.table({k: ak.to_arrow(v) if k == "roePt" else v for k, v in columns.items()}), path)
        return
    with uproot.recreate(path) as file:
        if path.stem == "off_data":
            file.mkrntuple("ntuple", columns)
            return
        types = {k: "var * float64" if k == "roePt" else v.dtype for k, v in columns.items()}
        file.mktree("ntuple", types).extend(columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(44)
    for name, n, signal in (
        ("qq1.root", 25_000, False),
        ("qq2.parquet", 20_000, False),
        ("s1.root", 8_000, True),
        ("s2.parquet", 8_000, True),
        ("off_data.root", 3_000, False),
        ("off_mc.parquet", 3_000, False),
    ):
        # the same event numbers in both periods, which are other events all the same
        write(folder / name, candidates(rng, n, signal=signal, run=3 + signal, events_from=1))
    (folder / "search.yaml").write_text(CONFIG)
    return folder


def darksieve(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from darksieve.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("candidates.columns.hardest=mcE * 2", r"no classifier may see 'hardest'.*computes it from 'mcE'"),
        (
            "candidates.columns.hardest=genM_a * 2",
            r"no classifier may see 'hardest'.*computes it from 'genM_a'",
        ),
        ("candidates.columns.nHard=isSignal", "candidates.select: 'isSignal' is known in simulation only"),
        ("candidates.best.by=isSignal", "candidates.best.by: 'isSignal' is known in simulation only"),
        (
            "candidates.missing.Nothing*=[-1]",
            r"candidates.missing: no branch of any file matches 'Nothing\*'",
        ),
        ("candidates.best.keep=most", "candidates.best.keep"),
        ("periods.belle.luminosity_fb=500", "luminosity_fb is 1000, but the periods have 900 together"),
        ("samples.old_qq.period=bele", r"no period 'bele'.*did you mean 'belle'"),
        ("samples.old_qq.period=belle2", "period 'belle' has no sample with role: background"),
        ("channels.kplus.period=run1", "channels.kplus.period: no period 'run1'"),
        ("samples.off_mc.process=alp", r"process 'alp' has samples of roles \['control', 'signal'\]"),
    ],
)
def test_what_is_wrong_is_said_by_the_check(folder, override, message):
    from darksieve.config_loading import load_config
    from darksieve.errors import InputError
    from darksieve.workflow.checks import check_search

    def check():
        check_search(load_config(folder / "search.yaml", [override]))

    with pytest.raises(InputError, match=message):
        check()


def test_undeclared_sentinels_and_wrong_units_are_warned_of(folder):
    from darksieve.config_loading import load_config
    from darksieve.workflow.checks import WARNING, check_search

    clean = check_search(load_config(folder / "search.yaml"))
    assert not [line for line in clean if line.startswith(WARNING)]
    lines = check_search(load_config(folder / "search.yaml", ["candidates.missing={}"]))
    assert sum("KSFWVariables(hso00)' is -1 in " in line for line in lines) == 6


@pytest.fixture(scope="module")
def run(folder):
    done = darksieve(folder, "run", "search.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.slow
class TestRealNtuples:
    def test_limits_are_there(self, run):
        points = json.loads((run / "limits.json").read_text())["points"]
        assert [point["status"] for point in points] == ["converged"] * 3

    def test_one_candidate_of_each_event_is_kept_and_counted(self, run):
        scores = pq.read_table(run / "scores" / "continuum.parquet").to_pandas()
        assert not scores.duplicated(["sample", "__experiment__", "__run__", "__event__"]).any()
        counted = json.loads((run / "metrics.json").read_text())["candidates"]
        signal = counted["old_signal"]["kplus"]
        assert signal["n_kept"] == signal["n_events"] < signal["n_candidates"]
        assert 0.8 < signal["best_is_true"] < 1
        assert counted["old_qq"]["kplus"]["best_is_true"] is None
        flow = json.loads((run / "cut_flow.json").read_text())["old_signal"]
        assert flow[-1]["name"] == "channel kplus: best candidate of each event"
        assert flow[-1]["n_after"] == signal["n_kept"]

    def test_background_is_weighted_to_the_luminosity_of_its_own_period(self, run):
        scores = pq.read_table(run / "scores" / "continuum.parquet").to_pandas()
        weights = scores.groupby("sample")["weight"].unique()
        assert weights["old_qq"] == pytest.approx([600 / 30])
        assert weights["new_qq"] == pytest.approx([400 / 20])
        # 4.5 GeV over 20000 generated, times the period's share of the luminosity
        assert weights["old_signal"] == pytest.approx([0.6 * 4.5 / 20000])

    def test_processes_stand_in_tables_and_pictures(self, run):
        entry = json.loads((run / "metrics.json").read_text())["classifiers"]["continuum"]
        assert list(entry["by_process"]) == ["continuum"]
        header = (run / "figures" / "scores_continuum.csv").read_text().splitlines()
        assert any("alp" in line and "old_signal" not in line for line in header)

    def test_control_samples_are_scored_and_compared_and_nothing_else(self, run):
        scores = pq.read_table(run / "scores" / "continuum.parquet").to_pandas()
        assert not scores["sample"].isin(["off_data", "off_mc"]).any()
        controls = json.loads((run / "controls.json").read_text())
        data, mc = (controls["samples"][name]["kplus"] for name in ("off_data", "off_mc"))
        assert data["yield"] == data["n_candidates"]
        assert mc["yield"] == pytest.approx(10 * mc["n_candidates"])
        (agreement,) = controls["agreement"]
        assert agreement["p_value"] > 1e-3  # the two are alike, up to the weight of their candidates
        kept = pq.read_table(run / "scores" / "control.continuum.parquet").to_pandas()
        assert set(kept["sample"]) == {"off_data", "off_mc"}
        assert (run / "figures" / "controls_continuum.png").is_file()
        assert "control samples" in (run / "report.html").read_text().lower()

    def test_apply_scores_files_of_a_period_as_the_run_did(self, folder, run):
        done = darksieve(folder, "apply", "run/bundles/continuum", "s1.root", "-o", "scored.root")
        assert done.returncode == 2
        assert "--period is None, and bundle continuum takes one of ['belle', 'belle2']" in done.stderr
        done = darksieve(
            folder, "apply", "run/bundles/continuum", "s1.root", "-o", "scored.root", "--period", "belle"
        )
        assert done.returncode == 0, done.stderr
        scored = uproot.open(folder / "scored.root")["ntuple"].arrays(
            ["__event__", "__candidate__", "continuum_score"], library="np"
        )
        applied = {
            (event, number): score
            for event, number, score in zip(*(scored[name] for name in scored), strict=True)
        }
        kept = pq.read_table(run / "scores" / "continuum.parquet").to_pandas()
        kept = kept[kept["sample"] == "old_signal"]
        theirs = [applied[pair] for pair in zip(kept["__event__"], kept["__candidate__"], strict=True)]
        np.testing.assert_array_equal(kept["score"].to_numpy(), np.array(theirs, dtype=np.float32))
