"""TTree, RNTuple and Parquet: the same rows, whatever they are kept in."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from uproot.models.RNTuple import Model_ROOT_3a3a_RNTuple

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.files import check_sample, describe, iterate_branches
from darksieve.datasets.lists import Lists
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.errors import InputError

NAMES = ("Mbc", "deltaE", "nTracks", "flag", "KSFWVariables(hso00)")


def lists_of(n, seed=5):
    rng = np.random.default_rng(seed)
    out = np.empty(n, dtype=object)
    out[:] = [rng.random(k).astype(np.float32) for k in rng.integers(0, 5, n)]
    return out


def read(path, chunk_rows=50_000, **changes):
    sample = Sample("x", "data", (path,) if not isinstance(path, list) else tuple(path))
    recipe = ReadRecipe(**({"columns": NAMES, "luminosity_fb": 1.0, "chunk_rows": chunk_rows} | changes))
    return SampleReader(sample, recipe)


@pytest.mark.parametrize("chunk_rows", [7, 40, 64, 1000])
def test_every_format_gives_the_same_events(write_any, write_tree, ntuple_columns, chunk_rows):
    columns = ntuple_columns(150)
    plain = read(write_tree("plain.root", columns)).read()
    events = read(write_any("a", columns), chunk_rows).read()
    assert events.digest() == plain.digest()


def test_only_the_branches_that_are_asked_for_are_there(write_any, ntuple_columns):
    path = write_any("a", ntuple_columns(100) | {"roePt": lists_of(100)})
    info = describe(path, "ntuple")
    assert info.types["roePt"] is None
    assert info.lists == {"roePt": np.float32}
    chunks = list(iterate_branches(path, info.tree, {"Mbc", "roePt"}, 30))
    assert {frozenset(columns) for columns, _ in chunks} == {frozenset({"Mbc", "roePt"})}
    assert max(len(columns["Mbc"]) for columns, _ in chunks) <= 30
    starts = [start for _, start in chunks]
    assert starts == list(np.cumsum([0] + [len(columns["Mbc"]) for columns, _ in chunks])[:-1])


@pytest.mark.parametrize("chunk_rows", [9, 1000])
def test_lists_are_those_that_were_written(write_any, ntuple_columns, chunk_rows):
    wanted = lists_of(100)
    path = write_any("a", ntuple_columns(100) | {"roePt": wanted})
    parts = [columns["roePt"] for columns, _ in iterate_branches(path, "ntuple", {"roePt"}, chunk_rows)]
    assert all(isinstance(part, Lists) for part in parts)
    np.testing.assert_array_equal(np.concatenate([p.values for p in parts]), np.concatenate(list(wanted)))
    np.testing.assert_array_equal(np.concatenate([p.counts for p in parts]), [len(one) for one in wanted])


def test_chunks_keep_a_bound_in_bytes(write_any, ntuple_columns):
    path = write_any("a", ntuple_columns(400), rows_at_once=50)
    # Mbc takes 4 bytes a row, deltaE 8; the sizes that the formats note are a little larger or smaller
    chunks = list(iterate_branches(path, "ntuple", {"Mbc", "deltaE"}, 10**6, chunk_bytes=12 * 20))
    assert len(chunks) >= 12
    assert sum(len(columns["Mbc"]) for columns, _ in chunks) == 400


def test_a_sample_may_mix_formats(tmp_path, write_tree, ntuple_columns):
    first, second, third = (ntuple_columns(50, seed=run, run=run) for run in (1, 2, 3))
    paths = [write_tree("a.root", first)]
    with uproot.recreate(tmp_path / "b.root") as file:
        file.mkrntuple("ntuple", second)
    pq.write_table(pa.table(third), tmp_path / "c.parquet")
    events = read([*paths, tmp_path / "b.root", tmp_path / "c.parquet"]).read()
    expected = np.concatenate([columns["Mbc"] for columns in (first, second, third)])
    np.testing.assert_array_equal(events["Mbc"], expected)


def test_a_tree_that_is_named_for_parquet_files_is_refused(tmp_path, ntuple_columns):
    pq.write_table(pa.table(ntuple_columns(5)), tmp_path / "a.parquet")
    sample = Sample("x", "data", (tmp_path / "a.parquet",), tree="variables")
    with pytest.raises(InputError, match=r"samples.x.tree is 'variables'.*Parquet files, which have no"):
        check_sample(sample, ["Mbc"])


def test_missing_numbers_of_a_parquet_file_are_nan(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"n": pa.array([1, None, 3]), "x": pa.array([1.0, None, 2.0]), "whole": [1, 2, 3]})
    pq.write_table(table, path)
    assert describe(path).types == {"n": np.float64, "x": np.float64, "whole": np.int64}
    (columns, _), *_ = iterate_branches(path, "", {"n", "x"}, 10)
    np.testing.assert_array_equal(columns["n"], [1, np.nan, 3])
    np.testing.assert_array_equal(columns["x"], [1, np.nan, 2])


def test_text_and_times_of_a_parquet_file_are_no_numbers(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"s": ["a"], "t": pa.array([1], pa.timestamp("s")), "l": [["a"]]}), path)
    info = describe(path)
    assert info.types == {"s": None, "t": None, "l": None}
    assert info.lists == {}


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_truncated_file_of_any_format_is_recognised(write_any, ntuple_columns, part):
    path = write_any("cut", ntuple_columns(2000), rows_at_once=500)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match=r"cut\.(root|parquet) is truncated"):
        describe(path, "ntuple")


def test_parquet_file_with_a_damaged_end_is_named(tmp_path, ntuple_columns):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(ntuple_columns(100)), path)
    whole = bytearray(path.read_bytes())
    whole[-120:-20] = bytes(100)
    path.write_bytes(bytes(whole))
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read as a Parquet file"):
        describe(path)


def test_damage_in_the_middle_of_a_parquet_file_is_reported_with_the_entry(tmp_path, ntuple_columns):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(ntuple_columns(4000)), path, row_group_size=1000, write_page_checksum=True)
    column = pq.read_metadata(path).row_group(2).column(4)  # Mbc
    whole = bytearray(path.read_bytes())
    middle = column.data_page_offset + 100
    for offset in range(middle, middle + 500):
        whole[offset] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(InputError, match=r"bad\.parquet is damaged after entry [12]000: .*make it again"):
        read(path, 1000).read()


def test_damaged_basket_in_the_middle_is_reported_with_the_entry(write_tree, tmp_path, ntuple_columns):
    path = tmp_path / "bad.root"
    columns = ntuple_columns(4000)
    with uproot.recreate(path) as file:
        made = file.mktree("ntuple", {key: values.dtype for key, values in columns.items()})
        for start in range(0, 4000, 1000):
            made.extend({key: values[start : start + 1000] for key, values in columns.items()})
    with uproot.open(path) as file:
        seek = file["ntuple"]["Mbc"].member("fBasketSeek")[2]
    whole = bytearray(path.read_bytes())
    for offset in range(seek + 60, seek + 1500):
        whole[offset] ^= 0xFF
    path.write_bytes(bytes(whole))
    reader = read(path, 1000)
    chunks = reader.chunks()
    assert [len(next(chunks)) for _ in range(2)] == [1000, 1000]
    with pytest.raises(InputError, match=r"bad\.root is damaged after entry 2000: .*make it again"):
        next(chunks)


def rntuple_in_clusters(path, columns, cluster_rows):
    with uproot.recreate(path) as file:
        made = file.mkrntuple("ntuple", {key: values[:cluster_rows] for key, values in columns.items()})
        for start in range(cluster_rows, len(columns["Mbc"]), cluster_rows):
            made.extend({key: values[start : start + cluster_rows] for key, values in columns.items()})
    with uproot.open(path) as file:
        ntuple = file["ntuple"]
        number = next(
            column.idx
            for column in ntuple.column_records
            if ntuple.field_records[column.field_id].field_name
            == "nTracks"  # compressed, unlike random numbers
        )
        pages = [links[number].pages[0].locator for links in ntuple.page_link_list]
        return pages, ntuple.footer.cluster_group_records[0].page_list_link.locator.offset


@pytest.mark.parametrize("chunk_rows", [100, 500, 1500, 10_000])
def test_each_cluster_of_an_rntuple_is_decoded_once(tmp_path, ntuple_columns, monkeypatch, chunk_rows):
    path = tmp_path / "a.root"
    columns = ntuple_columns(4000)
    rntuple_in_clusters(path, columns, 500)
    decoded = []
    real = Model_ROOT_3a3a_RNTuple.read_cluster_pages

    def watched(self, cluster, column, *arguments, **more):
        decoded.append((cluster, column))
        return real(self, cluster, column, *arguments, **more)

    monkeypatch.setattr(Model_ROOT_3a3a_RNTuple, "read_cluster_pages", watched)
    parts = [part["Mbc"] for part, _ in iterate_branches(path, "ntuple", {"Mbc", "deltaE"}, chunk_rows)]
    np.testing.assert_array_equal(np.concatenate(parts), columns["Mbc"])
    assert len(decoded) == len(set(decoded)) == 2 * 8


def test_an_uproot_without_direct_columns_reads_the_same(tmp_path, ntuple_columns, monkeypatch):
    path = tmp_path / "a.root"
    rntuple_in_clusters(path, ntuple_columns(4000), 500)
    direct = read(path).read()
    monkeypatch.setattr("darksieve.datasets.root_files._number_columns", lambda *_: {})
    assert read(path).read().digest() == direct.digest()


def with_flipped_bytes(path, first, n):
    whole = bytearray(path.read_bytes())
    for offset in range(first, first + n):
        whole[offset] ^= 0xFF
    path.write_bytes(bytes(whole))


def test_damaged_page_of_an_rntuple_is_reported_with_file_and_entry(tmp_path, ntuple_columns):
    path = tmp_path / "bad.root"
    pages, _ = rntuple_in_clusters(path, ntuple_columns(4000), 1000)
    with_flipped_bytes(path, pages[2].offset, pages[2].num_bytes)
    chunks = read(path, 1000).chunks()
    assert [len(next(chunks)) for _ in range(2)] == [1000, 1000]
    with pytest.raises(InputError, match=r"bad\.root is damaged after entry 2000: .*make it again"):
        next(chunks)


def test_damaged_list_of_pages_of_an_rntuple_is_reported_when_it_is_checked(tmp_path, ntuple_columns):
    path = tmp_path / "bad.root"
    _, page_list = rntuple_in_clusters(path, ntuple_columns(4000), 1000)
    with_flipped_bytes(path, page_list, 60)
    with pytest.raises(InputError, match=r"bad\.root cannot be read as a ROOT file: "):
        read(path, 1000)


def test_a_list_in_one_file_and_numbers_in_another_are_refused(tmp_path):
    key = {"__event__": np.arange(3)}
    pq.write_table(pa.table(key | {"x": [[1.0], [], [2.0]]}), tmp_path / "a.parquet")
    pq.write_table(pa.table(key | {"x": [1.0, 2.0, 3.0]}), tmp_path / "b.parquet")
    with pytest.raises(
        InputError, match=r"b.parquet: branch 'x' holds single numbers, but a list per row in"
    ):
        read(
            [tmp_path / "a.parquet", tmp_path / "b.parquet"], columns=("n",), derived={"n": "count(x)"}
        ).read()


def test_text_in_one_file_and_numbers_in_another_are_refused(tmp_path):
    key = {"__event__": np.arange(2)}
    pq.write_table(pa.table(key | {"x": [1.0, 2.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table(key | {"x": ["1", "2"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b.parquet: branch 'x' holds no single numbers, but lists or text"):
        read([tmp_path / "a.parquet", tmp_path / "b.parquet"], columns=("x",))


def test_lists_that_awkward_wrote_to_parquet_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    ak.to_parquet(ak.Array({"x": [[1.0, 2.0], [], [3.0]], "n": [1, 2, 3]}), path)
    assert describe(path).lists == {"x": np.float64}
    (columns, _), *_ = iterate_branches(path, "", {"x", "n"}, 10)
    np.testing.assert_array_equal(columns["x"].values, [1, 2, 3])
    np.testing.assert_array_equal(columns["x"].counts, [2, 0, 1])
    np.testing.assert_array_equal(columns["n"], [1, 2, 3])
