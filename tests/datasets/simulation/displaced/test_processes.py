"""Displaced samples: files, keys, truth, streams, refusals, limits of the lifetime."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import uproot
import yaml

from darksieve.config import SearchConfig
from darksieve.datasets.simulation.displaced import validation as validation_module
from darksieve.datasets.simulation.displaced.columns import MASS_BRANCH, no_rows
from darksieve.datasets.simulation.displaced.processes import DISPLACED_PROCESSES
from darksieve.datasets.simulation.displaced.settings import DarkSector, DisplacedSettings, Tracker
from darksieve.datasets.simulation.displaced.validation import direct_efficiency
from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.simulation.record import SampleRecord
from darksieve.datasets.simulation.validation import SimulatedFile
from darksieve.datasets.simulation.validations import validate_samples
from darksieve.datasets.truth import truth_pattern
from darksieve.errors import InputError
from darksieve.workflow.checks import check_search

TRUTH = {
    "isSignal", "genM_hprime", "genProperLength_hprime", "genProperLength_chi2", "genCtau_hprime",
    "genCtau_chi2", "genRadius_hprime", "genRadius_chi2", "hprime_mcPDG", "chi2_mcPDG", "xplus_mcPDG",
    "xminus_mcPDG",
}  # fmt: skip


def read(path):
    with uproot.open(path) as file:
        return file["ntuple"].arrays(library="np")


def sizes(process):
    return {"mass_range": (1.2, 5.0)} if process.startswith("dark_higgs") else {}


@pytest.mark.parametrize("process", [p.name for p in DISPLACED_PROCESSES])
def test_every_process_writes_the_branches_it_announces(process, tmp_path):
    path = tmp_path / "s.root"
    record = simulate(process, path, n_events=12_000, seed=3, **sizes(process))
    announced = no_rows(DisplacedSettings())
    columns = read(path)
    assert list(columns) == list(announced)
    assert {n: v.dtype for n, v in columns.items()} == {n: v.dtype for n, v in announced.items()}
    assert record.n_selected == len(columns["__event__"]) > 20
    assert len(np.unique(columns["__event__"])) == record.n_selected
    barred = {name for name in columns if truth_pattern(name) and not name.startswith("__")}
    assert barred == TRUTH
    is_signal = process.startswith("dark_higgs")
    assert (columns["isSignal"] == is_signal).all()
    assert np.isfinite(columns[MASS_BRANCH]).all() == is_signal
    for name in set(columns) - TRUTH:
        assert np.isfinite(columns[name]).all(), name
    assert (record.cross_section_fb is None) == is_signal
    if not is_signal:
        assert record.luminosity_fb == pytest.approx(12_000 / record.cross_section_fb)


def test_preselection_holds_on_what_is_written(tmp_path):
    simulate("dark_higgs_pipi", tmp_path / "s.root", n_events=20_000, mass_range=(0.3, 5.0), seed=4)
    columns = read(tmp_path / "s.root")
    assert (np.maximum(columns["hprime_dr"], columns["chi2_dr"]) > 0.05).all()
    assert (columns["nTracks"] == 4).all()
    # the whole event but χ1 χ1 is seen: at least two of them are missing
    assert np.quantile(columns["missingMass2OfEvent"], 0.05) > 4 * 1.0**2 * 0.95


def test_same_seed_gives_the_same_columns_for_any_number_of_workers(tmp_path):
    records = [
        simulate(
            "dark_higgs_mumu", tmp_path / f"{i}.root", n_events=45_000, mass_range=(0.3, 5.0), seed=seed,
            workers=workers,
        )
        for i, (seed, workers) in enumerate([(7, 1), (7, 2), (8, 1)])
    ]  # fmt: skip
    assert records[0].sha256 == records[1].sha256 != records[2].sha256
    assert records[0].n_selected == records[1].n_selected


def test_peak_is_at_the_generated_mass_under_the_right_hypothesis(tmp_path):
    for process, name in (("dark_higgs_mumu", "mumu"), ("dark_higgs_pipi", "pipi"), ("dark_higgs_kk", "KK")):
        simulate(process, tmp_path / "s.root", masses={1.5: 10_000}, seed=5)
        columns = read(tmp_path / "s.root")
        np.testing.assert_allclose(columns[MASS_BRANCH], 1.5, rtol=1e-6)
        mass = columns[f"hprime_M_{name}"]
        assert abs(np.median(mass) - 1.5) < 4 * 1.2533 * 0.006 / np.sqrt(len(mass))
        others = [n for n in ("mumu", "pipi", "KK") if n != name]
        for other in others:
            away = abs(np.median(columns[f"hprime_M_{other}"]) - 1.5)
            assert away > 0.01 or {name, other} == {"mumu", "pipi"}


def test_h_that_lives_too_briefly_or_too_long_is_not_found():
    rng = np.random.default_rng(1)
    settings = DisplacedSettings(
        model=DarkSector(chi2_ctau_cm=(1e-6, 1e-6)), tracker=Tracker(tail_fraction=0.0)
    )
    best, _ = direct_efficiency(rng, settings, "dark_higgs_mumu", 1.0, 1.0, 5_000)
    assert best > 0.1
    # with χ2 prompt too, no more than nearly parallel electrons, smeared along their flight, reach 0.5 mm
    assert direct_efficiency(rng, settings, "dark_higgs_mumu", 1.0, 1e-6, 5_000)[0] < 0.04 * best
    # h' of βγ about 3 reaches 80 cm with a probability of 80/(3 × 10^6)
    assert direct_efficiency(rng, settings, "dark_higgs_mumu", 1.0, 1e6, 5_000)[0] < 0.01 * best


@pytest.mark.parametrize(
    ("process", "arguments", "message"),
    [
        ("dark_higgs_mumu", {"masses": {0.2: 10}}, "threshold of its decay"),
        ("dark_higgs_kk", {"mass_range": (0.9, 2.0), "n_events": 10}, r"above 0\.9874 GeV"),
        ("dark_higgs_mumu", {"masses": {8.0: 10}}, r"lies in 0 to 7\.5"),
        ("displaced_kshort", {"masses": {1.0: 10}}, "belong to a signal"),
    ],
)
def test_impossible_requests_are_refused(process, arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        simulate(process, tmp_path / "s.root", **arguments)


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    path = tmp_path_factory.mktemp("v") / "signal.root"
    record = simulate("dark_higgs_mumu", path, n_events=30_000, mass_range=(0.3, 5.0), seed=6)
    (made,) = validate_samples([SimulatedFile("signal", path, record)], seed=2)
    return made


def test_every_pull_of_the_validation_is_within_four(validation):
    pulls = {check.quantity: check.pull for check in validation.checks}
    assert len(pulls) >= 12
    assert {name: pull for name, pull in pulls.items() if abs(pull) > 4.5} == {}
    assert [curve.name for curve in validation.curves] == ["efficiency_by_lifetime", "mass_resolution"]


@pytest.mark.parametrize(
    ("changes", "by_lifetime"),
    [
        ({"model": {"hprime_ctau_cm": [1.0, 1.0]}}, False),
        ({"model": {"dark_photon_mass": 9.0}}, True),
        ({"tracker": {"track_threshold": 3.0}}, False),
    ],
)
def test_unusual_settings_leave_rows_out_and_spoil_nothing(changes, by_lifetime, tmp_path, monkeypatch):
    monkeypatch.setattr(validation_module, "N_EVENTS", 10_000)
    monkeypatch.setattr(validation_module, "N_DIRECT", 5_000)
    settings = DisplacedSettings.from_mapping(changes)
    path = tmp_path / "s.root"
    record = simulate("dark_higgs_mumu", path, masses={0.5: 500}, settings=settings)
    (made,) = validate_samples([SimulatedFile("signal", path, record)], seed=2)
    assert any("efficiency at" in check.quantity for check in made.checks) == by_lifetime
    assert len(made.checks) >= 6


def test_mass_resolution_rises_with_mass(validation):
    widths = validation.curves[1].series[0].y
    assert widths[0] < widths[-1]


CONFIG = {
    "search": "dark_higgs",
    "luminosity_fb": 365,
    "tracking": {"enabled": False},
    "samples": {
        "signal": {
            "role": "signal",
            "simulate": "dark_higgs_mumu",
            "settings": {
                "n_events": 20000,
                "mass_range": [0.5, 4.0],
                "model": {"hprime_ctau_cm": [1.0, 1.0], "chi2_ctau_cm": [1.0, 1.0]},
            },
        },
        "kshort": {"role": "background", "simulate": "displaced_kshort", "settings": {"n_events": 20000}},
    },
    "scan": {"observable": "hprime_M_mumu", "range": [0.6, 3.9], "step_sigma": 20},
}


def darksieve(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from darksieve.cli import main; main()", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_command_line_simulates_from_a_config_and_names_a_wrong_setting(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(CONFIG))
    done = darksieve(tmp_path, "simulate", "c.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    record = SampleRecord.load(tmp_path / "run" / "samples" / "signal.json")
    assert record.settings["model"]["hprime_ctau_cm"] == [1.0, 1.0]
    assert set(read(tmp_path / "run" / "samples" / "kshort.root")) == set(record.columns)
    wrong = darksieve(
        tmp_path, "check", "c.yaml", "--set", "samples.signal.settings.model.hprime_ctau=[1, 1]"
    )
    assert wrong.returncode == 2
    assert "hprime_ctau: unknown key" in wrong.stderr


def test_examples_of_the_guide_run(tmp_path):
    page = (Path(__file__).parents[4] / "docs" / "displaced.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    simulate("dark_higgs_mumu", tmp_path / "signal.root", n_events=20_000, mass_range=(1.0, 2.0), seed=8)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    efficiency, error = map(float, done.stdout.split())
    # about 0.16 at 1.5 GeV and 3 cm, see the validation's picture
    assert efficiency == pytest.approx(0.16, abs=0.03)
    assert 0 < error < 0.01
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    shown = SearchConfig.model_validate({**CONFIG, **yaml.safe_load(text)})
    assert len(check_search(shown)) > 3


@pytest.mark.slow
def test_a_whole_search_in_the_counting_regime_gives_limits_and_shows_the_simulation(tmp_path):
    config = {
        **CONFIG,
        "channels": {"mumu": {"select": "xplus_muonID > 0.5 and xminus_muonID > 0.5 and nTracks < 6"}},
        "scan": {"observable": "hprime_M_mumu", "range": [0.6, 3.9], "masses": [1.0, 3.0], "toys": 200},
    }
    config["samples"] = {**CONFIG["samples"]}
    config["samples"]["kshort"] = {
        "role": "background", "simulate": "displaced_kshort", "settings": {"n_events": 200_000},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    done = darksieve(tmp_path, "run", "c.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    points = json.loads((tmp_path / "run" / "limits.json").read_text())["points"]
    assert len(points) == 2
    for point in points:
        assert point["expected"]["0"] > 0
        # toys or exact: fewer than 30 background events are expected
        assert point["method"] != "asymptotic"
    # a limit of some three events over the efficiency of about 0.2
    assert 3 < points[1]["expected"]["0"] < 60
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Simulation: Displaced vertices" in page
    assert "mean proper decay length of K_S" in page
