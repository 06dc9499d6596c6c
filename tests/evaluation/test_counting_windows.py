"""Windows that are counted in: backgrounds averaged around them, vetoes, and where nothing is left."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from darksieve.errors import InputError
from darksieve.evaluation.counting_windows import CountingChoice, counting_entries
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.search_building import ScanChannel, Uncertainties, build_search_model
from darksieve.evaluation.signal_shape import fit_signal_shape

SIGMA = 0.010  # GeV
EDGES = np.arange(0.2, 3.0001, SIGMA / 5)
N_BINS = len(EDGES) - 1


@pytest.fixture(scope="module")
def shape():
    rng = np.random.default_rng(1)
    mass = rng.uniform(0.3, 2.9, 20_000)
    return fit_signal_shape(mass + SIGMA * rng.normal(size=20_000), mass, np.ones(20_000))


@pytest.fixture
def channel(shape):
    return ScanChannel(
        name="c",
        shape=shape,
        sigma=lambda masses: np.full(np.shape(masses), SIGMA),
        efficiency=lambda masses: np.full(len(masses), 0.1),
        yield_per_efficiency=365.0,
        edges=EDGES,
        sums=np.full(N_BINS, 0.02),
        squares=np.full(N_BINS, 0.02 * 0.5),  # events of weight 1/2
        selection="c",
        event_weight=0.5,
    )


def _relative_error(entry):
    return entry["background"]["uncertainty"] / entry["background"]["yield"]


def test_a_window_holds_the_average_of_the_background_and_its_share_of_the_signal(channel):
    (entry,) = counting_entries(channel, np.array([1.0]), CountingChoice(2, 20, 4), ())
    low, high = entry["window"]
    assert high - low == pytest.approx(4 * SIGMA, rel=0.06)  # whole bins of a fifth
    assert entry["background"]["yield"] == pytest.approx(0.02 * (high - low) * 5 / SIGMA, rel=1e-6)
    share = ndtr((high - 1) / SIGMA) - ndtr((low - 1) / SIGMA)
    assert entry["yield_per_unit"] == pytest.approx(36.5 * share, rel=0.02)  # a shape fitted to 20 000 events


def test_the_average_widens_until_it_has_events_enough_and_its_error_is_theirs(channel):
    # ±2 σ hold 0.8 effective events, ±16 σ 6.4 and ±20 σ 8
    masses = np.array([1.0])
    for wanted, effective in ((4, 6.4), (100, 8.0)):
        (entry,) = counting_entries(channel, masses, CountingChoice(2, 20, wanted), ())
        background = entry["background"]
        assert background["uncertainty"] / background["yield"] == pytest.approx(
            1 / np.sqrt(effective), rel=0.03
        )
    (entry,) = counting_entries(channel, masses, CountingChoice(2, 20, 4, uncertainty=0.3), ())
    expected = np.hypot(0.3, 1 / np.sqrt(6.4))
    assert entry["background"]["uncertainty"] / entry["background"]["yield"] == pytest.approx(
        expected, rel=0.03
    )


def test_a_peak_with_events_enough_is_not_averaged_away(channel):
    sums = np.full(N_BINS, 0.02)
    peak = np.abs(EDGES[:-1] - 1.0) < 2 * SIGMA
    sums[peak] += 5.0
    high = replace(channel, sums=sums, squares=0.5 * sums)
    inside, beside = counting_entries(high, np.array([1.0, 1.5]), CountingChoice(2, 20, 10), ())
    assert inside["background"]["yield"] > 90
    assert beside["background"]["yield"] < 1


def test_where_no_event_is_left_one_stands_for_what_is_not_known(channel):
    empty = replace(channel, sums=np.zeros(N_BINS), squares=np.zeros(N_BINS))
    (entry,) = counting_entries(empty, np.array([1.0]), CountingChoice(2, 20, 10), ())
    background = entry["background"]
    assert background["yield"] == pytest.approx(0.5 * 2 / 20, rel=0.06)  # half an event over ±20 σ
    assert background["uncertainty"] == pytest.approx(background["yield"])


def test_a_channel_that_does_not_know_what_an_event_is_worth_is_refused(channel):
    nothing = replace(channel, sums=np.zeros(N_BINS), squares=np.zeros(N_BINS), event_weight=0.0)
    with pytest.raises(InputError, match="channel c: no simulated background is left"):
        counting_entries(nothing, np.array([1.0]), CountingChoice(), ())


def test_windows_end_at_vetoes_and_lose_the_signal_beyond(channel):
    vetoes = [(1.005, 1.2)]
    near, far = counting_entries(channel, np.array([1.0, 0.8]), CountingChoice(), vetoes)
    assert near["window"][1] <= 1.005 + 1e-9
    assert near["yield_per_unit"] < 0.75 * far["yield_per_unit"]  # Φ(0.5) - Φ(-2) of 0.95


def test_a_scan_of_counts_is_a_document_that_is_answered_without_a_fit(channel):
    counts = np.zeros(N_BINS)
    counts[np.searchsorted(EDGES, 2.0)] = 2
    masses = np.array([0.5, 1.1, 2.0])
    model = build_search_model(
        [replace(channel, counts=counts)],
        masses,
        parameter=("cross_section", "fb"),
        uncertainties=Uncertainties(efficiency=0.05),
        vetoes=[(1.0, 1.2)],
        counting=CountingChoice(),
    )
    nothing, vetoed, two = answer_documents([model], method="marginal").points
    assert vetoed.status == "vetoed"
    # 3.00 and about 6.2 events (n = 0, 2 over 0.4) of 36.5 per fb, 95 % of them in the window
    assert nothing.observed == pytest.approx(3.0 / (36.5 * 0.95), rel=0.04)
    assert 1.7 < two.observed / nothing.observed < 2.2
    assert two.p0 < 0.1 < nothing.p0
