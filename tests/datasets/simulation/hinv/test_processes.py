"""Samples of B → hX: weights, keys, truth, cross sections, sidecars, and what is refused."""

import json
import sys

import numpy as np
import pytest
import uproot

pytest.importorskip("pythia8mc")

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role
from darksieve.datasets.simulation.bfactory.generation import b_pair_events
from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.matching import true_bs
from darksieve.datasets.simulation.hinv.plans import BPairSource, ContinuumSource, HinvPlan, no_rows
from darksieve.datasets.simulation.hinv.settings import HinvSettings
from darksieve.datasets.simulation.hinv.two_body import two_body_decays
from darksieve.datasets.simulation.processes import PROCESSES
from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.simulation.record import SampleRecord
from darksieve.datasets.simulation.request import SampleRequest
from darksieve.datasets.truth import truth_pattern
from darksieve.errors import InputError

N = 1500


@pytest.fixture(scope="module")
def pi(tmp_path_factory):
    path = tmp_path_factory.mktemp("hinv") / "pi.root"
    settings = HinvSettings(channels=("pi", "k"))
    record = simulate("hinv_pi", path, masses={1.0: N, 2.0: N}, settings=settings, seed=5)
    with uproot.open(path) as file:
        return path, record, file["ntuple"].arrays(library="np")


@pytest.fixture(scope="module")
def backgrounds():
    settings = HinvSettings(channels=("pi", "ds", "d0"))
    return {
        "continuum": HinvPlan(ContinuumSource(), 611, settings, 1, 1000).make(0).columns,
        "charged": HinvPlan(BPairSource(1), 612, settings, 1, 1000).make(0).columns,
        "neutral": HinvPlan(BPairSource(0), 613, settings, 1, 1000).make(0).columns,
    }


@pytest.mark.parametrize(("pdg", "name"), [(521, "efficiency_charged"), (511, "efficiency_neutral")])
def test_mean_tag_efficiency_of_generic_decays_is_the_stated_one(pdg, name):
    settings = HinvSettings()
    batch = b_pair_events(np.random.default_rng(9), settings.beams, 0.005, pdg, 4000)
    efficiency = true_bs(batch, settings.beams, settings.tag).efficiency.ravel()
    assert ((efficiency >= 0) & (efficiency <= 1)).all()
    error = efficiency.std() / np.sqrt(len(efficiency))
    assert efficiency.mean() == pytest.approx(getattr(settings.tag, name), abs=4 * error)


def test_the_sum_of_weights_is_the_tag_efficiency_times_what_the_detector_keeps(pi):
    _, _, columns = pi
    true = columns["isSignal"] == 1
    # 0.965 tracking in 17 to 150 degrees, some 90 % pion identification, the tails of the tag's window
    share = columns["genTagWeight"][true].sum() / (2 * N) / HinvSettings().tag.efficiency_charged
    assert 0.55 < share < 1.05
    # a random cut would leave some 0.5 % of the events: here all whose tag can be found stay
    assert true.sum() > 0.1 * 2 * N
    assert columns["genTagWeight"][true].mean() < 0.1


def test_momentum_of_h_has_the_resolution_of_tag_and_track(pi):
    _, _, columns = pi
    for mass in (1.0, 2.0):
        true = (columns["isSignal"] == 1) & np.isclose(columns["genM_X"], mass)
        low, middle, high = np.quantile(columns["p_h"][true], [0.16, 0.5, 0.84])
        # 15 MeV of the tag times E_h/m_B (7 MeV) and 0.4 % of 2.5 GeV (10 MeV): 12 MeV, and tails
        assert (high - low) / 2 == pytest.approx(0.013, abs=0.004)
        assert middle == pytest.approx(
            CHANNELS["pi"].momentum(mass), abs=4 * 0.013 / np.sqrt(true.sum()) + 2e-3
        )
        m2 = CHANNELS["pi"].recoil_mass_squared(columns["p_h"][true])
        np.testing.assert_allclose(columns["M2_X"][true], m2, atol=1e-4)


def test_branches_are_those_known_without_generating(pi, backgrounds):
    expected = no_rows(HinvSettings())
    for columns in (pi[2], *backgrounds.values()):
        assert {name: values.dtype for name, values in columns.items()} == {
            name: values.dtype for name, values in expected.items()
        }


def test_rows_have_unique_keys_and_count_their_candidates(pi):
    _, record, columns = pi
    key = np.stack([columns["__event__"].astype(np.int64), columns["__candidate__"]], axis=1)
    assert len(np.unique(key, axis=0)) == len(key) == record.n_selected
    assert set(columns["__production__"]) == {601}
    _, counts = np.unique(columns["__event__"], return_counts=True)
    np.testing.assert_array_equal(np.repeat(counts, counts), columns["__ncandidates__"])


def test_truth_is_barred_from_features_and_the_rest_is_not(pi):
    barred = {name for name in pi[2] if truth_pattern(name) is not None and not name.startswith("__")}
    assert barred == {
        "isSignal", "genTagIsRight", "h_isSignal", "h_mcPDG", "genSubmode", "genM_X", "genTagWeight",
    }  # fmt: skip


def test_the_catalogue_makes_absolute_efficiencies_of_the_weights(pi):
    path, record, columns = pi
    process = PROCESSES["hinv_pi"]
    sample = Sample(
        "signal", Role.SIGNAL, (path,), n_generated=record.n_generated, mass=process.mass_branch,
        weight=process.weight_branch,
    )  # fmt: skip
    _, weights = sample.masses_and_weights(
        record.n_selected, 711.0, columns["genM_X"], columns["genTagWeight"]
    )
    np.testing.assert_allclose(weights, columns["genTagWeight"] / N, rtol=1e-6)


def test_continuum_has_wrong_tags_only_and_b_pairs_both(backgrounds):
    for name, columns in backgrounds.items():
        assert len(columns["p_h"]) > 50
        assert (columns["isSignal"] == 0).all()
        assert np.isnan(columns["genM_X"]).all()
        right = columns["genTagIsRight"] == 1
        assert right.any() == (name != "continuum")
        wrong = columns["tag_SignalProbability"][~right]
        assert np.median(wrong) < 0.05
    # a right tag peaks in ΔE, a wrong one does not
    for name in ("charged", "neutral"):
        columns = backgrounds[name]
        right = columns["genTagIsRight"] == 1
        near = np.abs(columns["tag_deltaE"]) < 0.04
        assert near[right].mean() > 0.7
        assert near[~right].mean() < 0.5


def test_right_tags_of_neutral_pairs_serve_the_d_zero_only(backgrounds):
    right = backgrounds["neutral"]["genTagIsRight"] == 1
    assert set(backgrounds["neutral"]["channel"][right]) == {5}
    right = backgrounds["charged"]["genTagIsRight"] == 1
    assert set(backgrounds["charged"]["channel"][right]) <= {1, 3}


def test_a_block_is_the_same_whenever_it_is_made():
    plan = HinvPlan(BPairSource(1), 612, HinvSettings(), 4, 300)
    first = plan.make(0)
    HinvPlan(ContinuumSource(), 611, HinvSettings(), 4, 50).make(0)
    again = plan.make(0)
    for name, values in first.columns.items():
        np.testing.assert_array_equal(values, again.columns[name])
    other = HinvPlan(BPairSource(1), 612, HinvSettings(), 5, 300).make(0)
    assert not np.array_equal(first.columns["p_h"], other.columns["p_h"])


@pytest.mark.parametrize(("b_charge", "name"), [(1, "charged"), (0, "neutral")])
def test_cross_sections_of_generic_and_two_body_pairs_add_up(b_charge, name):
    settings = HinvSettings()
    parts = [
        SampleRequest(process, n_events=1, settings=settings).plan().cross_section_fb
        for process in (f"hinv_{name}", f"hinv_two_body_{name}")
    ]
    whole = settings.rates.b_pairs_fb(charged=b_charge == 1)
    fraction = sum(decay.fraction for decay in two_body_decays(b_charge))
    # but for the pairs in which both Bs decay so
    assert sum(parts) == pytest.approx(whole * (1 - fraction**2), rel=1e-12)
    assert parts[1] == pytest.approx(2 * whole * fraction * (1 - fraction), rel=1e-12)


def test_sidecar_says_stand_in_and_where_the_numbers_come_from(pi):
    path, record, _ = pi
    assert SampleRecord.load(path) == record
    values = json.loads(path.with_suffix(".json").read_text())
    assert "toy simulation" in values["label"]
    assert "stand-in" in values["sources"]["tag.efficiency_charged"]["source"]
    assert "1807.08680" in values["sources"]["tag.efficiency_charged"]["source"]
    assert values["sources"]["ds → phi pi+"]["value"] == 0.0221
    assert values["settings"]["tag"]["efficiency_charged"] == 0.0061
    assert record.n_generated == {1.0: N, 2.0: N}


def test_candidates_wanted_end_a_sample_with_whole_blocks(tmp_path):
    settings = HinvSettings(channels=("pi",))
    record = simulate(
        "hinv_pi", tmp_path / "few.root", mass_range=(0.5, 1.5), n_candidates=20, settings=settings
    )
    assert record.n_generated == 10_000
    assert record.n_selected >= 20


def test_masses_above_the_endpoint_and_unknown_channels_are_refused():
    with pytest.raises(InputError, match=r"3\.4 GeV; it lies in 0 to 3\.311 GeV"):
        SampleRequest("hinv_ds", masses={3.4: 10})
    with pytest.raises(InputError, match="did you mean 'd0'"):
        HinvSettings.from_mapping({"channels": ["d00"]})
    with pytest.raises(InputError, match="lists 'pi' twice"):
        HinvSettings(channels=("pi", "k", "pi"))
    with pytest.raises(InputError, match=r"tag\.efficency_charged: unknown key; did you mean"):
        HinvSettings.from_mapping({"tag": {"efficency_charged": 0.01}})
    with pytest.raises(InputError, match=r"sqrt\(s\) is"):
        HinvSettings.from_mapping({"beams": {"electron_gev": 7.0, "positron_gev": 3.0}})


def test_without_pythia_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    from darksieve.datasets.simulation.bfactory import pythia

    pythia._pair_gun.cache_clear()
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(InputError, match="pip install 'darksieve"):
        simulate("hinv_k", tmp_path / "none.root", mass_range=(0.5, 1.0), n_events=10)


@pytest.mark.slow
def test_two_workers_make_the_bytes_of_one(tmp_path):
    made = [
        simulate(
            "hinv_two_body_neutral", tmp_path / f"{workers}.root", n_events=10_400, seed=3, workers=workers,
            settings=HinvSettings(channels=("d0",)),
        )
        for workers in (1, 2)
    ]  # fmt: skip
    assert made[0].sha256 == made[1].sha256
    assert made[0].n_generated == 10_400
