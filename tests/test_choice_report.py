"""What report and log say of simpler choices: limits, gains, the order, and where nothing is known."""

import numpy as np
import pytest

from darksieve.evaluation.choice_order import judge_order
from darksieve.workflow.choice_report import NOT_KNOWN, choice_tables, verdicts

MASSES = [0.5, 1.0, 1.5]
LIMITS = {
    "no_classifier": [8.0, 8.0, 8.0],
    "rectangular": [None, 4.0, 4.0],
    "global_threshold": [2.0, 2.0, 4.0],
    "threshold": [2.0, 1.0, 2.0],
    "categories": [1.0, 1.0, 1.0],
}


def entry(ratio=None):
    orders = []
    if ratio is not None:
        rng = np.random.default_rng(0)
        drawn = np.array(ratio) * np.exp(0.01 * rng.normal(size=(25, 3)))
        order = judge_order(
            "global_threshold", "threshold", np.array(MASSES), np.array(ratio), drawn, np.zeros(3)
        )
        orders = [order.to_json()]
    return {
        "masses": MASSES,
        "limits": LIMITS,
        "errors": {"no_classifier": [0.123, 0.1, 0.1], "categories": [0.05, None, 0.05]},
        "no_background_simulated": {name: values.count(None) for name, values in LIMITS.items()},
        "rectangular": ["R2"],
        "orders": orders,
    }


def document(*, together, channels, fit=None):
    return {
        "limit_on": {"name": "fraction", "unit": "1"},
        "together": together,
        "comparison": channels,
        "comparison_together": fit,
    }


def test_limits_stand_by_mass_with_errors_and_what_is_not_known_in_words():
    table, gains = choice_tables(document(together=True, channels={"a": entry()}))
    assert table.columns[1:] == [
        "no classifier", "rectangular cuts", "global threshold (Punzi)", "threshold by mass", "categories",
        "gained in all",
    ]  # fmt: skip
    assert table.rows[0] == [0.5, "8 ± 0.12", NOT_KNOWN, 2.0, 2.0, "1 ± 0.05", 8.0]
    assert "Rectangular cuts on R2" in table.note
    by_choice = {row[0]: row[1:] for row in gains.rows}
    # geometric means over the masses that both know
    assert by_choice["no classifier"] == [pytest.approx(2), "2 to 2", pytest.approx(8), "8 to 8"]
    assert by_choice["rectangular cuts"][:2] == [pytest.approx(2**0.5), "1 to 2"]
    assert by_choice["global threshold (Punzi)"][0] == pytest.approx(4 ** (1 / 3))


def test_log_and_report_name_what_fails_with_its_mass_and_what_is_not_known():
    found = document(together=True, channels={"a": entry([0.5, 1.2, 0.9])})
    (order_warns, order), (unknown_warns, unknown) = verdicts(found)
    assert order_warns
    assert order.startswith("channel a: threshold by mass no worse than global threshold (Punzi): FAILS")
    assert "ratio 1.200, at 1 GeV" in order
    assert unknown_warns
    assert unknown == f"channel a: rectangular cuts: {NOT_KNOWN} at 1 of 3 masses"
    (row,) = choice_tables(found)[0].rows
    assert row[:4] == ["channel a: threshold by mass no worse than global threshold (Punzi)", "FAILS", 3, 1]
    assert row[5:7] == [1.0, 1]
    (warns, text), _ = verdicts(document(together=True, channels={"a": entry([0.5, 1.01, 0.9])}))
    assert not warns
    assert "holds within errors at 3 masses" in text


def test_an_order_is_claimed_only_where_cuts_were_chosen_for_it():
    channels = {"a": entry(), "b": entry()}
    for together in (True, False):
        tables = choice_tables(document(together=together, channels=channels, fit=entry()))
        by_mass = {t.title.split(", ")[-1]: t for t in tables if t.title.startswith("Median")}
        assert list(by_mass) == ["all channels together", "channel a", "channel b"]
        disclaims = {title: "no order is claimed" in t.note for title, t in by_mass.items()}
        assert disclaims["all channels together"] is not together
        assert disclaims["channel a"] is disclaims["channel b"] is together


def test_a_choice_that_is_better_everywhere_is_said_to_be():
    (holds, text), _ = verdicts(document(together=True, channels={"a": entry([0.5, 0.8, 0.9])}))
    assert not holds
    assert text.endswith("holds within errors: nowhere worse at 3 masses")
