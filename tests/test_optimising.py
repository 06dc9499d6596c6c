"""What the choice of working points says of itself, and what it refuses once it sees the candidates."""

from types import SimpleNamespace

import numpy as np
import pytest

from darksieve.config_loading import validate
from darksieve.errors import InputError
from darksieve.workflow.categorising import categoriser
from darksieve.workflow.optimising import _kept_whole, summary_of
from darksieve.workflow.preselecting import refuse_the_mass
from darksieve.workflow.table import CandidateTable


def document(percents):
    points = [{"percent_of_ceiling": p} for p in percents for _ in range(2)]
    return {"n_categories": 2, "kind": "categories", "points": points}


@pytest.mark.parametrize(
    ("percents", "text"),
    [
        ([90.0, 98.0], "2 masses, 2 categories, 94.0 % of the score's ceiling"),
        (
            [90.0, None],
            "2 masses, 2 categories, 90.0 % of the score's ceiling, next to no simulated background at 1 of 2"
            " points: no ceiling there",
        ),
        (
            [None, None],
            "2 masses, 2 categories, next to no simulated background at 2 of 2 points: no ceiling there",
        ),
    ],
)
def test_where_there_is_no_background_no_share_of_a_ceiling_is_claimed(percents, text):
    assert summary_of(document(percents), 2) == text


@pytest.mark.parametrize("function", [np.square, np.log, lambda m: -(m**3)])
def test_a_column_in_the_order_of_the_mass_is_no_preselection(function):
    mass = np.random.default_rng(0).uniform(0.5, 3, 5000)
    with pytest.raises(InputError, match=r"preselection\.q: 'q' has the order of the scanned observable"):
        refuse_the_mass(function(mass), mass, "q", "working_points.preselection.q")


def test_columns_that_only_follow_the_mass_somewhat_are_taken():
    rng = np.random.default_rng(1)
    mass = rng.uniform(0.5, 3, 5000)
    refuse_the_mass(mass + rng.normal(size=5000), mass, "q", "place")
    refuse_the_mass(np.ones(5000), mass, "q", "place")
    refuse_the_mass(np.ones(1), mass[:1], "q", "place")


def test_bundles_know_of_channels_that_keep_every_candidate():
    """What the scan keeps, `apply` keeps: category 1 for all that the channel selects."""
    names = ("cut", "whole", "empty")
    config = validate(
        {
            "search": "s",
            "luminosity_fb": 1,
            "samples": {
                "b": {"role": "background", "files": ["b.root"], "luminosity_fb": 1},
                "s": {"role": "signal", "files": ["s.root"], "mass": 1.0, "n_generated": 10},
            },
            "channels": {name: {"select": f"h == {i}"} for i, name in enumerate(names, 1)},
            "classifiers": [{"name": "shapes", "model": "bdt", "features": ["x"]}],
            "scan": {"observable": "M", "range": [0.5, 1.5], "masses": [1.0]},
        }
    )
    background = np.zeros(2)
    zeros = {name: background for name in ("sample", "label", "mass", "key", "observable", "score")}
    table = CandidateTable(("b",), names, channel=np.array([0, 1]), weight=np.ones(2), **zeros)
    kept = _kept_whole(SimpleNamespace(config=config), table, {"boundaries": {"cut": {}}})
    assert list(kept) == ["whole"]  # no background is known of the third, so no fit has it
    assert kept["whole"]["select"] == "h == 2"
    assert kept["whole"]["classifier"] == "shapes"
    category = categoriser(kept["whole"])(np.ones(3), {"shapes": np.zeros(3)}, np.arange(3))
    np.testing.assert_array_equal(category, 1)
