"""A small search for B+ → π+ X with X invisible runs from generator to limits by its config alone."""

import csv
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import uproot

pytest.importorskip("pythia8mc")

from darksieve.config_loading import load_config
from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.h_candidates import CHANNEL_NUMBERS
from darksieve.datasets.simulation.hinv.settings import HinvSettings
from darksieve.datasets.simulation.hinv.two_body import TWO_BODY_DECAYS
from darksieve.datasets.simulation.production import simulate
from darksieve.errors import InputError
from darksieve.workflow.checks import check_search

# samples far too small for a real limit: 0.005/fb of continuum; all numbers are illustrative
CONFIG = """
search: pi_invisible
luminosity_fb: 711
confidence_level: 0.90
beams: belle
samples:
  signal: {role: signal, simulate: hinv_pi, select: "isSignal == 1",
           settings: {n_events: 20000, mass_range: [0.5, 3.5], channels: [pi]}}
  continuum: {role: background, simulate: hinv_continuum, settings: {n_events: 20000, channels: [pi]}}
  charged: {role: background, simulate: hinv_charged, settings: {n_events: 20000, channels: [pi]}}
  two_body: {role: background, simulate: hinv_two_body_charged, settings: {n_events: 10000, channels: [pi]}}
candidates: {select: "nExtraTracks == 0 and tag_Mbc > 5.265"}
channels:
  pi: {select: "channel == 1", n_parents: 8.1e8}
classifiers:
  - {name: continuum, model: bdt, folds: 2, features: [R2, thrustBm, cosTBTO, cosTBz, "KSFWVariables(hso02)"],
     options: {n_trees: 30, max_depth: 3, learning_rate: 0.2}}
working_points: {objective: expected_limit, kind: threshold}
scan:
  observable: M2_X
  range: [1.0, 3.0]
  masses: [1.0, 2.0, 3.0]
  background: {family: chebyshev, order: 1, window_sigma: 10}
  nuisances: {luminosity: 0.014, efficiency: 0.05, width: 0.05, scale_sigma: 0.1}
  method: asymptotic
interpretation: {parameter: branching_fraction}
tracking: {enabled: false}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text(CONFIG)
    return path


def test_the_config_is_checked_without_an_event(config):
    lines = check_search(load_config(config))
    assert any("simulated (hinv_two_body_charged)" in line for line in lines)


def test_the_preset_of_five_channels_is_checked_and_takes_its_fractions_from_the_simulation():
    preset = load_config("b_to_h_invisible")
    assert any("sample signal_d0" in line for line in check_search(preset))
    for name, channel in CHANNELS.items():
        assert preset.channels[name].secondary_fraction == pytest.approx(channel.secondary_fraction, rel=2e-3)
        assert preset.channels[name].select == f"channel == {CHANNEL_NUMBERS[name]}"
        # 7.72e8 pairs, 51.4 % of them charged, two Bs each
        share = 0.514 if channel.b_charge else 0.486
        assert preset.channels[name].n_parents == pytest.approx(2 * 7.72e8 * share, rel=2e-3)


def test_the_peaks_of_the_preset_are_those_of_the_simulation():
    preset = load_config("b_to_h_invisible")
    masses = {
        "D̄0": 1.8648,
        "D̄*0": 2.0069,
        "J/ψ": 3.0969,
        "K0": 0.4976,
        "η'": 0.9578,
    }  # GeV, PDG 2024, from memory
    shifted = 0
    for name in ("two_body_charged", "two_body_neutral"):
        peaks = preset.samples[name].peaking
        assert peaks.by == "genSubmode"
        for label, peak in peaks.peaks.items():
            decay = TWO_BODY_DECAYS[peak.value - 1]
            (channel,) = peak.channels
            if label.endswith("_as_K"):
                # a pion taken for a kaon: the same momentum, and with it a smaller recoil mass
                pion, kaon, b = 0.13957, 0.49368, 5.27934
                true = masses[decay.label]
                energy = (b**2 + pion**2 - true**2) / (2 * b)
                as_kaon = math.sqrt(energy**2 - pion**2 + kaon**2)
                assert peak.mass == pytest.approx(math.sqrt(b**2 + kaon**2 - 2 * b * as_kaon), abs=2e-3)
                assert (decay.channel, channel) == ("pi", "k")
                shifted += 1
                continue
            assert decay.channel == channel
            if decay.label in masses:
                assert peak.mass == pytest.approx(masses[decay.label], abs=1e-3)
    assert shifted == 2


def test_the_preset_generates_backgrounds_inside_its_own_selection():
    preset = load_config("b_to_h_invisible")
    select = preset.candidates.select
    for sample in preset.samples.values():
        if sample.role == "background":
            tag, rest = sample.settings["tag"], sample.settings["selection"]
            assert f"tag_Mbc > {tag['min_mbc']}" in select
            assert f"abs(tag_deltaE) < {tag['max_abs_delta_e']}" in select
            assert f"extraEnergy < {rest['max_extra_energy']}" in select
            assert f"nExtraTracks == {rest['max_extra_tracks']}" in select


def test_the_preset_has_two_stages_and_nuisances_that_channels_share():
    preset = load_config("b_to_h_invisible")
    first, second = preset.classifiers
    assert "continuum" in first.samples
    assert not {"charged", "neutral"} & set(first.samples)
    assert {"tag_SignalProbability", "extraEnergy"} <= set(second.features)
    named = preset.scan.nuisances.named
    assert named["n_BB"].channels is None
    assert not set(named["FEI_charged"].channels) & set(named["FEI_neutral"].channels)
    assert set(named["FEI_charged"].channels) | set(named["FEI_neutral"].channels) == set(preset.channels)
    assert named["tracking"].sizes["ds"] > named["tracking"].size


@pytest.mark.slow
def test_generating_inside_the_selection_changes_no_distribution(tmp_path):
    """The same expected events by channel as from the loose simulation, within their errors."""
    preset = load_config("b_to_h_invisible")
    tight = {key: preset.samples["continuum"].settings[key] for key in ("tag", "selection")}
    found = []
    for i, settings in enumerate(({}, tight)):
        path = tmp_path / f"{i}.root"
        own = HinvSettings.from_mapping(settings, "settings")
        simulate("hinv_charged", path, n_events=20_000, seed=3, settings=own)
        rows = uproot.open(path)["ntuple"].arrays(library="np")
        kept = (rows["nExtraTracks"] == 0) & (rows["extraEnergy"] < 1.5)
        kept &= (rows["tag_Mbc"] > 5.27) & (np.abs(rows["tag_deltaE"]) < 0.1)
        assert i == 0 or kept.all()
        weight, channel = rows["genTagWeight"][kept].astype(float), rows["channel"][kept]
        of_channel = [weight[channel == c] for c in (1, 2, 5)]
        found.append([(w.sum(), np.sqrt((w**2).sum()), w.sum() ** 2 / (w**2).sum()) for w in of_channel])
    for (loose, loose_error, _), (narrow, narrow_error, _) in zip(*found, strict=True):
        assert abs(loose - narrow) < 4 * math.hypot(loose_error, narrow_error)
    # which is what it is for: more effective events from as many generated ones
    assert sum(n for *_, n in found[1]) > 1.3 * sum(n for *_, n in found[0])


def test_a_missing_branch_is_named_before_any_event(config):
    config.write_text(CONFIG.replace("cosTBz", "cosTBx"))
    with pytest.raises(InputError, match=r"simulated.*cosTBx.*cosTB"):
        check_search(load_config(config))


@pytest.mark.slow
def test_the_search_runs_to_limits_on_the_branching_fraction(config, tmp_path):
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", "from darksieve.cli import main; main()", "run", str(config), "-o", str(run)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    limits = json.loads((run / "limits.json").read_text())
    assert [point["mass"] for point in limits["points"]] == [1.0, 2.0, 3.0]
    for point in limits["points"]:
        assert point["status"] == "converged"
        assert point["observed"] is None  # blind
        # no background at all would give 2.3 events over 8.1e8 parents and some 0.4 % of efficiency: 7e-7
        assert 3e-7 < point["expected"]["0"] < 1e-3
    efficiency = [
        point["signal_efficiency"]
        for point in json.loads((run / "working_points.json").read_text())["points"]
    ]
    # never above the tag's own efficiency, 0.61 % of B+
    assert all(0 < value < 0.0061 for value in efficiency)
    assert (run / "report.html").exists()
    with (run / "limits.csv").open() as file:
        assert all(math.isfinite(float(row["expected_0"])) for row in csv.DictReader(file))
