"""What looks wrong in a file's numbers is said."""

import re

import numpy as np
import pytest

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.read_plan import ReadPlan
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.suspicions import sentinel_in, suspicions, unused_patterns, wrong_unit

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


def plan_of(path, columns, **recipe):
    sample = Sample("qq", "background", (path,), luminosity_fb=1.0)
    return ReadPlan(sample, ReadRecipe(columns=columns, luminosity_fb=1.0, **recipe))


def test_a_file_in_mev_and_with_sentinels_is_warned_of_with_its_place(write_tree, ntuple_columns):
    columns = ntuple_columns(2000)
    columns["Mbc"] = columns["Mbc"] * 1000
    columns["KSFWVariables__bohso00__bc"][::40] = -1
    path = write_tree("mev.root", columns)
    wanted = ("Mbc", "KSFWVariables(hso00)", "deltaE", "nTracks")
    mass, shape = sorted(suspicions(plan_of(path, wanted), SQRT_S))[::-1]
    assert re.search(
        r"mev.root:ntuple: 'Mbc' has a median size of 52\d\d at sqrt\(s\) = .*is it in MeV", mass
    )
    assert re.search(r"'KSFWVariables\(hso00\)' is -1 in 2.5 % of the rows.*candidates.missing", shape)
    mended = plan_of(path, ("M", *wanted[1:]), missing={"KSFW*": (-1.0,)}, derived={"M": "Mbc / 1000"})
    assert suspicions(mended, SQRT_S) == []


def test_an_observable_outside_its_scan_is_warned_of(write_tree, ntuple_columns):
    plan = plan_of(write_tree("a.root", ntuple_columns(200)), ("genM_a",))
    assert suspicions(plan, SQRT_S, {"genM_a": (0.2, 4.7)}) == []
    (line,) = suspicions(plan, SQRT_S, {"genM_a": (200.0, 4700.0)})
    assert "lies in the scan's range, 200 to 4700 GeV, in none of the first 200 rows" in line


def test_patterns_that_match_no_branch_are_found(write_tree, ntuple_columns):
    plan = plan_of(write_tree("a.root", ntuple_columns(20)), ("Mbc",))
    assert unused_patterns(["KSFW*", "Kfsw*", "deltaE"], [plan]) == ["Kfsw*"]
