"""Tables of factors with a covariance: what they do to weights, and their eigen-variations."""

import json
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.datasets.corrections import (
    OUTSIDE,
    CorrectionTable,
    bin_columns,
    correct,
    json_schema,
    uncorrected,
)
from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.errors import InputError

# illustrative numbers, of the size of a kaon-identification table
DOCUMENT = {
    "format": "darksieve-correction/1",
    "name": "kaon identification",
    "source": "illustrative",
    "axes": [
        {"branch": "p", "unit": "GeV", "edges": [0.5, 1.0, 2.0, 4.0]},
        {"branch": "cosTheta", "edges": [-1.0, 0.0, 1.0]},
    ],
    "values": [0.95, 0.97, 1.0, 1.02, 0.9, 0.88],
    "uncorrelated": [0.01, 0.02, 0.01, 0.02, 0.03, 0.03],
    "correlated": {"method": [0.02, 0.02, 0.01, 0.01, -0.01, -0.02]},
}


def table(**changes):
    return CorrectionTable.parse({k: v for k, v in (DOCUMENT | changes).items() if v is not None})


def events_of(**columns):
    n = len(next(iter(columns.values())))
    return Events(
        columns={name: np.asarray(values, float) for name, values in columns.items()},
        samples=(SampleInfo("s", Role.SIGNAL),),
        sample_index=np.zeros(n, np.int16),
        weight=np.full(n, 0.5),
        mass=np.ones(n),
        key=np.arange(n, dtype=np.uint64),
        candidate=np.zeros(n, np.int32),
    )


def test_weight_is_multiplied_by_the_factor_of_its_bin():
    # the last axis is the fastest; a lower edge belongs to its bin, and the last upper edge, too
    corrected = correct(
        events_of(p=[0.5, 0.7, 1.0, 3.9, 4.0], cosTheta=[-0.5, 0.0, -1.0, 0.5, 1.0]), "k", table()
    )
    np.testing.assert_array_equal(corrected.weight, 0.5 * np.array([0.95, 0.97, 1.0, 0.88, 0.88]))
    np.testing.assert_array_equal(corrected["correction:k:0"], [0, 1, 2, 5, 5])


def test_each_object_multiplies_its_own_factor():
    axes = [{"branch": "{object}_E", "edges": [0, 1, 2]}]
    two = table(axes=axes, values=[0.9, 1.1], uncorrelated=[0.1, 0.1], correlated={})
    corrected = correct(events_of(a_E=[0.5, 1.5], b_E=[1.5, 1.5]), "g", two, ["a", "b"])
    np.testing.assert_allclose(corrected.weight, 0.5 * np.array([0.9 * 1.1, 1.1 * 1.1]))
    assert bin_columns("g", ["a", "b"]) == ("correction:g:0", "correction:g:1")
    np.testing.assert_array_equal(corrected["correction:g:1"], [1, 1])


def test_events_that_a_correction_is_not_for_keep_their_weights():
    events = uncorrected(events_of(p=[0.7]), "k")
    np.testing.assert_array_equal(events.weight, 0.5)
    np.testing.assert_array_equal(events["correction:k:0"], OUTSIDE)


def test_rows_outside_are_an_error_or_what_the_table_says():
    events = events_of(p=[0.7, 5.0, 0.1], cosTheta=[-0.5, -0.5, -0.5])
    with pytest.raises(InputError, match=r"2 of 3 rows have 'p' outside 0.5 to 4 GeV, the first 5"):
        correct(events, "k", table())
    np.testing.assert_allclose(correct(events, "k", table(outside="nearest")).weight, [0.475, 0.45, 0.475])
    one = correct(events, "k", table(outside="one"))
    np.testing.assert_allclose(one.weight, [0.475, 0.5, 0.5])
    np.testing.assert_array_equal(one["correction:k:0"], [0, OUTSIDE, OUTSIDE])
    with pytest.raises(InputError, match="1 rows have no number in 'p'"):
        correct(events_of(p=[np.nan], cosTheta=[0.0]), "k", table(outside="one"))


def test_covariance_is_the_sum_of_its_parts():
    deviations = np.array(DOCUMENT["correlated"]["method"])
    expected = np.diag(np.square(DOCUMENT["uncorrelated"])) + np.outer(deviations, deviations)
    np.testing.assert_allclose(table().covariance, expected, rtol=1e-14)
    in_full = table(uncorrelated=None, correlated=None, covariance=expected.tolist())
    np.testing.assert_allclose(in_full.covariance, expected, rtol=1e-14)


@given(st.integers(0, 2**32), st.integers(1, 12), st.floats(0.3, 1.0))
@settings(max_examples=40, deadline=None)
def test_covariance_is_its_variations_and_the_rest(seed, n_bins, keep):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n_bins, rng.integers(1, n_bins + 1))) * 10.0 ** rng.uniform(-3, 0)
    covariance = roots @ roots.T
    axes = [{"branch": "x", "edges": np.arange(n_bins + 1.0).tolist()}]
    made = table(
        axes=axes, values=[1.0] * n_bins, covariance=covariance.tolist(), uncorrelated=None, correlated=None
    )
    variations = made.variations(keep)
    again = variations.shifts.T @ variations.shifts + variations.rest
    np.testing.assert_allclose(again, covariance, atol=1e-12 * np.trace(covariance))
    assert variations.fraction_kept >= keep - 1e-9
    kept = 1 - np.trace(variations.rest) / np.trace(covariance)
    assert variations.fraction_kept == pytest.approx(kept, abs=1e-9)
    # the fewest that reach it
    sizes = np.square(variations.shifts).sum(axis=1)
    assert sizes[:-1].sum() / np.trace(covariance) < keep
    assert (np.diff(sizes) <= 1e-9 * sizes[0]).all()


def test_variance_of_a_yield_is_that_of_the_covariance_also_when_truncated():
    made = table()
    usage = np.array([[0.5, 0.5, 0.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.3, 0.2, 0.2, 0.1]])
    sensitivity = usage / made.values
    expected = np.diag(sensitivity @ made.covariance @ sensitivity.T)
    for keep in (0.4, 0.9, 1.0):
        changes, rest = made.variations(keep).relative_changes(usage, made.values)
        np.testing.assert_allclose(np.square(changes).sum(axis=1) + rest**2, expected, rtol=1e-12)


def test_nominal_with_one_variation_is_the_varied_table():
    made = table()
    variations = made.variations(1.0)
    rng = np.random.default_rng(3)
    events = events_of(p=rng.uniform(0.5, 4.0, 500), cosTheta=rng.uniform(-1, 1, 500))
    nominal = correct(events, "k", made)
    bins = nominal["correction:k:0"]
    for shift in variations.shifts:
        varied = CorrectionTable(
            made.name, made.source, made.axes, made.values + shift, made.covariance, "error"
        )
        usage = np.bincount(bins, nominal.weight, 6)[None] / nominal.weight.sum()
        change = float((usage / made.values @ shift)[0])
        assert correct(events, "k", varied).weight.sum() == pytest.approx(
            nominal.weight.sum() * (1 + change), rel=1e-12
        )


def test_table_of_one_without_uncertainty_has_no_variation_and_changes_nothing():
    ones = table(values=[1.0] * 6, uncorrelated=[0.0] * 6, correlated={})
    assert len(ones.variations().shifts) == 0
    assert not ones.variations().rest.any()
    events = events_of(p=[0.7, 1.5], cosTheta=[0.1, 0.2])
    np.testing.assert_array_equal(correct(events, "k", ones).weight, events.weight)


def test_table_is_the_same_after_saving_and_loading(tmp_path):
    made = table()
    made.save(tmp_path / "t.json")
    again = CorrectionTable.load(tmp_path / "t.json")
    np.testing.assert_array_equal(again.covariance, made.covariance)
    np.testing.assert_array_equal(again.values, made.values)
    assert [axis.branch for axis in again.axes] == ["p", "cosTheta"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valeus": [1.0]}, "valeus: unknown key; did you mean 'values'"),
        ({"values": [1.0]}, "values: 1 numbers for 6 bins"),
        ({"values": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]}, r"values\[2\] is 0.0; a factor is above zero"),
        ({"axes": [{"branch": "p", "edges": [1, 1, 2]}]}, "edges of axis 'p' must increase"),
        ({"uncorrelated": None, "correlated": None}, "give either covariance, or uncorrelated"),
        ({"covariance": np.eye(6).tolist()}, "give either covariance, or uncorrelated"),
        ({"uncorrelated": [-0.1] * 6}, "uncorrelated: -0.1 is negative"),
        ({"correlated": {"a": [0.1]}}, "correlated.a: 1 numbers for 6 bins"),
        ({"format": "other"}, "format: Input should be"),
        (
            {"uncorrelated": None, "correlated": None, "covariance": (np.eye(6) - 0.5).tolist()},
            "has a negative eigenvalue",
        ),
        (
            {"uncorrelated": None, "correlated": None, "covariance": np.tri(6).tolist()},
            "covariance is not symmetric",
        ),
        (
            {"uncorrelated": None, "correlated": None, "covariance": np.eye(6)[:5].tolist()},
            "5 rows for 6 bins",
        ),
    ],
)
def test_fault_of_a_table_names_its_place(changes, message):
    with pytest.raises(InputError, match=message):
        table(**changes)


def test_file_that_is_no_table_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        CorrectionTable.load(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(InputError, match="is a mapping"):
        CorrectionTable.load(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        CorrectionTable.load(tmp_path / "a.json")


def test_packaged_schema_is_that_of_the_table():
    text = (resources.files("darksieve.configs") / "correction-table.schema.json").read_text()
    assert json.loads(text) == json_schema(), "write it anew: see json_schema in datasets.corrections"
