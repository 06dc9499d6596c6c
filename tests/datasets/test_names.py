"""Branch names in basf2's and ROOT's forms."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve.datasets.names import BranchNames, basf2_name, root_name
from darksieve.errors import InputError

# Written by basf2 itself: framework/utilities/src/MakeROOTCompatible.cc and the names in its ntuples.
PAIRS = [
    ("KSFWVariables(hso00)", "KSFWVariables__bohso00__bc"),
    ("daughter(0, p)", "daughter__bo0__cm__spp__bc"),
    ("useCMSFrame(p)", "useCMSFrame__bop__bc"),
    ("formula(a*b/c-d+e)", "formula__boa__mub__slc__mid__ple__bc"),
    ("extraInfo(x:y)", "extraInfo__box__cly__bc"),
    ("Mbc", "Mbc"),
    ("__event__", "__event__"),
]


@pytest.mark.parametrize(("basf2", "root"), PAIRS)
def test_names_convert_both_ways_as_in_basf2(basf2, root):
    assert root_name(basf2) == root
    assert root_name(root) == root
    assert basf2_name(root) == basf2


@pytest.mark.parametrize(
    "bookkeeping", ["__experiment__", "__run__", "__production__", "__ncandidates__", "__weight__"]
)
def test_bookkeeping_branches_keep_their_names(bookkeeping):
    assert root_name(bookkeeping) == basf2_name(bookkeeping) == bookkeeping


@given(st.text(alphabet=string.ascii_letters + string.digits + " ,:=<>.+-()[]{}*/^|&!~", min_size=1))
def test_names_without_underscores_survive_the_round_trip(name):
    assert basf2_name(root_name(name)) == name


@pytest.mark.parametrize(("basf2", "root"), PAIRS)
def test_branch_is_found_by_either_form_in_either_file(basf2, root):
    assert BranchNames([root, "other"], "f").get(basf2) == root
    assert BranchNames([basf2, "other"], "f").get(root) == basf2


def test_spaces_do_not_matter():
    assert (
        BranchNames(["daughter__bo0__cm__spp__bc"], "f").get("daughter(0,p)") == "daughter__bo0__cm__spp__bc"
    )


def test_exact_name_wins_over_a_converted_one():
    names = BranchNames(["R__pt2", "R.2"], "f")
    assert names.get("R.2") == "R.2"
    assert names.get("R__pt2") == "R__pt2"


def test_missing_branch_says_who_needs_it_and_offers_the_nearest():
    names = BranchNames(["thrustOm", "R2", "KSFWVariables__bohso00__bc"], "run2.root:ntuple")
    with pytest.raises(
        InputError, match=r"run2.root:ntuple has no branch 'thrustBm', which bundle k needs.*thrustOm"
    ):
        names.get("thrustBm", "bundle k")
    with pytest.raises(InputError, match=r"did you mean 'KSFWVariables\(hso00\)'"):
        names.get("KSFWVariables(hso01)")
    assert "thrustBm" not in names
