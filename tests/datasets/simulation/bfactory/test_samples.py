"""Samples at the Υ(4S) as files: keys, truth, masses, rates, and the same for any number of workers."""

import numpy as np
import pytest
import uproot

from darksieve.datasets.beams import Beams
from darksieve.datasets.names import root_name
from darksieve.datasets.simulation.bfactory import plans
from darksieve.datasets.simulation.bfactory.alp_fit import constrained_mass
from darksieve.datasets.simulation.bfactory.processes import B_FACTORY_PROCESSES
from darksieve.datasets.simulation.bfactory.rates import KAON_MODES, PEAKING_MESONS, Rates
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.truth import truth_pattern

BELLE = Beams.named("belle")
KEY = ("__experiment__", "__run__", "__event__", "__production__", "__candidate__")


def read(path):
    with uproot.open(path) as file:
        return file["ntuple"].arrays(library="np")


@pytest.fixture(scope="module")
def alp(tmp_path_factory):
    path = tmp_path_factory.mktemp("alp") / "k.root"
    record = simulate("b_to_kplus_alp", path, masses={0.5: 700, 2.0: 700, 4.0: 700}, seed=3)
    return record, read(path)


def test_one_row_for_each_candidate_with_a_key_of_its_own(alp):
    record, columns = alp
    key = np.stack([columns[name].astype(np.int64) for name in KEY], axis=1)
    assert len(np.unique(key, axis=0)) == len(key) == record.n_selected
    event, counts = np.unique(columns["__event__"], return_counts=True)
    assert (columns["__ncandidates__"] == counts[np.searchsorted(event, columns["__event__"])]).all()
    assert (columns["__candidate__"] < columns["__ncandidates__"]).all()
    assert columns["__event__"].max() <= 2100
    best = columns["deltaE_rank"] == 1
    assert best.sum() == len(event)
    for name in ("deltaE_rank", "deltaE_rank_in_mode"):
        assert (columns[name] >= 1).all()
    assert (columns["deltaE_rank_in_mode"] <= columns["deltaE_rank"]).all()


def test_every_number_is_finite_and_truth_is_barred_from_features(alp):
    _, columns = alp
    assert all(np.isfinite(values).all() for values in columns.values())
    truth = {name for name in columns if truth_pattern(name) is not None}
    barred = {
        "isSignal",
        "genM_a",
        "genMatch",
        "genSubmode",
        "K_mcPDG",
        "gamma1_mcPDG",
        "gamma2_genMotherPDG",
    }
    assert barred < truth
    assert truth - set(KEY) - barred <= {
        "__ncandidates__", "__weight__", "gamma2_mcPDG", "gamma1_genMotherPDG",
    }  # fmt: skip
    for name in ("R2", "cosTBTO", "KSFWVariables(hso02)", "kaonID", "M_closest_pi0", "roe_M"):
        assert root_name(name) in columns


def half_width(values):
    low, high = np.quantile(values, [0.16, 0.84])
    return (high - low) / 2


# half-widths in MeV: raw ones grow as the energies' errors, the fitted ones are BaBar's order of size: 8 at
# 0.175 GeV, 14 at 2 GeV, 2 at 4.78 GeV after its fit (arXiv:2111.01800, from memory)
@pytest.mark.parametrize(("mass", "raw", "fitted"), [(0.5, 12, 8), (2.0, 38, 13.5), (4.0, 65, 8)])
def test_the_constrained_fit_sharpens_the_mass(alp, mass, raw, fitted):
    _, columns = alp
    chosen = (np.abs(columns["genM_a"] - mass) < 1e-3) & (columns["isSignal"] == 1)
    assert chosen.sum() > 300
    tolerance = 5 / np.sqrt(chosen.sum())  # a quantile's width has about this relative error
    assert 1000 * half_width(columns["M_gg"][chosen]) == pytest.approx(raw, rel=tolerance + 0.1)
    assert 1000 * half_width(columns["M_gg_fit"][chosen]) == pytest.approx(fitted, rel=tolerance + 0.1)
    assert 1000 * np.median(columns["M_gg_fit"][chosen] - mass) == pytest.approx(0, abs=0.5 * fitted)


def test_the_fit_gives_back_what_was_measured_without_errors():
    rng = np.random.default_rng(1)
    mass_b = np.full(50, 5.27941)
    p = np.sqrt(BELLE.sqrt_s**2 / 4 - mass_b**2)
    unit = rng.normal(size=(50, 3))
    b = np.column_stack(
        [p[:, None] * unit / np.linalg.norm(unit, axis=1)[:, None], np.full(50, BELLE.sqrt_s / 2)]
    )
    kaon3 = rng.normal(size=(50, 3))
    kaon = np.column_stack([kaon3, np.sqrt((kaon3**2).sum(axis=1) + 0.493677**2)])
    alp = b - kaon
    first = rng.normal(size=(50, 3))
    direction = first / np.linalg.norm(first, axis=1)[:, None]
    m2 = alp[:, 3] ** 2 - (alp[:, :3] ** 2).sum(axis=1)
    good = m2 > 0.1
    energy = m2 / (2 * (alp[:, 3] - (alp[:, :3] * direction).sum(axis=1)))
    one = np.column_stack([energy[:, None] * direction, energy])
    photons = np.stack([one, alp - one], axis=1)[good]
    fitted = constrained_mass(
        kaon[good], photons, np.full((good.sum(), 2), 0.017), BELLE.sqrt_s / 2, mass_b[good]
    )
    np.testing.assert_allclose(fitted, np.sqrt(m2[good]), rtol=1e-6)


def test_masses_are_those_asked_for_flat_or_discrete(alp, tmp_path):
    record, columns = alp
    assert record.n_generated == {0.5: 700, 2.0: 700, 4.0: 700}
    np.testing.assert_allclose(np.unique(columns["genM_a"]), [0.5, 2.0, 4.0], rtol=1e-6)
    simulate("b_to_kstarzero_alp", tmp_path / "f.root", mass_range=(1.0, 3.0), n_events=600, seed=2)
    flat = read(tmp_path / "f.root")
    own = flat["genM_a"][flat["isSignal"] == 1]
    assert 1.0 <= own.min() < 1.2
    assert 2.8 < own.max() <= 3.0


def test_peaking_background_peaks_at_its_meson_in_every_mode(tmp_path):
    record = simulate("b_to_k_eta", tmp_path / "e.root", n_events=1500, seed=4)
    columns = read(tmp_path / "e.root")
    right = columns["genMatch"] == 1
    assert np.median(columns["M_gg_fit"][right]) == pytest.approx(0.5479, abs=0.003)
    assert (columns["isSignal"] == 0).all()
    assert set(np.unique(columns["mode"][right])) == {0, 1, 2, 3}
    assert record.luminosity_fb == 1500 / record.cross_section_fb


def test_rates_of_peaking_backgrounds_are_products_of_their_fractions():
    rates = Rates()
    # 2 × 1.11 nb × 0.514 × 1.29e-5 × 0.98823, in fb
    assert rates.peaking_fb("kplus", "pi0") == pytest.approx(2 * 1.11e6 * 0.514 * 1.29e-5 * 0.98823)
    assert rates.peaking_fb("kshort", "eta") == pytest.approx(
        2 * 1.11e6 * 0.486 * 1.23e-6 * 0.3936 * 0.5 * 0.692
    )
    assert all(rates.peaking_fb(mode, meson) > 0 for mode in KAON_MODES for meson in PEAKING_MESONS)
    # the modes' shares of final states: K_S of K0 → ππ; isospin
    assert sum(rates.submodes("kstarplus")) == pytest.approx(2 / 3 * 0.346 + 0.98823 / 3)


@pytest.mark.parametrize("name", ["b_charged_pairs", "b_neutral_pairs"])
def test_pairs_of_b_mesons_give_few_candidates(name, tmp_path):
    record = simulate(name, tmp_path / "b.root", n_events=3000)
    assert record.n_selected < 0.02 * 3000
    assert record.luminosity_fb == pytest.approx(3000 / (1.11e6 * {"b_c": 0.514, "b_n": 0.486}[name[:3]]))


def test_continuum_is_jet_like_and_signal_is_not(alp, tmp_path):
    _, signal = alp
    simulate("continuum", tmp_path / "c.root", n_events=6000)
    background = read(tmp_path / "c.root")
    assert 60 < len(background["R2"]) < 400
    assert np.median(background["R2"]) > 0.4 > np.median(signal["R2"][signal["isSignal"] == 1])
    assert np.median(background["cosTBTO"]) > 0.9
    assert np.isin(background["genSubmode"], [1, 2, 3, 4]).all()
    assert (background["isSignal"] == 0).all()


@pytest.mark.parametrize(
    ("process", "size"),
    [
        ("continuum", {"n_candidates": 40}),
        ("b_to_kplus_alp", {"n_candidates": 2500, "mass_range": (1.0, 2.0)}),
        ("b_to_k_etaprime", {"n_events": 900}),
    ],
)
def test_workers_do_not_change_a_byte(process, size, tmp_path, monkeypatch):
    for source in (plans.ContinuumSource, plans.SignalSource, plans.PeakingSource):
        monkeypatch.setattr(source, "block", 400)
    # workers that are started anew know nothing of the smaller blocks, so their parts are made here
    planned = [simulate(process, tmp_path / f"{i}.root", seed=9, **size) for i in range(2)]
    assert planned[0].sha256 == planned[1].sha256
    assert planned[0].n_generated % 400 in (0, 100)
    assert planned[0].n_selected >= size.get("n_candidates", 0)


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path):
    records = [
        simulate("b_to_kplus_alp", tmp_path / f"{n}.root", mass_range=(1.0, 2.0), n_events=10_001, workers=n)
        for n in (1, 2)
    ]
    assert records[0].sha256 == records[1].sha256


def test_production_numbers_and_settings_are_the_familys():
    assert len({process.production for process in B_FACTORY_PROCESSES}) == len(B_FACTORY_PROCESSES)
    assert all(process.settings is BFactorySettings for process in B_FACTORY_PROCESSES)
