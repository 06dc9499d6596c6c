"""The stand-in for a hadronic tag: efficiencies as weights, resolutions, wrong tags from combinations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve.datasets.simulation.hinv.fake_tags import Objects, draw_combinations
from darksieve.datasets.simulation.hinv.tag import (
    TagContent,
    TagSettings,
    beam_constrained_mass,
    right_tag_efficiency,
    smeared_tags,
    tag_content,
    wrong_tags,
)
from darksieve.errors import InputError

BEAM = 5.29
MOMENTUM = np.sqrt(BEAM**2 - 5.27941**2)


def content(tracks, photons=0, missing=0):
    return TagContent(np.array([[tracks, -1]]), np.array([[photons, 0]]), np.array([[missing, 0]]))


def efficiency(*args, settings=None):
    charged = np.array([[True, True]])
    return right_tag_efficiency(content(*args), charged, settings or TagSettings())[0]


def test_content_counts_what_each_b_leaves_behind():
    pdg = np.array([211, -321, 22, 22, 14, 130, 2212, 22])
    event = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    b = np.array([0, 0, 0, 1, 1, 0, 0, -1])
    found = tag_content(pdg, event, b, 3)
    assert found.tracks.tolist() == [[2, 0], [1, -1], [-1, -1]]
    assert found.photons.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert found.missing.tolist() == [[0, 1], [1, 0], [0, 0]]


def test_a_b_with_undetectable_daughters_or_too_many_is_never_a_right_tag():
    assert efficiency(3)[0] > 0
    assert efficiency(3, 0, 1)[0] == 0
    assert efficiency(10)[0] == 0
    assert efficiency(3, 7)[0] == 0
    assert efficiency(3)[1] == 0  # that B is not there


@given(st.integers(1, 9), st.integers(0, 6), st.floats(0.001, 0.01))
def test_efficiency_is_a_probability_that_scales_with_its_setting(tracks, photons, mean):
    lower = efficiency(tracks, photons, settings=TagSettings(efficiency_charged=mean / 2))[0]
    higher = efficiency(tracks, photons, settings=TagSettings(efficiency_charged=mean))[0]
    assert 0 < lower <= 1
    assert higher == pytest.approx(2 * lower) or higher == 1


def test_each_further_particle_costs_its_factor():
    chosen = TagSettings()
    assert efficiency(4)[0] / efficiency(3)[0] == pytest.approx(chosen.per_track)
    assert efficiency(3, 2)[0] / efficiency(3)[0] == pytest.approx(chosen.per_pi0)


def smeared(n=20_000, photons=0):
    rng = np.random.default_rng(4)
    direction = rng.standard_normal((n, 3))
    p = MOMENTUM * direction / np.linalg.norm(direction, axis=1)[:, None]
    true = np.concatenate([p, np.full((n, 1), BEAM)], axis=1)
    tags = smeared_tags(rng, true, np.full(n, 3), np.full(n, photons), BEAM, TagSettings())
    return true, tags


def test_recoil_momentum_has_the_resolution_of_the_settings():
    true, tags = smeared()
    pull = (tags.momentum[:, :3] - true[:, :3]).ravel()
    chosen = TagSettings()
    expected = np.sqrt(
        (1 - chosen.momentum_tail_fraction) * chosen.momentum_sigma**2
        + chosen.momentum_tail_fraction * chosen.momentum_tail_sigma**2
    )
    # the error of a standard deviation with this mixture's kurtosis of 8 is sqrt(7/4n)
    assert pull.std() == pytest.approx(expected, rel=4 * np.sqrt(7 / (4 * len(pull))))
    assert abs(pull.mean()) < 4 * expected / np.sqrt(len(pull))


def test_right_tags_peak_at_the_mass_of_the_b_and_at_no_energy_difference():
    true, tags = smeared(photons=2)
    # Mbc moves by p/M of what the momentum along the flight moves
    assert np.median(tags.mbc) == pytest.approx(5.279, abs=2e-3)
    width = np.sqrt(TagSettings().delta_e_sigma ** 2 + 2 * TagSettings().delta_e_per_photon ** 2)
    assert tags.delta_e.std() == pytest.approx(width, rel=4 / np.sqrt(2 * len(true)))
    np.testing.assert_allclose(tags.momentum[:, 3] - BEAM, tags.delta_e, atol=1e-12)
    np.testing.assert_allclose(tags.mbc, beam_constrained_mass(tags.momentum, BEAM))


def test_signal_probability_of_wrong_tags_falls_and_of_right_ones_is_higher():
    _, right = smeared()
    wrong = wrong_tags(np.random.default_rng(2), right.momentum, BEAM, TagSettings())
    counts, _ = np.histogram(wrong.probability, np.linspace(0, 1, 6))
    assert (np.diff(counts) < 0).all()
    assert np.median(right.probability) > 10 * np.median(wrong.probability)
    for tags in (right, wrong):
        assert ((tags.probability > 0) & (tags.probability < 1)).all()


def test_numbers_out_of_range_are_refused_by_name():
    with pytest.raises(InputError, match=r"tag\.efficiency_charged is 1\.2; it is at most 1"):
        TagSettings(efficiency_charged=1.2)
    with pytest.raises(InputError, match=r"tag\.momentum_sigma is -1"):
        TagSettings(momentum_sigma=-1.0)
    with pytest.raises(InputError, match=r"tag\.trials is 0"):
        TagSettings(trials=0)


def objects():
    """One event: h (object 0), three tracks and two clusters that make a B at rest, and a soft cluster."""
    momenta = [[0.0, 0.0, 2.5, 2.505]]
    charges = [1]
    third = BEAM / 5
    angles = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    for i, angle in enumerate(angles):
        momenta.append([third * np.cos(angle), third * np.sin(angle), 0.0, third])
        charges.append([-1, -1, 1, 0, 0][i])
    momenta.append([0.0, 0.0, 0.06, 0.06])
    charges.append(0)
    n = len(charges)
    return Objects(np.array(momenta), np.array(charges), np.full(n, -1), np.array([0, n]))


def combine(found, trials=4000, charge=-1, seed=1, **changes):
    return draw_combinations(
        np.random.default_rng(seed),
        found,
        np.array([0]),
        np.array([0]),
        np.array([0, 1]),
        np.array([charge]),
        BEAM,
        TagSettings(trials=trials, **changes),
    )


def test_combinations_lie_in_the_window_without_h_and_with_the_charge_of_the_tag():
    made = combine(objects())
    assert made.candidate.tolist() == [0]
    assert set(made.objects) >= {1, 2, 3, 4, 5}
    assert 0 not in made.objects
    np.testing.assert_allclose(made.momentum[0], objects().momentum[made.objects].sum(axis=0), atol=1e-12)
    assert len(combine(objects(), charge=1).candidate) == 0


def test_share_is_the_probability_of_a_combination_in_the_window():
    # all five hard ones, with or without the soft one: 0.92³ × 0.5²
    trials = 4000
    expected = 0.92**3 * 0.25
    share = combine(objects(), trials).share[0]
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / trials))


def test_any_combination_in_the_window_is_as_likely_as_another():
    with_soft = np.array([6 in combine(objects(), 64, seed=seed).objects for seed in range(400)])
    assert with_soft.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(400))


def test_all_of_one_b_and_nothing_else_is_no_wrong_tag():
    found = objects()
    whole = found._replace(b=np.array([1, 0, 0, 0, 0, 0, -1]))
    made = [combine(whole, 64, seed=seed).objects for seed in range(20)]
    assert all(6 in chosen for chosen in made)
