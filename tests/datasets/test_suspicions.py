"""What looks wrong in a file's numbers is said."""

import numpy as np
import pytest

from darksieve.datasets.suspicions import sentinel_in, wrong_unit

RNG = np.random.default_rng(3)
NORMAL = RNG.normal(0, 1, 2000)
SQRT_S = 10.58  # GeV


def with_value(values, value, share=0.02):
    values = values.copy()
    values[: int(share * len(values))] = value
    return values


@pytest.mark.parametrize(
    ("values", "sentinel"),
    [
        (NORMAL, None),
        (with_value(NORMAL, -1), -1),
        (with_value(NORMAL, -1, 0.001), None),  # two of 2000 rows: no pile-up
        (with_value(np.abs(NORMAL), -999), -999),
        (with_value(np.abs(NORMAL), -999, 0.001), -999),  # so far away that one is enough
        (np.linspace(-1500, 0, 1501), None),  # -999 among numbers like it
        (RNG.integers(-1, 2, 2000), None),  # a charge
        (RNG.integers(0, 40, 2000), None),
        (np.full(50, np.nan), None),
        (np.full(50, -1.0), None),  # nothing to compare with
    ],
)
def test_pile_ups_are_told_from_ordinary_values(values, sentinel):
    found = sentinel_in(values)
    assert (None if found is None else found[0]) == sentinel


@pytest.mark.parametrize(
    ("name", "values", "unit"),
    [
        ("Mbc", 5.28 + 0.003 * NORMAL, None),
        ("Mbc", 5280 + 3 * NORMAL, "MeV"),
        ("gamma1_E", 2000 + 500 * NORMAL, "MeV"),
        ("useCMSFrame__bop__bc", 2000 + 500 * NORMAL, "MeV"),
        ("deltaE", 0.05 * NORMAL, None),
        ("deltaE", 50 * NORMAL, "MeV"),
        ("deltaE", 5e-5 * NORMAL, None),
        ("M_gg", 0.002 + 2e-4 * NORMAL, "TeV"),
        ("M_gg", 2 + 0.2 * NORMAL, None),
        ("R2", 5000 + NORMAL, None),  # no energy by its name
        ("clusterE1E9", 5000 + NORMAL, None),
        ("E", np.full(9, np.nan), None),
        ("E", np.zeros(9), None),
    ],
)
def test_units_are_judged_by_the_collisions_energy(name, values, unit):
    assert wrong_unit(name, values, SQRT_S) == unit
