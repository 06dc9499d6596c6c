"""Generation: angles, thresholds, boosts and conservation of what goes into the detector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.constants import B_PLUS_MASS, B_ZERO_MASS, K_SHORT_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.generation import b_momenta, sine_squared
from darksieve.datasets.simulation.bfactory.particles import Position
from darksieve.datasets.simulation.bfactory.rates import Rates
from darksieve.datasets.simulation.bfactory.signals import (
    ALP_PDG,
    KSHORT_LIFETIME_MM,
    MODES,
    SUBMODES,
    decay_signals,
)
from darksieve.datasets.simulation.phase_space import invariant_mass, to_rest_frame

BELLE = Beams.named("belle")


def totals(batch):
    return np.add.reduceat(np.where(batch.is_final[:, None], batch.momenta, 0), batch.offsets[:-1])


def charges(batch):
    lepton, hadron = np.isin(np.abs(batch.pdg), [11, 13]), np.isin(np.abs(batch.pdg), [211, 321, 2212])
    charge = np.where(lepton, -np.sign(batch.pdg), np.where(hadron, np.sign(batch.pdg), 0))
    return np.add.reduceat(charge * batch.is_final, batch.offsets[:-1])


@pytest.mark.parametrize("collider", ["belle", "belle2"])
def test_everything_adds_up_to_the_beams(collider, make_signal):
    beams = Beams.named(collider)
    for name in MODES:
        batch = make_signal(name, np.full(60, 2.0), spread=0.0, beams=beams)
        np.testing.assert_allclose(totals(batch), np.tile(beams.four_momentum, (60, 1)), atol=1e-9)
        assert (charges(batch) == 0).all()


def test_continuum_adds_up_and_is_neutral(continuum_batch):
    np.testing.assert_allclose(totals(continuum_batch), np.tile(BELLE.four_momentum, (3000, 1)), atol=1e-9)
    assert (charges(continuum_batch) == 0).all()
    assert (continuum_batch.ancestor == -1).all()
    assert np.isnan(continuum_batch.mass).all()


def test_pairs_move_with_the_spread_of_the_beams_and_no_more(pair_batches):
    for batch in pair_batches.values():
        energy = invariant_mass(totals(batch))
        # 5.3 MeV: the error of a standard deviation of n is 1/sqrt(2 n)
        assert energy.std() == pytest.approx(0.0053, rel=4 / np.sqrt(2 * batch.n_events))
        velocity = totals(batch)[:, :3] / totals(batch)[:, 3:]
        np.testing.assert_allclose(velocity, velocity[:1].repeat(len(velocity), axis=0), atol=1e-9)
        assert set(np.unique(batch.ancestor)) == {0, 1}


def test_b_mesons_follow_sine_squared_and_not_an_isotropic_decay():
    cosine = sine_squared(np.random.default_rng(1), 20_000)
    # <cos²> is 1/5 for sin², 1/3 for isotropy; <cos⁴> is 3/35
    assert (cosine**2).mean() == pytest.approx(0.2, abs=4 * np.sqrt((3 / 35 - 0.04) / 20_000))
    assert cosine.mean() == pytest.approx(0, abs=4 * np.sqrt(0.2 / 20_000))
    assert (np.abs(cosine) <= 1).all()


@given(energy=st.floats(10.50, 10.70), spread=st.floats(0, 0.1))
@settings(max_examples=50, deadline=None)
def test_a_spread_below_the_threshold_gives_pairs_on_their_mass_shell(energy, spread):
    beams = Beams(energy / 2, energy / 2)
    for mass in (B_PLUS_MASS, B_ZERO_MASS):
        first, second = b_momenta(np.random.default_rng(1), beams, spread, mass, 300)
        assert np.isfinite(first).all()
        np.testing.assert_allclose(invariant_mass(first), mass, rtol=1e-7)
        np.testing.assert_allclose((first + second)[:, :3], 0, atol=1e-12)
        assert ((first + second)[:, 3] >= 2 * mass).all()


def test_momentum_of_b_mesons_is_that_at_the_nominal_energy():
    first, _ = b_momenta(np.random.default_rng(1), BELLE, 0.0, B_PLUS_MASS, 100)
    expected = np.sqrt(BELLE.sqrt_s**2 / 4 - B_PLUS_MASS**2)
    np.testing.assert_allclose(np.linalg.norm(first[:, :3], axis=1), expected, rtol=1e-9)
    assert 0.30 < expected < 0.37


def rows_of(batch, position):
    return np.flatnonzero(batch.position == position)


@pytest.mark.parametrize("name", list(MODES))
def test_signal_side_is_one_decay_of_the_right_kind(name, signal_batches):
    batch, mode = signal_batches[name], MODES[name]
    b = rows_of(batch, Position.B)
    assert len(b) == batch.n_events
    assert (batch.ancestor[b] == 0).all()
    # B and anti-B in turn; all that is charged changes with them
    signs = np.where(np.arange(batch.n_events) % 2, -1, 1)
    assert (np.sign(batch.pdg[b]) == signs).all()
    meson = rows_of(batch, Position.MESON)
    own = mode.meson_pdg == 310
    assert (batch.pdg[meson] == (310 if own else signs * mode.meson_pdg)).all()
    light = rows_of(batch, Position.LIGHT)
    assert (batch.pdg[light] == ALP_PDG).all()
    np.testing.assert_allclose(invariant_mass(batch.momenta[light]), 1.5, rtol=1e-6)
    np.testing.assert_allclose(batch.momenta[b], batch.momenta[meson] + batch.momenta[light], atol=1e-9)
    photons = rows_of(batch, Position.LIGHT_PHOTON).reshape(-1, 2)
    np.testing.assert_allclose(batch.momenta[photons].sum(axis=1), batch.momenta[light], atol=1e-9)
    names = [SUBMODES[number] for number in np.unique(batch.submode)]
    assert sorted(names) == sorted(mode.submodes)


@pytest.mark.parametrize("name", ["kstarplus", "kstarzero"])
def test_kstar_from_a_spinless_partner_is_longitudinal(name):
    n = 6000
    mode = MODES[name]
    decays = decay_signals(np.random.default_rng(5), mode, Rates().submodes(name), ALP_PDG, np.full(n, 1.0))
    made, position = decays.generated, decays.position
    meson = made.momenta[position == Position.MESON]
    is_kaon = (position == Position.MESON_DAUGHTER) & np.isin(np.abs(made.pdg), [321, 310])
    kaon = to_rest_frame(made.momenta[is_kaon], meson)
    axis = meson[:, :3] / np.linalg.norm(meson[:, :3], axis=1)[:, None]  # in the rest frame of B
    cosine = (kaon[:, :3] * axis).sum(axis=1) / np.linalg.norm(kaon[:, :3], axis=1)
    # cos²: <cos²> = 3/5, <cos⁴> = 3/7; an unpolarised K* would have 1/3
    assert (cosine**2).mean() == pytest.approx(0.6, abs=4 * np.sqrt((3 / 7 - 0.36) / n))
    assert cosine.mean() == pytest.approx(0, abs=4 * np.sqrt(0.6 / n))
    mass = invariant_mass(meson)
    nominal = {"kstarplus": 0.89167, "kstarzero": 0.89555}[name]
    # half of a Breit-Wigner lies within half a width; a tenth is cut off by phase space on both sides
    assert (np.abs(mass - nominal) < 0.0505 / 2).mean() == pytest.approx(0.5, abs=0.05)


def test_photons_of_the_light_particle_are_isotropic(make_signal):
    batch = make_signal("kplus", np.full(4000, 1.0))
    photons = batch.momenta[rows_of(batch, Position.LIGHT_PHOTON)].reshape(-1, 2, 4)
    alp = photons.sum(axis=1)
    b = batch.momenta[rows_of(batch, Position.B)]
    first, against = to_rest_frame(photons[:, 0], alp), to_rest_frame(b, alp)
    cosine = (first[:, :3] * against[:, :3]).sum(axis=1)
    cosine /= np.linalg.norm(first[:, :3], axis=1) * np.linalg.norm(against[:, :3], axis=1)
    assert (cosine**2).mean() == pytest.approx(1 / 3, abs=4 * np.sqrt((1 / 5 - 1 / 9) / 4000))


def test_kshort_flies_as_far_as_its_lifetime_and_momentum_say(signal_batches):
    batch = signal_batches["kshort"]
    kshort = rows_of(batch, Position.MESON)
    pion = rows_of(batch, Position.KSHORT_PION)[::2]
    flight = np.linalg.norm(batch.vertices[pion] - batch.vertices[kshort], axis=1)
    proper = flight * K_SHORT_MASS / np.linalg.norm(batch.momenta[kshort][:, :3], axis=1)
    assert proper.mean() == pytest.approx(KSHORT_LIFETIME_MM, rel=4 / np.sqrt(len(proper)))


def test_b_mesons_fly_along_the_boost(signal_batches):
    batch = signal_batches["kplus"]
    z = batch.vertices[rows_of(batch, Position.MESON), 2]
    # beta gamma c tau = 0.425 × 0.491 mm for KEKB, with the B's own momentum averaging out
    assert z.mean() == pytest.approx(0.425 * 0.491, rel=5 / np.sqrt(len(z)))


def test_a_mass_beyond_the_decay_is_refused(tmp_path):
    from darksieve.datasets.simulation.production import simulate
    from darksieve.errors import InputError

    with pytest.raises(InputError, match=r"4\.9 GeV; it lies in 0 to 4\.786 GeV"):
        simulate("b_to_kplus_alp", tmp_path / "k.root", masses={4.9: 10})
