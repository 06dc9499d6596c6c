"""Published limits are packaged as they were published, and compare bin by bin."""

import numpy as np
import pytest

from darksieve.evaluation.published import (
    compare_with_published,
    published_limits,
    published_names,
    published_ranges,
)

# facts as tabulated by hand: bin, cross section in pb, coupling in 1/GeV at the median
BELLE2_ROWS = [
    (0.2, 0.3, 3, 0.092, 0.120, 0.180, 1.01e-3),
    (1.0, 1.25, 15, 0.136, 0.212, 0.323, 1.36e-3),
    (5.0, 5.5, 14, 0.496, 0.751, 0.873, 3.85e-3),
    (9.4, 9.71, 15, 0.282, 0.464, 0.722, 2.50e-2),
]
BABAR_ROWS = [(0.19, 0.25, 8, 1.4e-7, 2.6e-7, 4.1e-7), (4.65, 4.79, 16, 7.3e-8, 1.2e-7, 1.3e-6)]


def test_both_searches_are_packaged_with_all_bins():
    assert published_names() == ("belle2_2020_gamma_alp", "babar_2022_kplus_alp")
    assert len(published_limits("belle2_2020_gamma_alp").low) == 26
    assert len(published_limits("babar_2022_kplus_alp").low) == 23


def test_ranges_are_those_of_the_abstracts_and_say_what_makes_the_difference():
    ranges = published_ranges()
    assert set(ranges) == {"belle_2025_k_alp", "belle_2026_h_invisible", "belle2_2025_dark_higgs"}
    assert (ranges["belle_2025_k_alp"].lowest, ranges["belle_2025_k_alp"].highest) == (3e-6, 3e-5)
    assert (ranges["belle_2026_h_invisible"].lowest, ranges["belle_2026_h_invisible"].highest) == (1e-6, 1e-4)
    for one in [*ranges.values(), *map(published_limits, published_names())]:
        assert one.luminosity_fb > 0
        text = " ".join(one.differences)
        assert "toy" in text
        assert "CLs" in text or "Method" in text


@pytest.mark.parametrize("name", published_names())
def test_bins_are_ordered_and_values_too(name):
    limits = published_limits(name)
    assert np.all(limits.low < limits.high)
    np.testing.assert_array_equal(limits.low[1:], limits.high[:-1])
    assert np.all(limits.minimum <= limits.median)
    assert np.all(limits.median <= limits.maximum)
    assert np.all(limits.n_points > 0)
    assert "digitised" in limits.note
    assert "alp-aca" in limits.digitised_by


@pytest.mark.parametrize("row", BELLE2_ROWS)
def test_belle2_rows_and_their_couplings(row):
    low, high, n_points, smallest, middle, largest, coupling = row
    limits = published_limits("belle2_2020_gamma_alp")
    (i,) = np.flatnonzero(limits.low == low)
    assert (limits.high[i], limits.n_points[i]) == (high, n_points)
    np.testing.assert_allclose(
        [limits.minimum[i], limits.median[i], limits.maximum[i]], np.array([smallest, middle, largest]) * 1e3
    )
    assert limits.unit == "fb"
    assert limits.as_g_agammagamma().median[i] == pytest.approx(coupling, rel=5e-3)  # three digits given


@pytest.mark.parametrize("row", BABAR_ROWS)
def test_babar_rows(row):
    low, high, n_points, smallest, middle, largest = row
    limits = published_limits("babar_2022_kplus_alp")
    (i,) = np.flatnonzero(limits.low == low)
    found = (limits.high[i], limits.n_points[i], limits.minimum[i], limits.median[i], limits.maximum[i])
    assert found == (high, n_points, smallest, middle, largest)
    assert (limits.luminosity_fb, limits.confidence_level) == (424, 0.90)


def test_babar_coupling_is_in_the_known_range():
    coupling = published_limits("babar_2022_kplus_alp").as_g_aW("K+")
    assert (coupling.parameter, coupling.unit) == ("g_aW", "1/GeV")
    assert np.all((coupling.median > 4e-6) & (coupling.median < 2e-5))


def test_conversions_refuse_the_wrong_parameter():
    with pytest.raises(ValueError, match="not cross_section"):
        published_limits("babar_2022_kplus_alp").as_g_agammagamma()
    with pytest.raises(ValueError, match="not branching_fraction"):
        published_limits("belle2_2020_gamma_alp").as_g_aW("K+")


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'belle2_2020_gamma_alp'"):
        published_limits("belle2_2020_gama_alp")


def test_packaged_numbers_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError, match="read-only"):
        published_limits("babar_2022_kplus_alp").median[0] = 1.0


def test_comparison_with_itself_is_one():
    limits = published_limits("belle2_2020_gamma_alp")
    same = compare_with_published(
        limits.centre, limits.median, limits, luminosity_fb=0.445, confidence_level=0.95
    )
    np.testing.assert_allclose(same.ratio, 1)
    np.testing.assert_allclose(same.ratio_at_equal_luminosity, 1)
    assert np.all(same.ratio_low <= 1)
    assert np.all(same.ratio_high >= 1)


@pytest.mark.parametrize(("as_coupling", "power"), [(False, -0.5), (True, -0.25)])
def test_limit_that_scales_with_luminosity_is_one_at_equal_luminosity(as_coupling, power):
    limits = published_limits("belle2_2020_gamma_alp")
    if as_coupling:
        limits = limits.as_g_agammagamma()
    scaled = limits.median * (408 / 0.445) ** power
    found = compare_with_published(limits.centre, scaled, limits, luminosity_fb=408, confidence_level=0.95)
    np.testing.assert_allclose(found.ratio_at_equal_luminosity, 1)
    np.testing.assert_allclose(found.ratio, (408 / 0.445) ** power)


def test_bins_without_scan_points_say_so():
    limits = published_limits("babar_2022_kplus_alp")
    masses = np.array([1.3, 1.35, 1.4, 2.1, 3.1])
    expected = np.array([1e-7, 3e-7, 2e-7, np.nan, 4e-8])
    found = compare_with_published(masses, expected, limits, luminosity_fb=711, confidence_level=0.90)
    table = found.as_table()
    assert set(map(len, table.values())) == {23}
    filled = np.flatnonzero(found.n_scan_points)
    np.testing.assert_array_equal(limits.low[filled], [1.25, 3.0])
    np.testing.assert_array_equal(found.n_scan_points[filled], [3, 1])
    np.testing.assert_allclose(found.expected[filled], [2e-7, 4e-8])  # median, not mean, of the bin
    assert np.all(np.isnan(np.delete(found.ratio, filled)))


def test_comparison_refuses_what_does_not_compare():
    limits = published_limits("babar_2022_kplus_alp")
    with pytest.raises(ValueError, match="95% and BaBar 2022 at 90%"):
        compare_with_published([1.0], [1e-7], limits, luminosity_fb=711, confidence_level=0.95)
    with pytest.raises(ValueError, match="positive"):
        compare_with_published([1.0], [0.0], limits, luminosity_fb=711, confidence_level=0.90)
    with pytest.raises(ValueError, match="do not match"):
        compare_with_published([1.0, 2.0], [1e-7], limits, luminosity_fb=711, confidence_level=0.90)
    with pytest.raises(ValueError, match="luminosity_fb"):
        compare_with_published([1.0], [1e-7], limits, luminosity_fb=0.0, confidence_level=0.90)
