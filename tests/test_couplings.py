"""Couplings against reference numbers computed by hand and published ones."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve import couplings
from darksieve.constants import ALPHA_QED, B_PLUS_MASS, KAON_MASS, UPSILON_4S_MASS

# sigma = alpha g^2 (1-m^2/s)^3/24 with alpha = 1/137.036, sqrt(s) = 10.58 GeV: worked out by hand
CROSS_SECTIONS_FB = [(1e-3, 1.0, 115.25), (1e-4, 0.5, 1.1760)]

# B for g_aW = 1e-5/GeV, from the formulae of arXiv:1611.09355 with |V_tb V_ts*| = 0.0405, three digits
BRANCHING_FRACTIONS = [
    ("K+", 0.2, 1.92e-7),
    ("K+", 1.0, 1.95e-7),
    ("K+", 3.0, 2.21e-7),
    ("K+", 4.5, 1.94e-7),
    ("K*+", 1.0, 2.32e-7),
    ("K*+", 4.0, 1.07e-7),
]

# BaBar's limits on B(K+ a), arXiv:2111.01800 (digitised by third parties), and their g_aW
BABAR_POINTS = [(0.191, 1.76e-7, 9.6e-6), (2.363, 8.9e-8, 6.5e-6), (4.273, 6.8e-8, 5.5e-6)]


@pytest.mark.parametrize(("coupling", "mass", "expected_fb"), CROSS_SECTIONS_FB)
def test_cross_section_matches_the_hand_computed_value(coupling, mass, expected_fb):
    value = couplings.alp_cross_section_fb(mass, coupling, sqrt_s=10.58)
    assert value == pytest.approx(expected_fb, rel=5e-5)  # half of the last digit given


@pytest.mark.parametrize(
    ("mass", "cross_section_pb", "coupling"),
    [(0.3, 0.092, 8.8e-4), (1.0, 0.150, 1.14e-3), (5.0, 0.517, 3.05e-3), (9.0, 0.503, 1.42e-2)],
)
def test_published_cross_section_limits_give_their_couplings(mass, cross_section_pb, coupling):
    value = couplings.g_agammagamma_from_cross_section(mass, 1e3 * cross_section_pb, sqrt_s=10.58)
    assert value == pytest.approx(coupling, rel=6e-3)


@pytest.mark.parametrize(("hadron", "mass", "expected"), BRANCHING_FRACTIONS)
def test_branching_fraction_matches_the_reference_to_its_digits(hadron, mass, expected):
    value = float(couplings.alp_branching_fraction(hadron, mass, 1e-5))
    assert float(f"{value:.2e}") == expected


@pytest.mark.parametrize(("mass", "limit", "coupling"), BABAR_POINTS)
def test_babar_limits_give_their_w_coupling(mass, limit, coupling):
    value = float(couplings.g_aW_from_branching_fraction("K+", mass, limit))
    assert float(f"{value:.1e}") == coupling


def test_w_coupling_range_of_belle_is_the_branching_fraction_range():
    low, high = couplings.alp_branching_fraction("K+", 1.0, [3e-6, 3e-5])
    assert low == pytest.approx(1.8e-8, rel=0.05)
    assert high == pytest.approx(1.8e-6, rel=0.05)


@pytest.mark.parametrize(("mass", "expected_mm"), [(0.2, 928), (1.0, 7.4)])
def test_decay_length_matches_the_reference(mass, expected_mm):
    photon_coupling = couplings.g_agammagamma_from_g_aW(1e-5)
    assert couplings.alp_decay_length_mm(mass, photon_coupling) == pytest.approx(expected_mm, rel=5e-3)


@given(mass=st.floats(0, 10.5), cross_section_fb=st.floats(1e-6, 1e6))
def test_cross_section_and_coupling_undo_each_other(mass, cross_section_fb):
    coupling = couplings.g_agammagamma_from_cross_section(mass, cross_section_fb)
    assert couplings.alp_cross_section_fb(mass, coupling) == pytest.approx(cross_section_fb, rel=1e-12)


@given(
    hadron=st.sampled_from(sorted(couplings.B_DECAYS)),
    mass=st.floats(0, 4.3),
    fraction=st.floats(1e-10, 1e-3),
)
def test_branching_fraction_and_coupling_undo_each_other(hadron, mass, fraction):
    coupling = couplings.g_aW_from_branching_fraction(hadron, mass, fraction)
    assert couplings.alp_branching_fraction(hadron, mass, coupling) == pytest.approx(fraction, rel=1e-12)


def test_arrays_of_masses_and_values_broadcast():
    masses = np.linspace(0.2, 4.0, 5)[:, None]
    values = np.array([1e-8, 1e-7])
    result = couplings.g_aW_from_branching_fraction("K*0", masses, values)
    assert result.shape == (5, 2)
    assert np.all(np.isfinite(result))
    assert couplings.alp_cross_section_fb(masses, values).shape == (5, 2)


def test_k_short_is_half_of_the_neutral_kaon():
    both = [couplings.alp_branching_fraction(h, [0.5, 3.0], 1e-5) for h in ("K_S", "K0")]
    np.testing.assert_allclose(2 * both[0], both[1], rtol=1e-14)


def test_pion_mode_is_suppressed_by_ckm_elements():
    fractions = [couplings.alp_branching_fraction(hadron, 1.0, 1e-5) for hadron in ("pi+", "K+")]
    ckm = [couplings.b_decay(hadron).transition.ckm for hadron in ("pi+", "K+")]
    expected = (ckm[0] / ckm[1] * 0.258 / 0.330) ** 2
    # phase space and slopes of the form factors differ little at 1 GeV
    assert fractions[0] / fractions[1] == pytest.approx(expected, rel=0.05)


def test_loop_function_is_continuous_through_one():
    x = np.array([1 - 1.01e-4, 1 - 0.99e-4, 1.0, 1 + 0.99e-4, 1 + 1.01e-4])
    np.testing.assert_allclose(couplings.loop_function(x), 0.5 + (x - 1) / 3, atol=2e-8)


def test_branching_fraction_vanishes_towards_the_kinematic_end():
    end = couplings.b_decay("K*+").largest_mass
    values = couplings.alp_branching_fraction("K*+", [end - 0.1, end - 1e-3, end - 1e-6], 1e-5)
    assert np.all(np.diff(values) < 0)
    assert values[-1] < 1e-6 * values[0]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: couplings.alp_cross_section_fb(10.7, 1e-3), "10.7"),
        (lambda: couplings.alp_cross_section_fb(UPSILON_4S_MASS, 1e-3), "10.5794"),
        (lambda: couplings.alp_cross_section_fb([1.0, -0.5], 1e-3), "-0.5"),
        (lambda: couplings.alp_cross_section_fb(np.nan, 1e-3), "nan"),
        (lambda: couplings.alp_cross_section_fb(1.0, -1e-3), "-0.001"),
        (lambda: couplings.g_agammagamma_from_cross_section(1.0, [1.0, np.nan]), "nan"),
        (lambda: couplings.g_agammagamma_from_cross_section(1.0, -3.0), "-3"),
        (lambda: couplings.alp_branching_fraction("K+", 4.79, 1e-5), "4.79"),
        (
            lambda: couplings.g_aW_from_branching_fraction("K*+", [1.0, 4.5, 4.6], 1e-7),
            r"4\.5 \(and 1 more\)",
        ),
        (lambda: couplings.g_aW_from_branching_fraction("K+", 1.0, np.inf), "inf"),
        (lambda: couplings.alp_decay_length_mm(0.0, 1e-3), "0"),
        (lambda: couplings.alp_decay_length_mm(1.0, 0.0), "g_agammagamma"),
        (lambda: couplings.two_body_momentum(5.28, 5.0, 0.5), "5"),
        (lambda: couplings.dark_higgs_lepton_width("muon", 1.0, 1.5), "1.5"),
        (lambda: couplings.sin_theta_from_lepton_width("muon", 0.2, 1e-20), "0.2"),
        (lambda: couplings.dark_higgs_decay_length_mm(0.5, 1e-4), "0.5"),
        (lambda: couplings.dark_higgs_decay_length_mm(1e-4, 1e-4), "no open decay"),
        (lambda: couplings.sin_theta_from_decay_length(0.25, 1e-12), "so short"),
        (lambda: couplings.loop_function(0.0), "0"),
        (lambda: couplings.ranges_where([1.0, 1.0], [True, True]), "ascend"),
        (lambda: couplings.ranges_where([1.0, 2.0], [True]), "shape"),
    ],
)
def test_bad_input_is_refused_and_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_unknown_hadron_and_lepton_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'K\*0'"):
        couplings.b_decay("K*00")
    with pytest.raises(ValueError, match="did you mean 'muon'"):
        couplings.dark_higgs_lepton_width("mu0n", 1.0, 0.1)


def test_momentum_in_photon_and_b_decays():
    sqrt_s = 10.58
    assert couplings.two_body_momentum(sqrt_s, 2.0, 0.0) == pytest.approx((sqrt_s**2 - 4) / (2 * sqrt_s))
    # momentum of the kaon against a massless particle; hand-computed for m_B = 5.279 GeV
    assert couplings.two_body_momentum(B_PLUS_MASS, 0.0, KAON_MASS) == pytest.approx(2.617, abs=1e-3)


def test_prompt_fails_at_low_mass_where_the_alp_flies():
    masses = np.linspace(0.16, 4.5, 200)
    coupling = couplings.g_aW_from_branching_fraction("K+", masses, 1e-7)
    lengths = couplings.flight_length_mm(
        couplings.alp_decay_length_mm(masses, couplings.g_agammagamma_from_g_aW(coupling)),
        masses,
        couplings.two_body_momentum(B_PLUS_MASS, masses, KAON_MASS),
    )
    assert np.all(np.diff(lengths) < 0)
    ((low, high),) = couplings.ranges_where(masses, lengths > 10)
    assert low == masses[0]
    assert 1.0 < high < 1.6
    inside = masses <= high
    assert np.all(lengths[inside] > 10)
    assert np.all(lengths[~inside] <= 10)


def test_ranges_cover_each_run_once():
    masses = np.arange(6.0)
    holds = [True, True, False, True, False, True]
    assert couplings.ranges_where(masses, holds) == [(0, 1), (3, 3), (5, 5)]
    assert couplings.ranges_where(masses, np.zeros(6)) == []


def test_lepton_width_matches_a_hand_computed_value_and_inverts():
    # sin(theta)^2 m_mu^2 m/(8 pi v^2) (1-4 m_mu^2/m^2)^1.5 at m = 1 GeV, theta = 1e-3, v = 246.22 GeV:
    # 1e-6 * 0.0111637 / (25.13274 * 60624.3) * 0.955345^1.5 = 6.8417e-15
    width = couplings.dark_higgs_lepton_width("muon", 1.0, 1e-3)
    assert width == pytest.approx(6.8417e-15, rel=2e-4)
    assert couplings.sin_theta_from_lepton_width("muon", 1.0, width) == pytest.approx(1e-3, rel=1e-12)


def test_lepton_width_is_zero_below_threshold():
    np.testing.assert_array_equal(couplings.dark_higgs_lepton_width("muon", [0.1, 0.2], 1e-3), 0)


def test_dark_higgs_length_inverts_and_counts_given_hadrons():
    length = couplings.dark_higgs_decay_length_mm([0.15, 0.25], 1e-4)
    np.testing.assert_allclose(couplings.sin_theta_from_decay_length([0.15, 0.25], length), 1e-4, rtol=1e-12)
    leptons = couplings.dark_higgs_decay_length_mm(0.5, 1e-4, hadron_width_at_full_mixing=0.0)
    doubled = couplings.dark_higgs_decay_length_mm(
        0.5,
        1e-4,
        hadron_width_at_full_mixing=sum(
            couplings.dark_higgs_lepton_width(name, 0.5, 1.0) for name in couplings.LEPTON_MASSES
        ),
    )
    assert doubled == pytest.approx(leptons / 2, rel=1e-12)


def test_cross_section_scales_with_coupling_squared_and_alpha():
    at_rest = couplings.alp_cross_section_fb(0.0, 1.0)
    assert at_rest == pytest.approx(3.893793721e11 * ALPHA_QED / 24, rel=1e-12)
    assert couplings.alp_cross_section_fb(0.0, 2.0) == pytest.approx(4 * at_rest, rel=1e-12)


def test_importing_couplings_is_light():
    heavy = {"torch", "matplotlib", "scipy", "numba", "pandas"}
    code = f"import sys, darksieve.couplings; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_examples_of_the_guide_give_the_numbers_that_it_states():
    guide = Path(__file__).parents[1].joinpath("docs", "couplings.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/couplings.md", "exec"), names)
    np.testing.assert_allclose(names["sigma_fb"], [5.0, 8.0])
    ((low, high),) = names["not_prompt"]
    assert (low, high) == pytest.approx((0.16, 1.4), abs=0.05)


def test_flight_makes_a_limit_weaker_and_less_so_the_larger_the_radius():
    mass = np.linspace(0.17, 4.5, 40)
    prompt = couplings.g_aW_from_branching_fraction("K+", mass, 1e-7)
    near, far = (couplings.g_aW_with_flight("K+", mass, 1e-7, radius) for radius in (10.0, 1000.0))
    assert (near >= far * (1 - 1e-12)).all()
    assert (far >= prompt * (1 - 1e-12)).all()
    # at 4.5 GeV the flight is micrometres: nothing changes; at 0.17 GeV it is metres
    assert near[-1] == pytest.approx(prompt[-1], rel=1e-9)
    assert near[0] > 3 * prompt[0]


@pytest.mark.parametrize("hadron", ["K+", "K*0", "pi+"])
def test_the_coupling_with_flight_gives_back_the_branching_fraction_inside_the_radius(hadron):
    mass = np.geomspace(0.15, 4.0, 25)
    for limit, radius in ((1e-8, 5.0), (1e-6, 200.0)):
        g = couplings.g_aW_with_flight(hadron, mass, limit, radius)
        flight = couplings.alp_flight_length_mm(hadron, mass, g)
        inside = couplings.alp_branching_fraction(hadron, mass, g) * -np.expm1(-radius / flight)
        np.testing.assert_allclose(inside, limit, rtol=1e-9)


def test_flight_length_is_that_of_the_fact_sheet():
    # c tau = 7.4 mm at g_aW = 1e-5/GeV and 1 GeV; the momentum of a in B+ -> K+ a there is 2.5 GeV
    flight = couplings.alp_flight_length_mm("K+", 1.0, 1e-5)
    assert flight == pytest.approx(7.4 * 2.5, rel=0.03)
