"""Reconstruction: the same candidates as loops over everything find, each track and cluster used once."""

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest

from darksieve.constants import KSTAR_PLUS_MASS, KSTAR_ZERO_MASS, PI0_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.detected import KAON, PION
from darksieve.datasets.simulation.bfactory.reconstruction import reconstruct
from darksieve.datasets.simulation.bfactory.rest_of_event import split_events
from darksieve.datasets.simulation.bfactory.settings import Preselection
from darksieve.datasets.simulation.bfactory.signals import MODES
from darksieve.datasets.simulation.bfactory.truth import truth_numbers
from darksieve.datasets.simulation.phase_space import invariant_mass

BELLE = Beams.named("belle")


def slowly(detected, cuts, event, probabilities):
    """(submode, tracks, photons) of every candidate of one event, by loops over everything."""
    tracks, clusters, kshorts = detected.tracks, detected.clusters, detected.kshorts
    own = range(tracks.offsets[event], tracks.offsets[event + 1])
    photons = range(clusters.offsets[event], clusters.offsets[event + 1])
    near = (tracks.dr < cuts.max_dr_cm) & (np.abs(tracks.dz) < cuts.max_dz_cm)
    kaons = [i for i in own if near[i] and probabilities[i, KAON] > cuts.min_kaon_id]
    pions = [i for i in own if near[i] and probabilities[i, PION] > cuts.min_pion_id]
    as_kaon, as_pion = tracks.four_momenta(KAON), tracks.four_momenta(PION)
    mesons = [(0, (i,), (), as_kaon[i]) for i in kaons]
    for k in range(kshorts.offsets[event], kshorts.offsets[event + 1]):
        pair = tuple(kshorts.tracks[k])
        mesons.append((1, pair, (), kshorts.momenta[k]))
        mesons += [(2, (*pair, i), (), kshorts.momenta[k] + as_pion[i]) for i in pions if i not in pair]
    for i, c, d in ((i, c, d) for i in kaons for c, d in combinations(photons, 2)):
        pi0 = clusters.momenta[c] + clusters.momenta[d]
        softest = min(clusters.energy[c], clusters.energy[d])
        near_pi0 = abs(invariant_mass(pi0) - PI0_MASS) <= cuts.pi0_half_width
        if softest >= cuts.min_pi0_photon_energy and near_pi0:
            mesons.append((3, (i,), (c, d), as_kaon[i] + pi0))
    for i, j in permutations(own, 2):
        if i in kaons and j in pions and tracks.charge[i] != tracks.charge[j]:
            mesons.append((4, (i, j), (), as_kaon[i] + as_pion[j]))
    nominal = {2: KSTAR_PLUS_MASS, 3: KSTAR_PLUS_MASS, 4: KSTAR_ZERO_MASS}
    found = set()
    for submode, used, soft, four in mesons:
        if submode in nominal and abs(invariant_mass(four) - nominal[submode]) >= cuts.kstar_half_width:
            continue
        hard = [c for c in photons if clusters.energy[c] >= cuts.min_alp_photon_energy and c not in soft]
        for c, d in combinations(hard, 2):
            alp = clusters.momenta[c] + clusters.momenta[d]
            b = BELLE.to_cms(four + alp)
            mbc2 = BELLE.sqrt_s**2 / 4 - (b[:3] ** 2).sum()
            everything = len(own) + len(photons)
            if (
                abs(b[3] - BELLE.sqrt_s / 2) < cuts.max_abs_delta_e
                and mbc2 >= cuts.min_mbc**2
                and invariant_mass(alp) >= cuts.min_alp_mass
                and everything > len(used) + len(soft) + 2
            ):
                ordered = sorted((c, d), key=lambda row: -clusters.energy[row])
                found.add((submode, used, (*ordered, *soft)))
    return found


def quickly(candidates, event):
    return {
        (
            int(candidates.submode[i]),
            tuple(int(row) for row in candidates.tracks[i] if row >= 0),
            tuple(int(row) for row in candidates.clusters[i] if row >= 0),
        )
        for i in np.flatnonzero(candidates.event == event)
    }


@pytest.mark.parametrize("name", list(MODES))
def test_candidates_are_those_of_loops_over_everything(name, detected_signals):
    detected = detected_signals[name]
    cuts = Preselection(min_mbc=5.15, max_abs_delta_e=0.5)
    candidates = reconstruct(detected, BELLE, cuts)
    n_found, probabilities = 0, detected.tracks.probabilities
    for event in range(40):
        expected = slowly(detected, cuts, event, probabilities)
        assert quickly(candidates, event) == expected
        n_found += len(expected)
    assert n_found > 40


# fraction of generated events that have their own true candidate in the loose preselection: toy numbers with
# 1500 events each (error 1.3 %), here so that a change of the detector or the reconstruction is seen
@pytest.mark.parametrize(
    ("name", "efficiency"), [("kplus", 0.69), ("kshort", 0.47), ("kstarplus", 0.33), ("kstarzero", 0.48)]
)
def test_signal_efficiency_is_reasonable(name, efficiency, signal_batches, detected_signals):
    detected, batch = detected_signals[name], signal_batches[name]
    candidates = reconstruct(detected, BELLE, Preselection())
    is_signal = truth_numbers(candidates, batch, detected)["isSignal"]
    with_one = len(np.unique(candidates.event[is_signal])) / batch.n_events
    assert with_one == pytest.approx(efficiency, abs=0.06)
    own = {"kplus": [0], "kshort": [1], "kstarplus": [2, 3], "kstarzero": [4]}[name]
    assert np.isin(candidates.submode[is_signal], own).all()
    assert np.bincount(candidates.event[is_signal]).max() == 1  # the truth of an event is one candidate


def test_mbc_and_delta_e_of_true_candidates_have_the_resolutions_of_b_factories(
    signal_batches, detected_signals
):
    candidates = reconstruct(detected_signals["kplus"], BELLE, Preselection())
    true = truth_numbers(candidates, signal_batches["kplus"], detected_signals["kplus"])["isSignal"]
    low, middle, high = np.quantile(candidates.mbc[true], [0.16, 0.5, 0.84])
    # m_B, and half of the collision's 5.3 MeV with the photons' share; B factories have about 2.7 to 3 MeV
    assert middle == pytest.approx(5.279, abs=0.0015)
    assert 0.0022 < (high - low) / 2 < 0.0045
    low, middle, high = np.quantile(candidates.delta_e[true], [0.16, 0.5, 0.84])
    # 1.7 % of 2.7 GeV (two photons in the laboratory) is some 40 MeV, with a tail to low energies
    assert 0.03 < (high - low) / 2 < 0.08
    assert -0.04 < middle < 0.01
    assert middle - low > high - middle


def test_a_looser_preselection_keeps_every_candidate(detected_continuum):
    tight = reconstruct(detected_continuum, BELLE, Preselection())
    loose = reconstruct(
        detected_continuum, BELLE, Preselection(min_mbc=5.1, max_abs_delta_e=0.5, min_kaon_id=0)
    )
    assert len(loose) > len(tight) > 20
    for event in np.unique(tight.event):
        assert quickly(tight, event) <= quickly(loose, event)


def test_candidate_and_rest_are_the_whole_event(detected_continuum):
    loose = Preselection(min_mbc=5.0, max_abs_delta_e=1.0)
    candidates = reconstruct(detected_continuum, BELLE, loose)
    split = split_events(candidates, detected_continuum, BELLE)
    tracks, clusters = detected_continuum.tracks, detected_continuum.clusters
    everything = np.diff(tracks.offsets)[candidates.event] + np.diff(clusters.offsets)[candidates.event]
    np.testing.assert_array_equal(np.diff(split.signal.offsets) + np.diff(split.rest.offsets), everything)
    n = len(candidates)

    def summed(particles, values):
        owner = np.repeat(np.arange(n), np.diff(particles.offsets))
        return np.bincount(owner, values, n)

    owner = np.repeat(np.arange(detected_continuum.n_events), np.diff(tracks.offsets))
    charge = np.bincount(owner, tracks.charge, detected_continuum.n_events)
    both = summed(split.signal, split.signal.charge) + summed(split.rest, split.rest.charge)
    np.testing.assert_array_equal(both, charge[candidates.event])
    for axis in range(4):
        a, b = (
            summed(split.signal, split.signal.momenta[:, axis]),
            summed(split.daughters, split.daughters.momenta[:, axis]),
        )
        np.testing.assert_allclose(a, b, atol=1e-9)
    energy = summed(split.daughters, split.daughters.momenta[:, 3])
    np.testing.assert_allclose(energy - BELLE.sqrt_s / 2, candidates.delta_e, atol=1e-9)
    assert (np.diff(split.rest.offsets) > 0).all()


def test_closest_masses_find_the_pi0_that_a_photon_comes_from(continuum_batch, detected_continuum):
    loose = replace(Preselection(), min_mbc=5.0, max_abs_delta_e=1.0)
    candidates = reconstruct(detected_continuum, BELLE, loose)
    closest = split_events(candidates, detected_continuum, BELLE).closest_masses
    assert closest.shape == (len(candidates), 3)
    # photons of the continuum come from π0 mostly, and often the other one is there
    near = np.abs(closest[:, 0] - PI0_MASS) < 0.015
    assert near.mean() > 0.4
    # by loops, for some
    clusters = detected_continuum.clusters
    for i in range(0, len(candidates), max(1, len(candidates) // 20)):
        event = candidates.event[i]
        others = set(range(clusters.offsets[event], clusters.offsets[event + 1])) - set(
            candidates.clusters[i]
        )
        masses = [
            invariant_mass(clusters.momenta[own] + clusters.momenta[c])
            for own in candidates.clusters[i, :2]
            for c in others
        ]
        expected = min([0.0, *masses], key=lambda m: abs(m - PI0_MASS))
        assert closest[i, 0] == pytest.approx(expected, abs=1e-9)
