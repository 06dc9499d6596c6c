"""What a feature buys of the limit, as the report tells it."""

import math

from darksieve.workflow.limit_worth import limit_worth_tables

WORTH = {
    "kplus": {
        "masses": [1.0, 2.0],
        "relative_limit": [0.5, 0.6],
        "features": [
            {"feature": "R2", "loss": [0.0, 0.0], "spread": [0.1, 0.1]},
            {"feature": "thrust", "loss": [0.1, None], "spread": [0.1, None]},
        ],
    },
    "kstar": {"reason": "channel kstar: no signal candidate is left"},
}


def test_features_are_tabled_by_what_they_are_worth_and_a_channel_without_says_why():
    first, second = limit_worth_tables("continuum", WORTH)
    assert first.columns[2:] == ["1 GeV", "2 GeV"]
    assert [row[0] for row in first.rows] == ["thrust", "R2"]
    mean, at_first, at_second = first.rows[0][1:]
    assert abs(mean - 10.517) < 0.001  # 100 (e^0.1 − 1)
    assert at_first == mean
    assert math.isnan(at_second)  # unknown stays unknown
    assert second.rows == [["channel kstar: no signal candidate is left"]]
