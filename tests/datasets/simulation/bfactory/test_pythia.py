"""Pythia as a source of arrays: reproducible, at the right energy, complete, and never without end."""

import sys

import numpy as np
import pytest

from darksieve.constants import B_PLUS_MASS
from darksieve.datasets.simulation.bfactory import pythia as source
from darksieve.datasets.simulation.bfactory.pythia import continuum, decays_of_pairs
from darksieve.datasets.simulation.production import simulate
from darksieve.errors import InputError

SQRT_S = 10.58


def sums(made):
    final = np.where(made.is_final[:, None], made.momenta, 0)
    return np.add.reduceat(final, made.offsets[:-1])


@pytest.fixture(scope="module")
def made():
    return continuum(SQRT_S, 4000, 3, min_mass=4.0)


@pytest.fixture(scope="module")
def charged():
    return decays_of_pairs(521, 1500, 3)


def test_continuum_has_the_whole_energy_of_the_collision(made):
    np.testing.assert_allclose(sums(made), np.tile([0, 0, 0, SQRT_S], (4000, 1)), atol=1e-9)


def radiated(made):
    """Energies of the photons along either beam, summed, shape (n_events, 2)."""
    cosine = made.momenta[:, 2] / made.momenta[:, 3]
    from_beams = (made.pdg == 22) & made.is_final & (made.mother < 0)
    return np.stack(
        [
            np.add.reduceat(
                np.where(from_beams & (side * cosine > 0.999), made.momenta[:, 3], 0), made.offsets[:-1]
            )
            for side in (1, -1)
        ],
        axis=1,
    )


def test_radiative_return_is_there_and_ends_at_the_smallest_mass(made):
    energy = radiated(made)
    # the radiator is 2 alpha/pi (ln s/m_e² - 1) dE/E = 0.088 dE/E for soft photons, so some 10 % above 1 GeV
    assert 0.05 < (energy.sum(axis=1) > 1.0).mean() < 0.20
    # what the quarks have left of s, without photons at larger angles
    mass = np.sqrt(np.prod(SQRT_S - 2 * energy, axis=1))
    assert 4.0 - 1e-6 < mass.min() < 4.7


def test_a_large_smallest_mass_takes_radiative_return_away():
    mass = np.sqrt(np.prod(SQRT_S - 2 * radiated(continuum(SQRT_S, 500, 3, min_mass=10.0)), axis=1))
    assert mass.min() > 10.0 - 1e-6


def test_quarks_come_by_their_squared_charges(made):
    # u : d : s : c = 4 : 1 : 1 : 4, less charm by its mass
    counts = np.bincount(made.flavour, minlength=5)
    assert counts[0] == 0
    fractions = counts[1:] / 4000
    np.testing.assert_allclose(fractions, [0.1, 0.4, 0.1, 0.4], atol=4 * np.sqrt(0.24 / 4000))


def test_mothers_come_first_and_lie_in_the_same_event(made, charged):
    for batch in (made, charged):
        event = np.repeat(np.arange(len(batch.offsets) - 1), np.diff(batch.offsets))
        has = np.flatnonzero(batch.mother >= 0)
        assert (batch.mother[has] < has).all()
        assert (event[batch.mother[has]] == event[has]).all()
        assert not batch.is_final[np.unique(batch.mother[has])].any()


def test_mesons_decay_at_rest_in_turn_and_conserve_four_momentum(charged):
    assert charged.pdg[charged.offsets[:-1]].tolist() == [521, -521] * 1500
    np.testing.assert_allclose(sums(charged), np.tile([0, 0, 0, B_PLUS_MASS], (3000, 1)), atol=1e-9)


def test_b_mesons_live_as_long_as_they_do(charged):
    first = charged.vertices[charged.offsets[:-1] + 1]
    # the first daughter starts where the B decayed, at 0 as it is at rest; a few are granddaughters
    direct = (np.abs(first[:, :3]) < 1e-9).all(axis=1)
    assert direct.mean() > 0.9
    # c tau of B+ is 0.491 mm (PDG); the mean of n exponentials has an error of 1/sqrt(n)
    assert first[direct, 3].mean() == pytest.approx(0.491, rel=4 / np.sqrt(direct.sum()))


def test_charged_multiplicity_of_a_pair_is_that_of_cleo(charged):
    # 10.71 +- 0.21 charged particles of each pair (CLEO, Phys. Rev. D 61 (2000) 072002, from memory), K_S and
    # Lambda decays included; the spread of one pair is some 2.3
    n = (np.isin(np.abs(charged.pdg), [11, 13, 211, 321, 2212]) & charged.is_final).sum() / 1500
    assert n == pytest.approx(10.71, abs=0.21 * 2)


def test_neutral_mesons_mix_in_their_decays_and_keep_their_number():
    made = decays_of_pairs(511, 4000, 5)
    leptons = np.isin(np.abs(made.pdg), [11, 13]) & (made.mother >= 0)
    rows = np.flatnonzero(leptons & np.isin(np.abs(made.pdg[made.mother]), [511]))
    parent = made.pdg[made.mother[rows]]
    # an anti-b gives l+ (negative number): B0, with its positive number, gives negative ones
    mixed = np.sign(made.pdg[rows]) == np.sign(parent)
    # chi_d = 0.186 (PDG), incoherent here
    assert len(rows) > 1000
    assert mixed.mean() == pytest.approx(0.186, abs=4 * np.sqrt(0.186 * 0.814 / len(rows)))


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)


def test_a_seed_gives_the_same_whatever_came_before():
    first = decays_of_pairs(521, 50, 11)
    decays_of_pairs(521, 7, 12)
    assert same(decays_of_pairs(521, 50, 11), first)
    assert not same(decays_of_pairs(521, 50, 13), first)
    one = continuum(SQRT_S, 50, 11, min_mass=4.0)
    assert same(continuum(SQRT_S, 50, 11, min_mass=4.0), one)


def test_the_size_of_the_arrays_out_of_pythia_changes_nothing(monkeypatch):
    whole = continuum(SQRT_S, 50, 11, min_mass=4.0), decays_of_pairs(511, 25, 11)
    monkeypatch.setattr(source, "_CHUNK", 7)
    assert same(continuum(SQRT_S, 50, 11, min_mass=4.0), whole[0])
    assert same(decays_of_pairs(511, 25, 11), whole[1])


def test_events_that_fail_for_ever_are_an_error_and_no_endless_loop(monkeypatch):
    class Failing:
        def __init__(self, real):
            self.rndm = real.rndm

        def nextBatch(self, _):
            return []

    real, pairs = source._pair_gun(521, None)
    monkeypatch.setattr(source, "_pair_gun", lambda *_: (Failing(real), pairs))
    with pytest.raises(RuntimeError, match="gives no events any more; 20 of 20"):
        decays_of_pairs(521, 10, 1)


def test_absent_pythia_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(InputError, match=r"pip install 'darksieve\[pythia\]'"):
        simulate("continuum", tmp_path / "c.root", n_events=10)
    assert list(tmp_path.iterdir()) == []
