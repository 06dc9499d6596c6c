"""The chain runs on ntuples that darksieve did not make, by the config contract alone.

The ntuples imitate a B+ -> K+ a(-> gamma gamma) search with basf2's branch names; their physics is invented.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import uproot

CONFIG = """
search: kplus_alp
luminosity_fb: 711
confidence_level: 0.90
beams: belle
event_key: [__experiment__, __run__, __event__, __production__]
never_features: [sample, flav]
samples:
  continuum: {role: background, files: ["mc/cont*.root"], tree: ntuple, luminosity_fb: 50,
              select: "sample == 0"}
  signal:    {role: signal, files: ["mc/flat.root"], tree: ntuple, mass: genM_a, n_generated: 60000,
              mass_range: [0.2, 4.7], select: "isSignal == 1"}
  data:      {role: data, files: ["data/*.root"], tree: ntuple}
candidates: {select: "Mbc > 5.2 and abs(deltaE) < 0.3"}
channels:
  kplus: {select: "Mbc > 5.27 and abs(deltaE) < 0.2", n_parents: 7.9e8, secondary_fraction: 1.0}
classifiers:
  - {name: continuum, model: bdt, features: [R2, thrustOm, cosTBTO, "KSFWVariables(hso00)"], folds: 2,
     calibrate: isotonic, options: {n_trees: 60, max_depth: 4, learning_rate: 0.2}}
working_points: {objective: expected_limit, kind: categories, n_categories: 2}
scan:
  observable: M_gg
  range: [0.5, 4.0]
  masses: [0.95, 1.0, 2.0, 2.5, 3.0]
  vetoes: [[0.91, 0.99]]
  background: {family: chebyshev, order: 2, window_sigma: 15}
  nuisances: {luminosity: 0.014, efficiency: 0.05, width: 0.05, scale_sigma: 0.1, spurious_signal: measured}
interpretation: {parameter: branching_fraction}
tracking: {enabled: false}
"""


def _ntuple(path, rng, n, *, signal, first_event, truth=True, mass=None):
    """Write n candidates of one kind: invented distributions, basf2's names."""
    shift = 1.0 if signal else 0.0
    gen = rng.uniform(0.2, 4.7, n) if mass is None else np.full(n, mass)
    m_gg = gen + rng.normal(0, 0.010 + 0.005 * gen) if signal else 0.2 + 4.6 * rng.beta(1.3, 1.6, n)
    columns = {
        "__experiment__": np.full(n, 55, np.int32),
        "__run__": np.full(n, 3 if signal else 4, np.int32),
        "__event__": (first_event + np.arange(n)).astype(np.uint32),
        "__candidate__": np.zeros(n, np.int32),
        "Mbc": rng.normal(5.2794, 0.003, n) if signal else rng.uniform(5.19, 5.29, n),
        "deltaE": rng.normal(-0.01, 0.04, n) if signal else rng.uniform(-0.35, 0.35, n),
        "R2": rng.normal(0.45 - 0.2 * shift, 0.12, n),
        "thrustOm": rng.normal(0.85 - 0.05 * shift, 0.05, n),
        "cosTBTO": np.abs(rng.uniform(0, 1, n)) ** (1.0 if signal else 0.3),
        "KSFWVariables__bohso00__bc": rng.normal(0.3 + 0.1 * shift, 0.2, n),
        "M_gg": m_gg,
    }
    if truth:
        columns |= {
            "isSignal": np.full(n, float(signal)),
            "genM_a": gen if signal else np.full(n, np.nan),
            "sample": np.full(n, 2 if signal else 0, np.int32),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
        file["ntuple"].extend(columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    rng = np.random.default_rng(711)
    _ntuple(folder / "mc/cont1.root", rng, 40_000, signal=False, first_event=1)
    _ntuple(folder / "mc/cont2.root", rng, 40_000, signal=False, first_event=100_001)
    _ntuple(folder / "mc/flat.root", rng, 20_000, signal=True, first_event=300_001)
    _ntuple(folder / "data/a.root", rng, 30_000, signal=False, first_event=500_001, truth=False)
    _ntuple(folder / "data/b.root", rng, 400, signal=True, first_event=600_001, truth=False, mass=2.5)
    (folder / "kplus.yaml").write_text(CONFIG)
    return folder


def darksieve(folder, *arguments):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", "from darksieve.cli import main; main()", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def blind(folder):
    done = darksieve(folder, "run", "kplus.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.slow
class TestForeignSearch:
    def test_check_passes(self, folder):
        done = darksieve(folder, "check", "kplus.yaml")
        assert done.returncode == 0, done.stderr

    def test_a_blind_run_gives_expected_limits_and_no_observed_ones(self, blind):
        limits = json.loads((blind / "limits.json").read_text())
        by_mass = {point["mass"]: point for point in limits["points"]}
        assert limits["asimov"] == "nominal"
        assert limits["global"] is None
        assert by_mass[0.95]["status"] == "vetoed"
        for mass in (1.0, 2.0, 2.5, 3.0):
            point = by_mass[mass]
            assert point["status"] == "converged"
            assert point["observed"] is None
            assert 1e-8 < point["expected"]["0"] < 1e-4
        assert "counts" not in (blind / "search.json").read_text()

    def test_the_injected_peak_is_seen_when_unblinded_and_the_training_is_not_redone(self, folder, blind):
        trained = json.loads((blind / "manifest.json").read_text())["stages"]["train.continuum"]["begun"]
        done = darksieve(folder, "run", "kplus.yaml", "-o", "run", "--unblind")
        assert done.returncode == 0, done.stderr
        assert (
            json.loads((blind / "manifest.json").read_text())["stages"]["train.continuum"]["begun"] == trained
        )
        limits = json.loads((blind / "limits.json").read_text())
        by_mass = {point["mass"]: point for point in limits["points"]}
        assert by_mass[2.5]["significance"] > 4
        assert by_mass[2.5]["observed"] > by_mass[2.5]["expected"]["2"]
        assert abs(by_mass[1.0]["significance"]) < 4
        assert limits["global"]["mass"] == 2.5

    def test_a_run_that_is_blind_again_keeps_nothing_of_the_data(self, folder, blind):
        done = darksieve(folder, "run", "kplus.yaml", "-o", "run", "--unblind")
        assert done.returncode == 0, done.stderr
        assert (blind / "figures" / "p_values.csv").is_file()
        assert (blind / "scores" / "data.continuum.parquet").is_file()
        done = darksieve(folder, "run", "kplus.yaml", "-o", "run")
        assert done.returncode == 0, done.stderr
        assert not (blind / "figures" / "p_values.csv").exists()
        assert not (blind / "scores" / "data.continuum.parquet").exists()
        assert (blind / "figures" / "limits.png").is_file()

    def test_every_file_of_the_contract_is_there(self, blind):
        for name in (
            "config.yaml",
            "manifest.json",
            "log.txt",
            "search.json",
            "limits.json",
            "limits.csv",
            "interpretation.json",
            "metrics.json",
            "working_points.json",
            "scores/continuum.parquet",
            "report.html",
        ):
            assert (blind / name).is_file(), name
        assert (blind / "bundles" / "continuum").is_dir()

    def test_the_score_is_calibrated_and_the_report_shows_it_before_and_after(self, blind):
        entry = json.loads((blind / "understanding.json").read_text())["classifiers"]["continuum"]
        before, after = entry["calibration_before"], entry["calibration"]
        # bins of 1000 events: a share has an error of 0.016 at most, and the calibration its own
        assert after["expected_error"] < 0.03
        assert before["score"] != after["score"]
        bundle = json.loads((blind / "bundles/continuum/bundle.json").read_text())
        assert [one["method"] for one in bundle["calibrations"]] == ["isotonic"] * 2

    def test_what_the_cuts_make_of_the_background_is_said_with_its_error(self, blind):
        entries = json.loads((blind / "metrics.json").read_text())["classifiers"]["continuum"]["sculpting"]
        found = entries[0]["spurious_signal"]["kplus"]
        value, error, of_cut = (
            np.array(found[name], float)
            for name in ("in_sigma", "in_sigma_error", "difference_in_sigma_error")
        )
        # 50/fb of simulation for 711/fb of data: errors are some sqrt(711/50) = 3.8 of the fit's own
        assert error == pytest.approx(np.full(len(error), 3.77), rel=0.4)
        assert (of_cut < 1.3 * error).all()
        assert (np.abs(value) < 5 * error).all()
        assert entries[-1]["ks_distance"] is not None

    def test_where_simulation_is_too_thin_no_spurious_signal_is_invented(self, blind):
        document = json.loads((blind / "working_points.json").read_text())
        for row in document["points"]:
            measured = row["spurious_signal_status"] == "measured"
            assert measured == (row["spurious_signal"] is not None)
            assert row["spurious_signal_size"] is None  # a fluctuation is not taken for a bias
        sculpting = document["sculpting"]["kplus"]
        assert sculpting["worrying"] == [[], []]
        drawn = (blind / "figures/sculpting_kplus.png").is_file()
        assert drawn == any(value is not None for value in sculpting["together"]["in_sigma"])
        search = json.loads((blind / "search.json").read_text())
        channels = [c for point in search["points"] for c in point.get("channels", {}).values()]
        assert channels
        assert not any("spurious_signal" in channel for channel in channels)
        log = (blind / "log.txt").read_text()
        assert "no spurious signal is known at 4 of 4 masses, where simulation is too thin" in log

    def test_no_feature_is_found_to_tell_the_mass(self, blind):
        understood = json.loads((blind / "understanding.json").read_text())["classifiers"]["continuum"]
        assert [(one["variable"], one["leaks"]) for one in understood["leakage"]] == [("M_gg", False)]

    def test_apply_adds_score_fold_and_category_equal_to_those_of_the_run(self, folder, blind):
        import pyarrow.parquet as pq

        done = darksieve(folder, "apply", "run/bundles/continuum", "mc/cont1.root", "-o", "scored.root")
        assert done.returncode == 0, done.stderr
        tree = uproot.open(folder / "scored.root")["ntuple"]
        arrays = tree.arrays(
            ["__event__", "continuum_score", "continuum_fold", "continuum_category"], library="np"
        )
        assert tree.num_entries == 40_000
        assert set(np.unique(arrays["continuum_fold"])) == {0, 1}
        kept = pq.read_table(blind / "scores" / "continuum.parquet").to_pandas()
        kept = kept[kept["sample"] == "continuum"].set_index("__event__")
        applied = dict(zip(arrays["__event__"], arrays["continuum_score"], strict=True))
        first_file = kept[kept.index <= 40_000]
        assert len(first_file) > 1000
        ours = first_file["score"].to_numpy()
        theirs = np.array([applied[event] for event in first_file.index], dtype=np.float32)
        np.testing.assert_array_equal(ours, theirs)

    def test_candidates_are_written_with_the_category_that_apply_gives(self, folder, blind):
        done = darksieve(folder, "candidates", "kplus.yaml", "-o", "run", "--to", "candidates.root")
        assert done.returncode == 0, done.stderr
        names = ["sample", "__event__", "continuum_score", "category_kplus", "takes_kplus"]
        written = uproot.open(folder / "candidates.root")["ntuple"].arrays(names, library="np")
        done = darksieve(
            folder, "apply", "run/bundles/continuum", "mc/flat.root", "-o", "flat.root", "--format", "rntuple"
        )
        assert done.returncode == 0, done.stderr
        arrays = uproot.open(folder / "flat.root")["ntuple"].arrays(["__event__", "continuum_category"])
        category = dict(
            zip(arrays["__event__"].to_numpy(), arrays["continuum_category"].to_numpy(), strict=True)
        )
        signal = written["__event__"] > 300_000
        assert signal.sum() > 1000
        assert written["takes_kplus"].all()
        ours = written["category_kplus"][signal]
        np.testing.assert_array_equal(ours, [category[event] for event in written["__event__"][signal]])
        assert len(np.unique(ours)) > 1
        again = darksieve(folder, "candidates", "kplus.yaml", "-o", "run", "--to", "candidates.root")
        assert again.returncode == 2
        assert "is there already" in again.stderr

    def test_the_limit_tool_alone_answers_the_same(self, folder, blind):
        done = darksieve(folder, "limits", "run/search.json", "-o", "alone.json", "--cl", "0.90")
        assert done.returncode == 0, done.stderr
        alone = json.loads((folder / "alone.json").read_text())
        chain = json.loads((blind / "limits.json").read_text())
        for mine, theirs in zip(alone["points"], chain["points"], strict=True):
            assert mine["status"] == theirs["status"]
            if mine["status"] != "vetoed":
                assert mine["expected"]["0"] == pytest.approx(theirs["expected"]["0"], rel=1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("samples.continuum.files=[mc/absent*.root]", "absent"),
        ("samples.continuum.tree=ntupel", "ntuple"),
        ("classifiers.0.features=[R2, thrustBm]", "thrustOm"),
        ("classifiers.0.features=[R2, genM_a]", "genM_a"),
        ("classifiers.0.features=[R2, flav]", "flav"),
        ("scan.masses=[5.5]", "range"),
        ("scan.step_sgima=1", "step_sigma"),
        ("channels.kplus.select=Mbc > ", "select"),
        ("samples.signal.select=isSignl == 1", "isSignal"),
    ],
)
def test_bad_input_is_one_clear_error_with_status_2_before_any_work(folder, override, message):
    done = darksieve(folder, "run", "kplus.yaml", "-o", "never", "--set", override)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "never" / "bundles").exists()
