"""A measured spurious signal becomes a nuisance of its category and mass, and its absence is said."""

import logging

import pytest

from darksieve.evaluation.limits.document import SearchModel
from darksieve.workflow.spurious_sizes import SIZE, with_measured_sizes


def search(names):
    signal = {"shape": "gaussian", "sigma": 0.05, "window": [0.2, 1.8], "yield_per_unit": 1.0}
    background = {"family": "chebyshev", "order": 1, "yield": 1000.0, "coefficients": [0.0]}
    edges = [round(0.02 * i, 2) for i in range(101)]
    return SearchModel.parse(
        {
            "format": "darksieve-search/1",
            "channels": [{"name": n, "data": {"edges": edges}, "background": background} for n in names],
            "points": [
                {"label": f"m{m}", "mass": m, "channels": {n: signal | {"mean": m} for n in names}}
                for m in (0.8, 1.0)
            ],
        }
    )


def rows(sizes):
    return [
        {"channel": "kplus", "category": category, "mass": mass, SIZE: size}
        for (category, mass), size in sizes.items()
    ]


def test_each_category_gets_its_own_and_what_is_unknown_is_said(caplog):
    sizes = {(1, 0.8): 3.0, (2, 0.8): 4.0, (1, 1.0): 5.0, (2, 1.0): None}
    model = search(["kplus_1", "kplus_2"])
    with caplog.at_level(logging.WARNING, "darksieve"):
        done = with_measured_sizes(model, {"n_categories": 2, "points": rows(sizes)})
    found = {(p.mass, n): c.spurious_signal for p in done.points for n, c in p.channels.items()}
    assert found == {(0.8, "kplus_1"): 3.0, (0.8, "kplus_2"): 4.0, (1.0, "kplus_1"): 5.0, (1.0, "kplus_2"): 0}
    assert "kplus_2: no spurious signal is known at 1 of 2 masses" in caplog.text
    assert "kplus_1" not in caplog.text


def test_a_single_category_has_the_name_of_its_channel():
    sizes = {(1, 0.8): 3.0, (1, 1.0): 2.0}
    done = with_measured_sizes(search(["kplus"]), {"n_categories": 1, "points": rows(sizes)})
    assert [p.channels["kplus"].spurious_signal for p in done.points] == [3.0, 2.0]


@pytest.mark.parametrize("wrong", ["mesured", -0.1])
def test_the_config_takes_a_size_or_the_word_alone(wrong):
    from pydantic import ValidationError

    from darksieve.config import NuisancesConfig

    assert NuisancesConfig(spurious_signal="measured").spurious_signal == "measured"
    assert NuisancesConfig(spurious_signal=0.002).spurious_signal == 0.002
    with pytest.raises(ValidationError):
        NuisancesConfig(spurious_signal=wrong)
