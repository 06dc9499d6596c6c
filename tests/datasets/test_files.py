"""Files, checked before events are read."""

import numpy as np
import pytest
import uproot

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role
from darksieve.datasets.files import check_sample, describe, iterate_branches
from darksieve.errors import InputError


def test_description_has_names_types_and_entries(write_tree, ntuple_columns):
    info = describe(write_tree("a.root", ntuple_columns(20)), "ntuple")
    assert info.n_entries == 20
    assert info.types["Mbc"] == np.float32
    assert info.types["flag"] == np.bool_
    assert info.types["__event__"] == np.uint32
    assert info.names.get("KSFWVariables(hso00)") == "KSFWVariables__bohso00__bc"


def test_the_only_tree_needs_no_name(write_tree, ntuple_columns):
    assert describe(write_tree("a.root", ntuple_columns(5), tree="variables")).tree == "variables"


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*absent\.root"):
        describe(tmp_path / "absent.root", "ntuple")


def test_zero_length_file_is_named(tmp_path):
    (tmp_path / "zero.root").write_bytes(b"")
    with pytest.raises(InputError, match=r"zero\.root is empty \(0 bytes\)"):
        describe(tmp_path / "zero.root", "ntuple")


def test_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "a.root").write_text("not ROOT at all, but long enough to have a header" * 10)
    with pytest.raises(InputError, match=r"a\.root is neither a ROOT file nor a Parquet file"):
        describe(tmp_path / "a.root", "ntuple")


@pytest.mark.parametrize("part", [0.0005, 0.01, 0.3, 0.7, 0.999])
def test_truncated_file_is_recognised_wherever_it_was_cut(write_tree, ntuple_columns, part):
    path = write_tree("cut.root", ntuple_columns(5000))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(10, int(part * len(whole)))])
    with pytest.raises(InputError, match=r"cut\.root is truncated"):
        describe(path, "ntuple")


def test_damaged_data_are_reported_with_the_file(write_tree, ntuple_columns):
    path = write_tree("bad.root", ntuple_columns(5000))
    whole = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        start = file["ntuple"]["Mbc"].member("fBasketSeek")[0]
    for offset in range(start + 60, start + 2000):
        whole[offset] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(InputError, match=r"bad\.root is damaged"):
        list(iterate_branches(path, "ntuple", {"Mbc"}, 1000))


def test_missing_tree_lists_those_that_are_there(write_tree, ntuple_columns):
    path = write_tree("a.root", ntuple_columns(5), tree="nutple")
    with pytest.raises(InputError, match=r"no tree 'ntuple'; the trees there are \['nutple'\].*did you mean"):
        describe(path, "ntuple")


def test_file_of_several_trees_needs_a_name(tmp_path):
    path = tmp_path / "two.root"
    with uproot.recreate(path) as file:
        for name in ("b", "a"):
            file.mktree(name, {"x": "f4"}).extend({"x": np.zeros(3, dtype=np.float32)})
    with pytest.raises(InputError, match=r"name the tree to read; the trees there are \['a', 'b'\]"):
        describe(path)
    assert describe(path, "b").n_entries == 3


def test_empty_tree_is_refused(write_tree):
    path = write_tree("e.root", {"x": np.zeros(0)})
    with pytest.raises(InputError, match=r"e\.root:ntuple is an empty tree"):
        describe(path, "ntuple")


def sample_of(*paths, **more):
    return Sample("x", Role.DATA, paths, **more)


def test_all_files_are_checked_before_any_is_read(write_tree, ntuple_columns):
    good = write_tree("a.root", ntuple_columns(5))
    columns = ntuple_columns(5)
    del columns["deltaE"]
    bad = write_tree("b.root", columns)
    assert check_sample(sample_of(good), ["deltaE", "Mbc"]).n_entries == 5
    with pytest.raises(
        InputError, match=r"b\.root:ntuple has no branch 'deltaE'.*a\.root:ntuple, of the same"
    ):
        check_sample(sample_of(good, bad), ["deltaE"])


def test_branch_of_the_samples_own_selection_is_checked(write_tree, ntuple_columns):
    path = write_tree("a.root", ntuple_columns(5))
    with pytest.raises(
        InputError, match="no branch 'isSignl', which sample x needs; did you mean 'isSignal'"
    ):
        check_sample(sample_of(path, select="isSignl == 1"), [])


def test_missing_branch_says_who_needs_it(write_tree, ntuple_columns):
    path = write_tree("a.root", ntuple_columns(5))
    with pytest.raises(InputError, match="no branch 'deltaF', which bundle k needs; did you mean 'deltaE'"):
        check_sample(sample_of(path), ["deltaF"], "bundle k")


def test_types_that_differ_between_files_are_widened(write_tree, ntuple_columns):
    columns = ntuple_columns(5)
    first = write_tree("a.root", columns)
    second = write_tree("b.root", columns | {"nTracks": columns["nTracks"].astype(np.float64)})
    assert check_sample(sample_of(first, second), ["nTracks"]).types["nTracks"] == np.float64


def test_branch_of_lists_is_refused(tmp_path):
    path = tmp_path / "j.root"
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {"x": "var * float64"}).extend({"x": [[1.0], [1.0, 2.0]]})
    with pytest.raises(InputError, match="branch 'x' holds no single numbers"):
        check_sample(sample_of(path), ["x"])
