"""Charmed h: each true decay is found once, with its helicity angle; wrong charges and masses are not."""

import numpy as np
import pytest
from scipy import stats

from darksieve.constants import D_S_MASS, D_ZERO_MASS
from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.charmed import (
    MassWindows,
    MeasuredObjects,
    find_d_s,
    find_d_zero,
)
from darksieve.datasets.simulation.hinv.signal_decays import decay_signals
from darksieve.datasets.simulation.phase_space import invariant_mass

WINDOWS = MassWindows(phi=0.02, k_short=0.015, pi0=0.02, d_s=0.03, d_zero=0.03, d_zero_with_pi0=0.06)
CHARGE = {211: 1, 321: 1, 22: 0}


def perfect(group, conjugate=False):
    """What a perfect detector sees of a group of signal decays."""
    final = [i for i in range(len(group.pdg)) if i not in group.mother and i != 1]
    pdg = group.pdg[final] * (-1 if conjugate else 1)
    n, k = len(group.events), len(final)
    kind = np.tile(np.abs(pdg), n)
    charge = np.tile([np.sign(number) * CHARGE[abs(number)] for number in pdg], n)
    from_k_short = np.tile([group.mother[i] >= 2 and group.pdg[group.mother[i]] == 310 for i in final], n)
    return MeasuredObjects(
        momentum=group.four[:, final, :3].reshape(-1, 3),
        charge=charge,
        kaon=kind == 321,
        pion=kind == 211,
        displaced=from_k_short,
        offsets=np.arange(n + 1) * k,
    )


def groups(name, n=300):
    return decay_signals(np.random.default_rng(8), CHANNELS[name], np.full(n, 1.0))


@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("decay", [1, 2])
def test_every_d_s_is_found_once_with_its_charge(decay, conjugate):
    group = groups("ds")[decay - 1]
    found = find_d_s(perfect(group, conjugate), WINDOWS)
    np.testing.assert_array_equal(found.event, np.arange(len(group.events)))
    assert set(found.decay) == {decay}
    assert set(found.charge) == {-1 if conjugate else 1}
    np.testing.assert_allclose(found.momentum, group.four[:, 0], atol=1e-9)
    np.testing.assert_allclose(invariant_mass(found.momentum), D_S_MASS, atol=1e-9)
    assert (found.objects[:, 3] == -1).all()


@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("decay", [1, 2, 3])
def test_every_d_zero_is_found_with_the_charge_of_its_kaon(decay, conjugate):
    group = groups("d0", 600)[decay - 1]
    found = find_d_zero(perfect(group, conjugate), WINDOWS)
    assert set(found.event) == set(range(len(group.events)))
    assert set(found.kaon_charge) == {-1 if conjugate else 1}
    assert set(found.charge) == {0}
    own = found.decay == decay
    best = np.abs(invariant_mass(found.momentum) - D_ZERO_MASS) < 1e-9
    assert set(found.event[own & best]) == set(range(len(group.events)))
    np.testing.assert_allclose(found.momentum[own & best], group.four[found.event[own & best], 0], atol=1e-9)
    keys = np.concatenate([found.event[:, None], np.sort(found.objects, axis=1)], axis=1)
    # the same four tracks make one candidate, unless a kaon and a pion could change places
    assert len(np.unique(keys, axis=0)) == len(keys)


def test_helicity_angle_of_phi_is_the_generated_one():
    group = groups("ds", 6000)[0]
    cosine = find_d_s(perfect(group), WINDOWS).cos_helicity
    assert np.abs(cosine).max() <= 1 + 1e-9
    assert stats.kstest(cosine, lambda c: (1 + np.clip(c, -1, 1) ** 3) / 2).pvalue > 1e-3


def test_nothing_is_found_outside_the_windows_or_without_the_right_particles():
    seen = perfect(groups("ds")[0])
    assert len(find_d_s(seen, WINDOWS._replace(phi=0.0)).event) == 0
    assert len(find_d_s(seen._replace(kaon=np.zeros_like(seen.kaon)), WINDOWS).event) == 0
    same_sign = seen._replace(charge=np.ones_like(seen.charge))
    assert len(find_d_s(same_sign, WINDOWS).event) == 0
    assert len(find_d_zero(seen, WINDOWS).event) == 0


def test_many_candidates_outgrow_the_first_guess():
    one = perfect(groups("ds", 30)[0])
    n = 12  # of each particle of one decay: n³ combinations and more of all charges
    pions = np.repeat(one.momentum[:3], n, axis=0)
    crowd = MeasuredObjects(
        pions,
        np.repeat(one.charge[:3], n),
        np.repeat(one.kaon[:3], n),
        np.repeat(one.pion[:3], n),
        np.zeros(3 * n, dtype=bool),
        np.array([0, 3 * n]),
    )
    assert len(find_d_s(crowd, WINDOWS).event) == n**3
