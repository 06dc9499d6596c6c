"""The search e+e- -> gamma a(-> gamma gamma), small but whole, through the command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

pytestmark = pytest.mark.slow

SMALL = [
    "luminosity_fb=2",
    "samples.signal.settings={n_events: 42000, mass_range: [1.2, 3.0]}",
    "samples.qed_3gamma.settings.n_events=150000",
    "samples.gamma_gamma.settings.n_events=10000",
    "samples.gamma_eta.settings.n_events=2000",
    "samples.gamma_etaprime.settings.n_events=2000",
    "samples.gamma_omega.settings.n_events=5000",
    "samples.gamma_omega.peaking=false",
    "samples.gamma_eta.peaking=false",
    "samples.gamma_etaprime.peaking=false",
    "classifiers.0.folds=2",
    "classifiers.0.max_rows=20000",
    "classifiers.0.options={epochs: 4}",
    "working_points.n_categories=2",
    "scan.range=[1.4, 2.6]",
    "scan.step_sigma=1.0",
    "scan.vetoes=[[1.6, 1.7]]",
    "interpolation.spacing=0.6",
]
ENTRY = "from darksieve.cli import main; main()"


def command(*arguments, overrides=()):
    changes = [part for change in [*SMALL, *overrides] for part in ("--set", change)]
    return [sys.executable, "-c", ENTRY, *arguments, *changes]


def darksieve(folder, *arguments, overrides=()):
    return subprocess.run(
        command(*arguments, overrides=overrides), cwd=folder, capture_output=True, text=True, check=False
    )


def begun(run):
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    return {name: stage["begun"] + str(stage["seconds"]) for name, stage in stages.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gamma_alp")


@pytest.fixture(scope="module")
def run(folder):
    done = darksieve(folder, "run", "gamma_alp", "-o", "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_a_blind_run_has_expected_limits_gaps_in_vetoes_and_no_data(run):
    limits = json.loads((run / "limits.json").read_text())
    by_status = {}
    for point in limits["points"]:
        by_status.setdefault(point["status"], []).append(point)
    assert set(by_status) == {"converged", "vetoed"}
    assert all(1.6 <= p["mass"] <= 1.7 for p in by_status["vetoed"])
    assert all(p["observed"] is None and p["p0"] is None for p in by_status["converged"])
    expected = np.array([p["expected"]["0"] for p in by_status["converged"]])
    # 2/fb of the toy: some 70 fb, which scales by L^-1/2 from what the full preset has at 10/fb
    assert 20 < np.median(expected) < 150
    assert limits["global"] is None
    assert "counts" not in (run / "search.json").read_text()
    coupling = json.loads((run / "interpretation.json").read_text())
    assert coupling["parameter"] == {"name": "g_agammagamma", "unit": "1/GeV"}


def test_working_points_stand_beside_simpler_choices_with_their_landscape_and_robustness(run):
    document = json.loads((run / "working_points.json").read_text())
    compared = document["comparison"]["all"]
    assert list(compared["limits"]) == [
        "no_classifier", "rectangular", "global_threshold", "threshold", "categories",
    ]  # fmt: skip
    limits = {name: np.array(values, float) for name, values in compared["limits"].items()}
    assert (limits["categories"] < limits["no_classifier"]).all()
    assert np.log(limits["threshold"] / limits["categories"]).mean() > 0
    quoted = [p["expected_limit"] for p in document["points"][:: document["n_categories"]]]
    np.testing.assert_allclose(quoted, limits["categories"], rtol=1e-6)
    causes = [entry["cause"] for entry in document["robustness"]["all"]]
    assert causes == ["width", "width", "background", "background", "efficiency", "efficiency"]
    landscape = document["landscape"]["all"]
    assert np.shape(landscape["expected_limit"]) == (len(landscape["masses"]), len(landscape["kept_signal"]))
    for name in ("landscape_all", "losses_all"):
        assert (run / "figures" / f"{name}.png").is_file()
    text = (run / "report.html").read_text()
    assert "global threshold (Punzi)" in text
    assert "If the simulation is wrong by its uncertainties" in text


def test_mlflow_holds_the_run_with_its_metrics_by_epoch_digests_bundle_and_pictures(folder, run):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    run_id = json.loads((run / "manifest.json").read_text())["mlflow_run_id"]
    logged = client.get_run(run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.params["scan.step_sigma"] == "1.0"
    assert len(client.get_metric_history(run_id, "photons.fold0.validation_loss")) == 4
    assert {d.dataset.name for d in logged.inputs.dataset_inputs} >= {"signal", "qed_3gamma"}
    names = {artifact.path for artifact in client.list_artifacts(run_id)}
    assert {"bundles", "figures", "limits.json", "report.html", "config.yaml"} <= names
    assert "What the simulation gives, beside what it should" in (run / "report.html").read_text()


def test_a_second_run_redoes_nothing_and_a_change_redoes_what_depends_on_it(folder, run):
    before = begun(run)
    assert darksieve(folder, "run", "gamma_alp", "-o", "run").returncode == 0
    assert begun(run) == before
    shutil.copytree(run, folder / "changed")  # the run stays as it was, for the other tests
    done = darksieve(folder, "run", "gamma_alp", "-o", "changed", overrides=["scan.nuisances.efficiency=0.2"])
    assert done.returncode == 0, done.stderr
    after = begun(folder / "changed")
    # nuisances are part of the limit that working points minimise
    assert {name for name in before if after[name] != before[name]} == {"optimise", "scan", "report"}


@pytest.mark.long
def test_a_training_that_is_killed_resumes_to_the_same_scores(folder, run):
    killed = folder / "killed"
    process = subprocess.Popen(
        command("train", "gamma_alp", "-o", "killed", "--workers", "1"),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not list(killed.glob("checkpoints/photons/*/fold*/*")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "train.photons" not in begun(killed)
    simulated = {k: v for k, v in begun(killed).items() if k.startswith("simulate.")}
    assert simulated
    done = darksieve(folder, "train", "gamma_alp", "-o", "killed", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert simulated.items() <= begun(killed).items()
    columns = ["event_key", "__candidate__", "score"]
    mine = pq.read_table(killed / "scores" / "photons.parquet", columns=columns)
    whole = pq.read_table(run / "scores" / "photons.parquet", columns=columns)
    assert mine.equals(whole)


def test_an_injected_signal_is_found_where_it_was_put(folder, run):
    done = darksieve(
        folder,
        "run",
        "gamma_alp",
        "-o",
        "run",
        "--unblind",
        overrides=["pseudo_data.inject.mass=2.0", "pseudo_data.inject.times_expected_limit=4"],
    )
    assert done.returncode == 0, done.stderr
    limits = json.loads((run / "limits.json").read_text())
    # four expected 95 % limits are about 8 sigma; the search can be off by a resolution
    assert limits["global"]["mass"] == pytest.approx(2.0, abs=0.03)
    assert limits["global"]["p_global"] < 1e-3
    found = min(limits["points"], key=lambda p: abs(p["mass"] - 2.0))
    assert found["significance"] > 5
    strength = json.loads((run / "data.json").read_text())["injected"]["strength"]
    error = -found["best_fit_error"][0]
    assert abs(found["best_fit"] - strength) < 4 * error


def test_apply_scores_every_pairing_and_keeps_every_row(folder, run):
    source = run / "samples" / "gamma_eta.root"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            ENTRY,
            "apply",
            str(run / "bundles/photons"),
            str(source),
            "-o",
            "scored.root",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after = uproot.open(source)["ntuple"], uproot.open(folder / "scored.root")["ntuple"]
    assert after.num_entries == before.num_entries
    added = set(after.keys()) - set(before.keys())
    pairs = ("12", "13", "23")
    assert added == {f"photons_{what}_{p}" for what in ("score", "category") for p in pairs} | {
        "photons_fold"
    }
    scores = after["photons_score_12"].array(library="np")
    assert np.nanmin(scores) >= 0
    assert np.nanmax(scores) <= 1
    assert scores.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "gamma_alp_2020", "-o", "run"], "gamma_alp"),
        (["run", "gama_alp", "-o", "other"], "did you mean 'gamma_alp'"),
        (["apply", "run", "x.root", "-o", "y.root"], "not a bundle"),
    ],
)
def test_a_wrong_request_is_one_clear_error(folder, run, arguments, message):
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_closure_of_the_mass_interpolation_is_a_page_of_the_report(run):
    entry = json.loads((run / "interpolation.json").read_text())["classifiers"]["photons"]
    assert entry["nodes"] == pytest.approx([1.8, 2.4])
    assert entry["reference"] == "network trained at all masses"  # several backgrounds: no exact ratio
    kinds = {round(point["mass"], 6): point["kind"] for point in entry["points"]}
    assert kinds == {1.4: "beyond", 1.8: "trained", 2.1: "between", 2.4: "trained", 2.6: "beyond"}
    found = {
        kind: [point["comparison"] for point in entry["points"] if point["kind"] == kind]
        for kind in ("trained", "between")
    }
    # the training at two masses is small and loses some 0.03 everywhere; between them it loses no more
    means = [np.mean([c["auc_loss"] for c in of_kind]) for of_kind in found.values()]
    errors = [max(c["auc_loss_error"] for c in of_kind) for of_kind in found.values()]
    assert abs(means[1] - means[0]) < 5 * np.hypot(*errors)
    assert all(0 < mean < 0.1 for mean in means)
    report = (run / "report.html").read_text()
    assert 'id="interpolation"' in report
    assert (run / "figures" / "interpolation_photons.csv").is_file()
