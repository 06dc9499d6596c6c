"""The search for a displaced dark Higgs boson: its preset, and ntuples that darksieve did not make.

Plain numpy draws with trees and branches of other names; their physics is invented, but for lifetimes that
follow exponentials and efficiencies that are known.
"""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import uproot
import yaml

from darksieve import couplings
from darksieve.config_loading import load_config, validate
from darksieve.datasets.simulation.displaced.lifetimes import LifetimeRange
from darksieve.errors import InputError
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.document import SearchModel
from darksieve.workflow.chain import run_chain
from darksieve.workflow.fits import fits_of

SIGMA = 0.005  # GeV, resolution of the invented mass
RADIUS = (0.2, 40.0)  # cm of proper length that is found; nothing is lost inside
LIFETIMES = LifetimeRange(0.1, 10000.0)
N_GENERATED = 40_000

CONFIG = """
search: foreign_higgs
luminosity_fb: 100
event_key: [evt]
samples:
  soup:  {role: background, files: [soup.root], tree: vtx, luminosity_fb: 50}
  sig_m: {role: signal, files: [sig_m.root], tree: vtx, mass: m_true, n_generated: 40000,
          mass_range: [0.25, 2.2], lifetime: {length: ct_true, generated_cm: [0.1, 10000]}}
  sig_p: {role: signal, files: [sig_p.root], tree: vtx, mass: m_true, n_generated: 40000,
          mass_range: [0.30, 2.2], lifetime: {length: ct_true, generated_cm: [0.1, 10000]}}
candidates: {select: "fly > 0.2"}
channels:
  two_mu: {select: "kind == 13",  final_state: mumu, range: [0.3, 2.1]}
  two_pi: {select: "kind == 211", final_state: pipi, range: [0.4, 2.1]}
scan:
  observable: mass_xx
  range: [0.3, 2.1]
  masses: [0.35, 0.7, 1.2, 1.8]
  vetoes: [[0.45, 0.52]]
  background: {family: chebyshev, order: 1, window_sigma: 10}
  counting: {}
  ctau_cm: [3, 30]
  method: marginal
  nuisances: {luminosity: 0.01, efficiency: 0.05}
interpretation:
  parameter: sin_theta
  particle: S
  dark_sector: {dark_photon_mass: 3.0, alpha_dark: 0.1, epsilon: 1.0e-3}
  also: {two_mu: {channels: [two_mu]}, two_pi: {channels: [two_pi]}}
tracking: {enabled: false}
"""
CLASSIFIER = {
    "classifiers": [
        {
            "name": "vertex",
            "model": "bdt",
            "features": ["quality", "angle"],
            "folds": 2,
            "matching": "none",
            "options": {"n_trees": 20, "max_depth": 2},
        }
    ],
    "working_points": {
        "objective": "expected_limit_counting",
        "kind": "threshold",
        "together": False,
        "min_effective_events": 40,
    },
}


def _write(path, columns):
    with uproot.recreate(path) as file:
        file.mktree("vtx", {name: values.dtype for name, values in columns.items()})
        file["vtx"].extend(columns)


def _signal(path, rng, low, kind, first):
    mass = rng.uniform(low, 2.2, N_GENERATED)
    _, length = LIFETIMES.draw(rng, N_GENERATED)
    found = (length > RADIUS[0]) & (length < RADIUS[1])
    n = int(found.sum())
    _write(
        path,
        {
            "evt": (first + np.arange(n)).astype(np.int64),
            "kind": np.full(n, kind, np.int32),
            "mass_xx": mass[found] + SIGMA * rng.normal(size=n),
            "fly": length[found],
            "quality": rng.normal(2, 1, n),
            "angle": rng.normal(2, 1, n),
            "m_true": mass[found],
            "ct_true": length[found],
        },
    )


def _background(path, rng, kinds, first=1):
    n = len(kinds)
    _write(
        path,
        {
            "evt": (first + np.arange(n)).astype(np.int64),
            "kind": np.asarray(kinds, np.int32),
            "mass_xx": rng.uniform(0.2, 2.5, n),
            "fly": rng.exponential(30, n) + 0.2,
            "quality": rng.normal(0, 1, n),
            "angle": rng.normal(0, 1, n),
        },
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("higgs")
    rng = np.random.default_rng(5)
    _signal(folder / "sig_m.root", rng, 0.25, 13, 10**6)
    _signal(folder / "sig_p.root", rng, 0.30, 211, 2 * 10**6)
    _background(folder / "soup.root", rng, [13] * 6 + [211] * 300)
    (folder / "higgs.yaml").write_text(CONFIG)
    return folder


def config(folder, **changes):
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(CONFIG) | changes))
    return load_config(path)


def _json(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def scanned(folder):
    run_chain(config(folder), folder / "scanned", last_stage="scan")
    return folder / "scanned"


def efficiency(ctau):
    """Of what was generated: the share of an exponential between two lengths."""
    return np.exp(-RADIUS[0] / ctau) - np.exp(-RADIUS[1] / ctau)


@pytest.mark.parametrize("ctau", [3, 30])
@pytest.mark.parametrize("channel", ["two_mu", "two_pi"])
def test_limits_at_each_lifetime_are_those_of_its_efficiency(scanned, channel, ctau):
    document = _json(scanned / f"limits_{channel}_ctau{ctau}cm.json")
    assert document["ctau_cm"] == ctau
    assert _json(scanned / f"search_{channel}_ctau{ctau}cm.json")["ctau_cm"] == ctau
    points = [p for p in document["points"] if p["status"] == "converged"]
    assert len(points) == {"two_mu": 4, "two_pi": 3}[channel]
    if channel == "two_mu":  # hardly any background: 3.03 events with the error of the efficiency
        for point in points:
            limit = 3.03 / (100 * efficiency(ctau) * 0.9545)
            # 40 000 generated over 1.9 GeV: some 5 % of efficiency where the polynomial is stiff
            assert point["expected"]["0"] == pytest.approx(limit, rel=0.12)
    assert all(point["method"] == "marginal" and point["observed"] is None for point in points)


def test_longer_lifetimes_outside_the_detector_cost_reach(scanned):
    near, far = (
        [p["expected"]["0"] for p in _json(scanned / f"limits_two_mu_ctau{c}cm.json")["points"]]
        for c in (3, 30)
    )
    ratio = efficiency(3) / efficiency(30)
    assert np.median(np.array(far) / np.array(near)) == pytest.approx(ratio, rel=0.1)


def test_all_channels_together_are_tied_by_the_branching_fractions(scanned):
    together = _json(scanned / "limits.json")
    assert together["ctau_cm"] == 3
    document = _json(scanned / "search.json")
    alone = {name: _json(scanned / f"search_{name}_ctau3cm.json") for name in ("two_mu", "two_pi")}
    for i, point in enumerate(document["points"]):
        for channel, entry in point["channels"].items():
            final_state = {"two_mu": "mumu", "two_pi": "pipi"}[channel]
            share = couplings.dark_higgs_branching_fraction(final_state, point["mass"])
            own = alone[channel]["points"][i]["channels"][channel]["yield_per_unit"]
            assert entry["yield_per_unit"] == pytest.approx(share * own, rel=1e-6)


def test_the_region_of_mixing_is_where_more_events_are_expected_than_allowed(scanned):
    document = _json(scanned / "interpretation.json")
    assert document["parameter"] == {"name": "sin_theta", "unit": "1"}
    assert {p["channel"] for p in document["points"]} == {"two_mu", "two_pi"}
    (point,) = [p for p in document["points"] if p["channel"] == "two_pi" and p["mass"] == 0.7]
    low, high = point["expected"]["0"]
    limit = next(p for p in _json(scanned / "limits_two_pi_ctau3cm.json")["points"] if p["mass"] == 0.7)
    at_reference = limit["expected"]["0"] * efficiency(3)
    rate = couplings.dark_higgsstrahlung_cross_section_fb(
        0.7, dark_photon_mass=3.0, alpha_dark=0.1, epsilon=1e-3, sqrt_s=10.579
    ) * couplings.dark_higgs_branching_fraction("pipi", 0.7)
    found = [float(rate * efficiency(couplings.dark_higgs_ctau_cm(0.7, s))) for s in (low, high)]
    simulated = point["simulated_sin_theta"]
    # the efficiency falls as 1/cτ there, by weights on some thousand events: a few per cent
    assert found[0] == pytest.approx(at_reference, rel=0.15)
    assert high == pytest.approx(simulated[1]) or found[1] == pytest.approx(at_reference, rel=0.3)
    assert simulated[0] < low < high <= simulated[1] * (1 + 1e-9)


def test_the_limit_tool_answers_the_document_alone_with_its_lifetime(scanned):
    model = SearchModel.load(scanned / "search_two_pi_ctau30cm.json")
    curve = answer_documents([model], method="marginal")
    assert curve.ctau_cm == 30
    stored = _json(scanned / "limits_two_pi_ctau30cm.json")["points"]
    assert [p.expected and p.expected["0"] for p in curve.points] == [p["expected"]["0"] for p in stored]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ctau_cm": [3, 50000]},
            "50000 cm is outside what samples.sig_m has, 0.1 to 10000 cm",
        ),
        ({"ctau_cm": [3, 3]}, "names a lifetime twice"),
        ({"ctau_cm": None}, "samples.sig_m.lifetime has no say without|'sin_theta' needs scan.ctau_cm"),
        ({"counting": None}, "method 'marginal' is for counts"),
        ({"counting": {"window_sigma": 5, "average_sigma": 2}}, "the average is over the window or more"),
        ({"counting": {"window": 2}}, "did you mean 'window_sigma'"),
        ({"method": "asymptotic"}, "does not answer counts"),
        ({"nuisances": {"width": 0.1}}, "nuisances.width has no say"),
    ],
)
def test_scans_that_cannot_be_are_refused(changes, message):
    tree = yaml.safe_load(CONFIG)
    tree["scan"] |= changes
    with pytest.raises(InputError, match=message):
        validate(tree)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("interpretation", {"dark_sector": None}, "dark_sector goes with parameter: sin_theta"),
        ("interpretation", {"also": {}}, r"needs a fit of each channel alone, and \['two_mu', 'two_pi'\]"),
        ("interpretation", {"parameter": "cross_section", "dark_sector": None}, "final_state goes with"),
        ("channels", {"two_mu": {"select": "kind == 13"}}, r"needs final_state in channels \['two_mu'\]"),
        ("channels", {"two_mu": {"final_state": "ee"}}, "final_state"),
        (
            "samples",
            {"sig_m": {"role": "signal", "files": ["a.root"], "mass": "m", "n_generated": {1.0: 5}}},
            "samples.sig_m needs its lifetime",
        ),
        (
            "samples",
            {"soup": {"role": "background", "files": ["a.root"],
                      "lifetime": {"length": "a", "generated_cm": [1, 2]}}},
            "lifetime is for signals",
        ),
    ],
)  # fmt: skip
def test_models_that_cannot_be_are_refused(section, changes, message):
    tree = yaml.safe_load(CONFIG)
    tree[section] |= changes
    with pytest.raises(InputError, match=message):
        validate(tree)


def test_a_channel_without_simulated_background_takes_no_part_and_says_so(folder, caplog):
    rng = np.random.default_rng(8)
    _background(folder / "pions_only.root", rng, [211] * 200)
    soup = {"role": "background", "files": ["pions_only.root"], "tree": "vtx", "luminosity_fb": 50}
    samples = yaml.safe_load(CONFIG)["samples"] | {"soup": soup}
    with caplog.at_level(logging.WARNING, logger="darksieve"):
        run_chain(config(folder, samples=samples), folder / "pions_only", last_stage="scan")
    assert "channel two_mu: no candidate of simulated background" in caplog.text
    assert {p["channel"] for p in _json(folder / "pions_only" / "interpretation.json")["points"]} == {
        "two_pi"
    }
    assert not (folder / "pions_only" / "limits_two_mu_ctau3cm.json").exists()


def test_a_lifetime_of_which_no_event_is_left_is_refused_with_its_value(folder):
    scan = yaml.safe_load(CONFIG)["scan"] | {"ctau_cm": [30, 0.1]}
    # nothing is found below 30 cm: e^-300 of the events with cτ = 0.1 cm
    changed = config(folder, scan=scan, candidates={"select": "fly > 30"})
    with pytest.raises(InputError, match=r"cτ = 0.1 cm: the selected signal has .* effective events"):
        run_chain(changed, folder / "too_short", last_stage="scan")


def test_the_preset_scans_every_final_state_at_every_lifetime():
    preset = load_config("dark_higgs")
    names = [fit.name for fit in fits_of(preset)]
    assert names[0] is None
    assert set(names[1:]) == {
        f"{channel}_ctau{ctau:g}cm" for channel in ("mumu", "pipi", "kk") for ctau in (0.1, 1, 10, 100)
    }
    for name in ("mumu", "pipi", "kk"):  # what is said of the samples is what is simulated
        sample = preset.samples[name]
        assert list(sample.lifetime.generated_cm) == sample.settings["model"]["hprime_ctau_cm"]
        assert sample.select == preset.channels[name].select


def darksieve(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from darksieve.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DARKSIEVE_CACHE": "off"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
class TestForeignNtuplesThroughEveryStage:
    @pytest.fixture(scope="class")
    def run(self, folder):
        (folder / "full.yaml").write_text(yaml.safe_dump(yaml.safe_load(CONFIG) | CLASSIFIER))
        done = darksieve(folder, "run", "full.yaml", "-o", "run", "--unblind")
        assert done.returncode == 0, done.stderr
        return folder / "run", done.stderr

    def test_a_threshold_is_chosen_where_there_is_background_to_judge(self, run):
        points = _json(run[0] / "working_points.json")["points"]
        assert "two_pi" in {p["channel"] for p in points}

    def test_observed_limits_follow_the_counts(self, run):
        for name in ("two_mu", "two_pi"):
            for point in _json(run[0] / f"limits_{name}_ctau3cm.json")["points"]:
                if point["status"] == "converged":
                    assert point["observed"] > 0
                    assert 0 < point["p0"] <= 1

    def test_the_report_has_lifetimes_and_mixing(self, run):
        assert "Lifetimes and mixing" in (run[0] / "report.html").read_text()
        figures = {path.stem for path in (run[0] / "figures").glob("*.png")}
        assert {"mixing", "lifetimes_two_mu", "lifetimes_two_pi", "limits"} <= figures

    def test_the_region_of_the_data_stands_beside_the_expected_one(self, run):
        points = _json(run[0] / "interpretation.json")["points"]
        assert any(p["observed"] is not None for p in points)


@pytest.mark.slow
def test_the_preset_runs_in_small_and_stays_blind(tmp_path):
    small = [
        *(f"samples.{name}.settings.n_events=60000" for name in ("mumu", "pipi", "kk")),
        "samples.kshort.settings.luminosity_fb=60", "samples.kshort_pair.settings.luminosity_fb=40",
        "samples.lambda.settings.luminosity_fb=150", "samples.prompt.settings.luminosity_fb=700",
        "scan.masses=[0.35, 0.8, 1.5, 3.0]", "scan.step_sigma=null", "scan.ctau_cm=[1, 10]",
        "tracking.enabled=false",
    ]  # fmt: skip
    overrides = [part for override in small for part in ("--set", override)]
    done = darksieve(tmp_path, "run", "dark_higgs", "-o", "run", *overrides)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    for name in ("mumu", "pipi", "kk"):
        points = [
            p for p in _json(run / f"limits_{name}_ctau1cm.json")["points"] if p["status"] == "converged"
        ]
        assert points
        for point in points:
            assert point["observed"] is None
            # 3 events of 365/fb and an efficiency of 5 to 30 %; published: of the order of 0.1 fb
            assert 0.02 < point["expected"]["0"] < 0.3
    assert _json(run / "data.json")["blind"]
    assert (run / "figures" / "mixing.png").is_file()
