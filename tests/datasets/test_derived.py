"""Columns of the user's own, and sentinels that mean "missing", in what is read."""

import numpy as np
import pytest

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.derived import DerivedColumns
from darksieve.datasets.missing import MissingValues, matches
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.errors import InputError


def reader(path, columns, **more):
    sample = {key: more.pop(key) for key in ("non_finite",) if key in more}
    recipe = ReadRecipe(columns=columns, luminosity_fb=1.0, **more)
    return SampleReader(Sample("x", "background", (path,), luminosity_fb=1.0, **sample), recipe)


def lists_of(n):
    rng = np.random.default_rng(5)
    out = np.empty(n, dtype=object)
    out[:] = [rng.random(k) for k in rng.integers(0, 4, n)]
    return out


@pytest.mark.parametrize("chunk_rows", [11, 1000])
def test_derived_columns_are_features_and_selections(write_any, ntuple_columns, chunk_rows):
    columns = ntuple_columns(120)
    roe = lists_of(120)
    path = write_any("a", columns | {"roePt": roe})
    derived = {"twice": "2 * Mbc", "wide": "twice - deltaE", "nRoe": "count(roePt > 0.5)"}
    events = reader(
        path,
        ("wide", "nRoe"),
        derived=derived,
        select="nRoe < 2 and wide > 10.5 and max_of(roePt) < 0.99",
        chunk_rows=chunk_rows,
    ).read()
    wide = 2 * columns["Mbc"].astype(float) - columns["deltaE"]
    n_roe = np.array([(one > 0.5).sum() for one in roe])
    hardest = np.array([one.max() if len(one) else np.nan for one in roe])
    passed = (n_roe < 2) & (wide > 10.5) & (hardest < 0.99)
    assert 10 < passed.sum() < 110
    np.testing.assert_array_equal(events["wide"], wide[passed])
    np.testing.assert_array_equal(events["nRoe"], n_roe[passed])
    assert list(events.columns) == ["wide", "nRoe"]


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ({"a": "Mbc +"}, r"candidates.columns.a: expression 'Mbc \+'"),
        ({"a": "b", "b": "Mbc"}, "candidates.columns.a: 'b' is defined after it"),
        ({"a": "a + 1"}, "candidates.columns.a: 'a' is defined by itself"),
        ({"a": "Mbd"}, r"candidates.columns.a: .*no branch 'Mbd'; did you mean 'Mbc'"),
        ({"a": "sum(Mbc)"}, "candidates.columns.a: .*sum reduces a list per row"),
        (
            {"Mbc": "deltaE", "a": "Mbc"},
            r"candidates.columns.Mbc: .*:ntuple has such a column; choose",
        ),
        ({"a": "roePt"}, "'roePt' holds no single numbers, but lists or text; reduce it"),
    ],
)
def test_wrong_definitions_are_refused_with_their_place(write_tree, ntuple_columns, derived, message):
    columns = {"roePt": lists_of(5)} | ntuple_columns(5)
    import awkward as ak
    import uproot

    path = write_tree("a.root", ntuple_columns(5)).with_name("b.root")
    with uproot.recreate(path) as file:
        types = {k: "var * float64" if v.dtype == object else v.dtype for k, v in columns.items()}
        filled = {k: ak.Array(list(v)) if v.dtype == object else v for k, v in columns.items()}
        file.mktree("ntuple", types).extend(filled)
    with pytest.raises(InputError, match=message):
        reader(path, ("a",), derived=derived)


def test_sources_are_followed_through_other_columns():
    own = DerivedColumns({"a": "x + y", "b": "a * z", "c": "count(roePt)"})
    assert own.sources_of(["b", "w"]) == ("w", "x", "y", "z")
    assert own.used_by(["b"]) == ["a", "b"]


@pytest.mark.parametrize("non_finite", ["error", "drop", "keep"])
def test_sentinels_become_nan_and_the_rows_stay(write_any, ntuple_columns, non_finite):
    columns = ntuple_columns(100)
    columns["KSFWVariables__bohso00__bc"][[3, 7]] = -1
    columns["KSFWVariables__bohso00__bc"][9] = -999
    columns["nTracks"][5] = -1
    path = write_any("a", columns)
    missing = {"KSFWVariables(*)": (-1, -999), "nTracks": (-1,)}
    events = reader(
        path, ("KSFWVariables(hso00)", "nTracks", "Mbc"), missing=missing, non_finite=non_finite
    ).read()
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(events["KSFWVariables(hso00)"])), [3, 7, 9])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(events["nTracks"])), [5])
    assert events["KSFWVariables(hso00)"].dtype == np.float32
    assert events["nTracks"].dtype == np.float64
    assert len(events) == 100


def test_infinity_is_no_missing_value_where_sentinels_are_declared(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    columns["deltaE"][4] = np.inf
    path = write_tree("a.root", columns)
    with pytest.raises(InputError, match="column 'deltaE' has 1 values that are not finite"):
        reader(path, ("deltaE",), missing={"deltaE": (-1.0,)}).read()


def test_what_must_not_be_missing_is_held_to_the_policy(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    columns["deltaE"][4] = -1
    path = write_tree("a.root", columns)
    more = {"missing": {"deltaE": (-1.0,)}, "never_missing": ("deltaE",)}
    with pytest.raises(InputError, match="column 'deltaE' has 1 values that are not finite"):
        reader(path, ("deltaE",), **more).read()
    assert len(reader(path, ("deltaE",), non_finite="drop", **more).read()) == 99


def test_a_missing_value_fails_every_selection_and_spreads_to_derived_columns(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    columns["deltaE"][4] = -1
    path = write_tree("a.root", columns)
    kept = reader(path, ("Mbc",), missing={"deltaE": (-1.0,)}, select="deltaE < 9").read()
    assert len(kept) == 99
    more = {"missing": {"deltaE": (-1.0,)}, "derived": {"d": "deltaE * 2"}}
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(reader(path, ("d",), **more).read()["d"])), [4])


def test_largest_of_an_empty_list_is_missing_and_not_an_error(write_any, ntuple_columns):
    roe = lists_of(100)
    path = write_any("a", ntuple_columns(100) | {"roePt": roe})
    values = reader(path, ("hardest",), derived={"hardest": "max_of(roePt)"}).read()["hardest"]
    np.testing.assert_array_equal(np.isnan(values), [len(one) == 0 for one in roe])


def test_sentinels_inside_lists_become_nan(write_any, ntuple_columns):
    roe = lists_of(100)
    roe[3] = np.array([-999.0, 0.5])
    path = write_any("a", ntuple_columns(100) | {"roePt": roe})
    recipe = {"derived": {"s": "sum(roePt)", "n": "count(roePt > 0)"}, "missing": {"roePt": (-999.0,)}}
    events = reader(path, ("s", "n"), **recipe).read()
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(events["s"])), [3])
    assert events["n"][3] == 1


@pytest.mark.parametrize(
    ("pattern", "name", "yes"),
    [
        ("KSFWVariables*", "KSFWVariables__bohso00__bc", True),
        ("KSFWVariables(hso*", "KSFWVariables__bohso00__bc", True),
        ("KSFWVariables__bo*", "KSFWVariables(hso00)", True),
        ("CleoConeCS(1)", "CleoConeCS__bo1__bc", True),
        ("CleoConeCS(1)", "CleoConeCS__bo2__bc", False),
        ("R2", "R2x", False),
    ],
)
def test_patterns_mean_names_in_either_form(pattern, name, yes):
    assert matches(pattern, name) is yes


@pytest.mark.parametrize("values", [(), (np.nan,)])
def test_sentinels_that_are_no_numbers_are_refused(values):
    with pytest.raises(InputError, match=r"candidates.missing.R2: .*give the numbers that mean"):
        MissingValues({"R2": values})
