"""The search document of a scan: its units, its windows, its vetoes, and the way from candidates to it."""

from dataclasses import replace

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.limits.document import SearchModel, kept_bins
from darksieve.evaluation.pseudo_data import draw_pseudo_data
from darksieve.evaluation.scan_channels import (
    ScanCandidates,
    common_resolution,
    make_channels,
    smooth_backgrounds,
)
from darksieve.evaluation.scan_grid import mass_grid
from darksieve.evaluation.search_building import (
    BackgroundChoice,
    ScanChannel,
    Uncertainties,
    build_search_model,
    point_labels,
    with_counts,
)
from darksieve.evaluation.signal_efficiency import fit_signal_efficiency
from darksieve.evaluation.signal_shape import fit_signal_shape

UNIT = CrystalBall(0.0, 1.0, 1.4, 4.0, 1.8, 6.0)
PARAMETER = ("cross_section", "fb")
VETOES = [(0.50, 0.60)]
LUMINOSITY = 100.0
N_GENERATED = 60_000
GENERATED_RANGE = (0.1, 3.0)
N_BACKGROUND = 300_000
BACKGROUND_WEIGHT = 4.0


@pytest.fixture(scope="module")
def candidates():
    """Signal with efficiency 0.3 in category 1 and 0.2 in category 2, a falling background, and a peak."""
    rng = np.random.default_rng(21)
    mass = rng.uniform(*GENERATED_RANGE, N_GENERATED)
    category = rng.choice([0, 1, 2], N_GENERATED, p=[0.5, 0.3, 0.2])
    signal = mass + (0.010 + 0.001 * mass) * UNIT.quantile(rng.random(N_GENERATED))
    background = 0.05 + 3.2 * rng.random(N_BACKGROUND) ** 1.2
    peak = 0.958 + 0.011 * UNIT.quantile(rng.random(3000))
    n = N_GENERATED + N_BACKGROUND + 3000
    return ScanCandidates(
        observable=np.concatenate([signal, background, peak]),
        mass=np.concatenate([mass, np.full(N_BACKGROUND + 3000, np.nan)]),
        weight=np.concatenate(
            [
                np.full(N_GENERATED, (GENERATED_RANGE[1] - GENERATED_RANGE[0]) / N_GENERATED),
                np.full(N_BACKGROUND, BACKGROUND_WEIGHT),
                np.full(3000, 0.3),
            ]
        ),
        label=np.concatenate([np.ones(N_GENERATED), np.zeros(N_BACKGROUND + 3000)]),
        is_data=np.zeros(n, bool),
        sample=np.array(["signal"] * N_GENERATED + ["qed"] * N_BACKGROUND + ["gamma_etaprime"] * 3000),
        category=np.concatenate([category, rng.integers(0, 3, N_BACKGROUND + 3000)]),
    )


@pytest.fixture(scope="module")
def common(candidates):
    return common_resolution(candidates, mass_range=(0.2, 2.8), position="mass", margin_sigma=8)


@pytest.fixture(scope="module")
def channels(candidates, common):
    rows = candidates.label == 1
    efficiency = fit_signal_efficiency(
        candidates.mass[rows],
        candidates.weight[rows],
        candidates.category[rows],
        2,
        mass_range=GENERATED_RANGE,
    )
    return make_channels(
        candidates,
        common,
        name="all",
        n_categories=2,
        efficiency=efficiency,
        yield_per_efficiency=LUMINOSITY,
        peaking=["gamma_etaprime"],
    )


@pytest.fixture(scope="module")
def masses(common):
    return mass_grid((0.2, 2.8), common.sigma, 2.0)


@pytest.fixture(scope="module")
def document(channels, masses):
    return build_search_model(
        channels,
        masses,
        parameter=PARAMETER,
        vetoes=VETOES,
        uncertainties=Uncertainties(luminosity=0.006, efficiency=0.04, width=0.05, scale_sigma=0.1),
    )


@pytest.mark.parametrize(("edge", "trimmed"), [(0.13, True), (-10.0, False)])
def test_data_end_where_the_spectrum_does(candidates, edge, trimmed):
    # the signal is at 0.3 GeV and above; the background is flat and begins at the edge, 15 resolutions below
    rng = np.random.default_rng(4)
    signal = candidates.label == 1
    observable = candidates.observable.copy()
    observable[~signal] = rng.uniform(max(edge, 0.0), 3.2, (~signal).sum())
    changed = replace(candidates, observable=observable)
    common = common_resolution(changed, mass_range=(0.3, 2.8), position="mass", margin_sigma=20)
    if trimmed:
        assert common.edges[0] > edge
        assert common.margins[0] <= 12
        assert common.margins[0] >= 5
    else:
        assert common.margins[0] >= 16  # a chance fluctuation costs one step in ten cases
    assert common.edges[0] == pytest.approx(0.3 - common.margins[0] * float(common.sigma(np.array(0.3))))


def test_expected_signal_is_cross_section_times_luminosity_times_efficiency(channels, document):
    strength = 3.7  # fb
    for channel in channels:
        for point in document.points:
            if point.status is not None:
                continue
            signal = point.channels[channel.name]
            shape = CrystalBall(
                *(
                    getattr(signal, n)
                    for n in ("mean", "sigma", "alpha_left", "n_left", "alpha_right", "n_right")
                )
            )
            reach = 8 * signal.sigma
            low, high = max(signal.window[0], signal.mean - reach), min(signal.window[1], signal.mean + reach)
            trusted = float(shape.cdf(signal.mean + reach) - shape.cdf(signal.mean - reach))
            inside = (
                float(shape.cdf(high) - shape.cdf(low)) / trusted * float(channel.shape.contained(point.mass))
            )
            expected = strength * LUMINOSITY * float(channel.efficiency(np.array([point.mass]))[0]) * inside
            assert strength * signal.yield_per_unit == pytest.approx(expected, rel=1e-6)


def test_yields_count_the_simulated_signal(candidates, channels, document):
    # the true efficiencies, without any of the fits
    for name, efficiency in (("all_1", 0.3), ("all_2", 0.2)):
        yields = [p.channels[name].yield_per_unit for p in document.points if p.status is None]
        error = 100 * efficiency * np.sqrt(1 / (efficiency * N_GENERATED))
        assert np.mean(yields) == pytest.approx(100 * efficiency, abs=6 * error)


def test_backgrounds_count_the_simulated_background(candidates, channels, document):
    edges = channels[0].edges
    for point in document.points[::8]:
        if point.status is not None:
            continue
        signal = point.channels["all_1"]
        kept = kept_bins(edges, signal.window, signal.exclude)
        rows = (candidates.sample == "qed") & (candidates.category == 1)
        counts = np.histogram(candidates.observable[rows], edges)[0][kept].sum()
        # the quoting half, scaled up: its error is that of twice the weight on half of the events
        error = BACKGROUND_WEIGHT * np.sqrt(counts)
        assert signal.background.yield_ == pytest.approx(BACKGROUND_WEIGHT * counts, abs=5 * error)


def test_vetoed_masses_are_marked_and_their_bins_are_in_no_fit(document, channels):
    vetoed = [p for p in document.points if p.status == "vetoed"]
    assert vetoed
    assert all(0.50 <= p.mass <= 0.60 and not p.channels for p in vetoed)
    near = [p for p in document.points if p.status is None and 0.4 < p.mass < 0.7]
    assert near
    edges = channels[0].edges
    for point in near:
        signal = point.channels["all_1"]
        assert signal.exclude == ((0.50, 0.60),)
        kept = kept_bins(edges, signal.window, signal.exclude)
        assert kept.any()
        assert not np.any(kept & (edges[1:] > 0.50 + 1e-9) & (edges[:-1] < 0.60 - 1e-9))


def test_windows_keep_the_bins_that_the_expectation_was_fitted_in(document, channels):
    for point in document.points[::5]:
        if point.status is not None:
            continue
        for channel in channels:
            signal = point.channels[channel.name]
            kept = kept_bins(channel.edges, signal.window, signal.exclude)
            # yields are sums over exactly these bins, so they agree to rounding
            assert signal.background.yield_ == pytest.approx(channel.sums[kept].sum(), rel=1e-9)


def test_peaking_backgrounds_are_in_the_windows_that_see_them(document):
    assert all(
        [peak.name for peak in p.channels["all_1"].background.peaking] == ["gamma_etaprime"]
        for p in document.points
        if p.status is None and 0.85 < p.mass < 1.1
    )
    assert not any(p.channels["all_1"].background.peaking for p in document.points if p.mass > 2.0)
    peak = next(p for p in document.points if p.mass > 0.9).channels["all_1"].background.peaking[0]
    assert peak.yield_ == pytest.approx(3000 * 0.3 / 3, rel=6 * np.sqrt(2 / 1000))
    assert peak.mean == pytest.approx(0.958, abs=0.002)
    assert peak.uncertainty == 0.2


def test_a_blind_document_holds_the_binning_and_no_counts(document, channels, tmp_path):
    assert document.blind
    assert "counts" not in str(document.to_json()["channels"])
    document.save(tmp_path / "search.json")
    again = SearchModel.load(tmp_path / "search.json")
    assert again == document
    assert [n.name for n in again.nuisances] == ["luminosity", "efficiency", "width", "scale"]
    assert again.parameter.unit == "fb"


def test_pseudo_data_enter_the_document(candidates, common, channels, masses):
    models = smooth_backgrounds(candidates, common, channels, ["gamma_etaprime"])
    assert all(model.closure.p_value > 1e-4 for model in models.values())
    data = draw_pseudo_data(models, seed=4)
    document = build_search_model(with_counts(channels, data.counts), masses, parameter=PARAMETER)
    assert not document.blind
    assert document.channel("all_2").data.counts == tuple(data.counts["all_2"])
    assert document.nuisances == ()
    assert with_counts(with_counts(channels, data.counts), None)[0].counts is None


def test_channels_with_ranges_and_observables_of_their_own_share_the_scan():
    rng = np.random.default_rng(2)
    mass = rng.uniform(0.5, 4.0, 20_000)
    smear = 0.012 * UNIT.quantile(rng.random(20_000))
    pieces = []
    for name, position, mass_range in (
        ("low", "mass_squared", (0.6, 2.0)),
        ("high", "mass", (2.0 + 1e-6, 3.8)),
    ):
        observable = mass**2 + 2 * mass * smear if position == "mass_squared" else mass + smear
        shape = fit_signal_shape(observable, mass, np.ones(20_000), position=position)
        edges = (
            np.linspace(0.3**2, 2.5**2, 2001) if position == "mass_squared" else np.linspace(1.6, 4.0, 1201)
        )
        pieces.append(
            ScanChannel(
                name=name,
                shape=shape,
                sigma=shape.sigma,
                efficiency=lambda m: np.full(len(m), 0.4),
                yield_per_efficiency=10.0,
                edges=edges,
                sums=np.full(len(edges) - 1, 50.0),
                squares=np.full(len(edges) - 1, 50.0),
                mass_range=mass_range,
                background=BackgroundChoice("chebyshev", 1, 10.0) if name == "low" else None,
            )
        )
    document = build_search_model(pieces, [1.0, 1.9, 2.5, 3.7, 3.9], parameter=PARAMETER)
    assert [list(p.channels) for p in document.points] == [["low"], ["low"], ["high"], ["high"], []]
    assert document.points[-1].status == "no_signal"
    low = document.points[0].channels["low"]
    assert low.mean == pytest.approx(1.0, abs=0.002)
    assert low.sigma == pytest.approx(2 * 0.012, rel=0.05)
    assert low.background.order == 1
    assert low.window == pytest.approx(((1 - 0.12) ** 2, (1 + 0.12) ** 2), abs=0.02)
    assert document.points[2].channels["high"].background.order == 3


def test_a_category_without_signal_at_an_end_sees_no_hypothesis_there(candidates, common):
    category = np.where((candidates.category == 2) & (candidates.mass > 2.4), 0, candidates.category)
    fewer = replace(candidates, category=category)
    rows = fewer.label == 1
    efficiency = fit_signal_efficiency(
        fewer.mass[rows], fewer.weight[rows], category[rows], 2, mass_range=GENERATED_RANGE
    )
    pieces = make_channels(
        fewer, common, name="all", n_categories=2, efficiency=efficiency, yield_per_efficiency=LUMINOSITY
    )
    document = build_search_model(pieces, [1.0, 2.7], parameter=PARAMETER)
    assert [list(p.channels) for p in document.points] == [["all_1", "all_2"], ["all_1"]]
    with pytest.raises(InputError, match=r"channel all_1: mass 3\.05 GeV lies outside the simulated signal"):
        build_search_model(pieces, [3.05], parameter=PARAMETER)


def test_a_mass_outside_the_simulated_signal_is_refused(channels):
    with pytest.raises(InputError, match="outside the simulated signal"):
        build_search_model(channels, [3.05], parameter=PARAMETER)
    with pytest.raises(InputError, match="at least one channel"):
        build_search_model([], [1.0], parameter=PARAMETER)
    with pytest.raises(InputError, match="at least one mass"):
        build_search_model(channels, [], parameter=PARAMETER)


def test_labels_are_as_long_as_they_need_to_be():
    assert point_labels([0.5, 1.25]) == ["m0.500", "m1.250"]
    assert point_labels([0.5, 0.5001]) == ["m0.5000", "m0.5001"]
    with pytest.raises(InputError, match="equal"):
        point_labels([1.0, 1.0])


def test_selected_candidates_without_a_finite_observable_are_refused():
    with pytest.raises(InputError, match="not finite"):
        ScanCandidates(
            np.array([np.nan]),
            np.array([1.0]),
            np.ones(1),
            np.ones(1),
            np.zeros(1, bool),
            np.array(["signal"]),
            np.array([1]),
        )


def test_spurious_signal_is_a_share_of_the_background_under_each_peak(channels):
    model = build_search_model(
        channels, [1.5, 2.0], parameter=PARAMETER, uncertainties=Uncertainties(spurious_signal=0.01)
    )
    for point in model.points:
        for channel in channels:
            entry = point.channels[channel.name]
            middle = (channel.edges[1:] + channel.edges[:-1]) / 2
            near = np.abs(middle - entry.mean) < 2 * entry.sigma
            wanted = 0.01 * channel.sums[near].sum()
            # the fit's own smoothing against the counts of some dozens of bins
            counted = channel.sums[near].sum() ** 2 / channel.squares[near].sum()
            assert entry.spurious_signal == pytest.approx(wanted, rel=5 / np.sqrt(counted) + 0.1)
