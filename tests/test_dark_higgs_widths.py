"""Widths of a dark Higgs boson, its production, and the regions of mixing that follow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve import couplings
from darksieve.couplings.mixing_region import excluded_ranges


@pytest.mark.parametrize(
    ("final_state", "mass", "expected"),
    # B(h' → π+π-) and half of B(h' → KK) of M. W. Winkler, arXiv:1809.01876, as other readers of his figures
    # have them (github.com/KlingFelix/FORESEE, Models/DarkHiggs/model/br): good to 10 to 15 %
    [("pipi", 0.5085, 0.593), ("pipi", 0.7023, 0.593), ("pipi", 0.8951, 0.626), ("pipi", 1.0808, 0.237),
     ("KK", 1.1130, 0.316), ("KK", 1.3082, 0.355), ("KK", 1.5804, 0.313)],
)  # fmt: skip
def test_branching_fractions_are_those_of_another_reading_of_the_source(final_state, mass, expected):
    found = couplings.dark_higgs_branching_fraction(final_state, mass)
    assert found == pytest.approx(expected, rel=0.15)


@given(st.floats(0.22, 2.0))
def test_branching_fractions_are_shares_and_lifetimes_fall_with_the_mixing_squared(mass):
    shares = [float(couplings.dark_higgs_branching_fraction(name, mass)) for name in ("mumu", "pipi", "KK")]
    assert all(0 <= share <= 1 for share in shares)
    assert sum(shares) <= 1 + 1e-12
    long, short = couplings.dark_higgs_ctau_cm(mass, [1e-5, 1e-3])
    assert long / short == pytest.approx(1e4)


def test_below_two_pions_muons_take_all_but_electrons():
    assert couplings.dark_higgs_branching_fraction("mumu", 0.25) == pytest.approx(1, abs=1e-3)
    widths = couplings.dark_higgs_widths(0.25)
    assert widths.hadrons == 0
    assert widths.mumu == pytest.approx(couplings.dark_higgs_lepton_width("muon", 0.25, 1.0))


def test_the_cross_section_falls_to_zero_at_threshold_and_goes_with_the_couplings():
    def of(mass, **changes):
        given = {"dark_photon_mass": 3.0, "alpha_dark": 0.1, "epsilon": 1e-3, "sqrt_s": 10.58}
        return float(couplings.dark_higgsstrahlung_cross_section_fb(mass, **(given | changes)))

    # by hand at m(h') -> 0: λ = (1 - y)², y = 9/111.94; π α α_D ε²/(3 s) = 6.83e-12/GeV²
    y = 9 / 10.58**2
    born = np.pi / 137.036 * 0.1 * 1e-6 / (3 * 10.58**2) * 3.893794e11
    assert of(1e-3) == pytest.approx(born * ((1 - y) ** 2 + 12 * y) / (1 - y), rel=1e-5)
    assert of(7.57) < 0.05 * of(1.0)
    assert of(1.0, epsilon=2e-3) == pytest.approx(4 * of(1.0))
    assert of(1.0, alpha_dark=0.2) == pytest.approx(2 * of(1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: couplings.dark_higgs_widths(2.5), "up to 2 GeV"),
        (lambda: couplings.dark_higgs_branching_fraction("pippi", 1.0), "did you mean 'pipi'"),
        (
            lambda: couplings.dark_higgsstrahlung_cross_section_fb(
                8.0, dark_photon_mass=3.0, alpha_dark=0.1, epsilon=1e-3
            ),
            "less the mass of the dark photon",
        ),
        (lambda: excluded_ranges([1.0, 2.0], [1.0, -1.0], 0.5), "must be finite and not negative"),
        (lambda: excluded_ranges([2.0, 1.0], [1.0, 1.0], 0.5), "does not ascend"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_peak_of_the_expectation_is_excluded_between_its_crossings():
    x = np.geomspace(1e-6, 1e-2, 401)
    events = 10 * np.exp(-(np.log(x / 1e-4) ** 2) / 2)
    low, high = excluded_ranges(x, events, 3.0)
    reach = np.exp(np.sqrt(2 * np.log(10 / 3)))
    assert low == pytest.approx(1e-4 / reach, rel=1e-3)
    assert high == pytest.approx(1e-4 * reach, rel=1e-3)


def test_nothing_is_excluded_above_the_peak_or_without_a_limit_and_ends_are_those_of_what_is_known():
    x = np.array([1.0, 2.0, 3.0])
    found = excluded_ranges(
        x, np.array([[1.0, 2.0, 1.0], [1.0, 2.0, 1.0], [9.0, 9.0, 9.0]]), [5.0, np.nan, 1.0]
    )
    assert np.isnan(found[:2]).all()
    assert found[2].tolist() == pytest.approx([1.0, 3.0])
