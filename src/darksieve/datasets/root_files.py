"""ROOT files: TTrees and RNTuples, described and read in chunks by uproot."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from darksieve.datasets.lists import Lists
from darksieve.datasets.tree_info import Format, TreeInfo, number_type, rows_within
from darksieve.errors import InputError, nearest

MAGIC = b"root"
_CLASSES = {"TTree": Format.TTREE, "ROOT::RNTuple": Format.RNTUPLE}
_RNTUPLE_NUMBERS = {
    "bool": "bool",
    "char": "int8",
    "float": "float32",
    "double": "float64",
    **{f"std::{sign}int{bits}_t": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

Columns = dict[str, NDArray | Lists]


def _check_header(path: Path) -> None:
    """Refuse what is shorter than its own header says (TFile: fEND)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(20)
    if size < 100:
        raise InputError(f"{path} is truncated: {size} bytes, less than a ROOT header")
    (version,) = struct.unpack(">i", header[4:8])
    end = (
        struct.unpack(">q", header[12:20])[0]
        if version >= 1_000_000
        else struct.unpack(">i", header[12:16])[0]
    )
    if size < end:
        raise InputError(f"{path} is truncated: {size} of {end} bytes are there; copy or make it again")


def open_tree(path: Path, tree: str | None) -> tuple[Any, str, Format]:
    """The TTree or RNTuple of a ROOT file, as uproot has it, its name and which it is.

    Args:
        path: A local ROOT file.
        tree: Its name; None where the file has only one.

    Raises:
        InputError: If the file is truncated or damaged, or the tree is not there.
    """
    _check_header(path)
    trees: dict[str, Format] = {}
    try:
        # faster on local files than uproot's default source, and unlike a memory map flat in memory
        file = uproot.open(path, handler=uproot.MultithreadedFileSource, array_cache=None, object_cache=None)
        try:
            names = file.classnames(recursive=True, cycle=False)
            trees = {name: _CLASSES[kind] for name, kind in sorted(names.items()) if kind in _CLASSES}
            if tree is None and len(trees) == 1:
                (tree,) = trees
            if tree is not None and tree in trees:
                return file[tree], tree, trees[tree]
        except BaseException:
            file.close()
            raise
        file.close()
    except Exception as error:  # uproot raises what its decoders raise; all of it means a damaged file
        raise InputError(f"{path} cannot be read as a ROOT file: {_first_line(error)}") from error
    there = f"the trees there are {list(trees)}" if trees else "there are no trees"
    if tree is None:
        raise InputError(f"{path}: name the tree to read; {there}")
    raise InputError(f"{path} has no tree {tree!r}; {there}{nearest(tree, trees)}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _close(found: Any) -> None:
    """Close the file of a TTree or RNTuple, which keep it in different places."""
    found.file.close()


def describe_root(path: Path, tree: str | None) -> TreeInfo:
    """Names, types and number of rows of a ROOT file's tree.

    Raises:
        InputError: As :func:`open_tree`.
    """
    found, name, kind = open_tree(path, tree)
    try:
        described = _branch_types(found) if kind is Format.TTREE else _field_types(found)
        types = {branch: of_numbers for branch, (of_numbers, _) in described.items()}
        lists = {branch: of_lists for branch, (_, of_lists) in described.items() if of_lists is not None}
        return TreeInfo(path, name, int(found.num_entries), types, lists, kind)
    except Exception as error:  # an RNTuple's lists of pages are decoded only now
        raise InputError(f"{path} cannot be read as a ROOT file: {_first_line(error)}") from error
    finally:
        _close(found)


def counters_of(path: Path, tree: str | None) -> dict[str, str]:
    """Branch of lists of a TTree -> the branch that holds their lengths, where there is one.

    Raises:
        InputError: As :func:`open_tree`.
    """
    found, _, kind = open_tree(path, tree)
    try:
        if kind is not Format.TTREE:
            return {}
        counters = {branch.name: branch.count_branch for branch in found.branches}
        return {name: counter.name for name, counter in counters.items() if counter is not None}
    finally:
        _close(found)


Kinds = dict[str, tuple[np.dtype | None, np.dtype | None]]  # type of single numbers, or of numbers of lists


def _branch_types(tree: Any) -> Kinds:
    kinds: Kinds = {}
    for branch in tree.branches:
        how = branch.interpretation
        one = many = None
        if isinstance(how, uproot.AsJagged) and isinstance(how.content, uproot.AsDtype):
            many = number_type(how.content.numpy_dtype)
        elif isinstance(how, uproot.AsDtype):
            one = number_type(how.numpy_dtype)
            if len(how.inner_shape) == 1:  # an array of fixed length
                many = number_type(how.to_dtype.base)
        kinds[branch.name] = (one, many)
    return kinds


def _field_types(ntuple: Any) -> Kinds:
    kinds: Kinds = {}
    for name in ntuple.keys(recursive=False):
        kind = str(ntuple[name].typename)
        one = many = None
        if kind in _RNTUPLE_NUMBERS:
            one = np.dtype(_RNTUPLE_NUMBERS[kind])
        elif kind.endswith(">") and kind.startswith(("std::vector<", "ROOT::VecOps::RVec<", "std::array<")):
            element = kind[kind.index("<") + 1 : -1].partition(",")[0].strip()
            many = np.dtype(_RNTUPLE_NUMBERS[element]) if element in _RNTUPLE_NUMBERS else None
        kinds[name] = (one, many)
    return kinds


def iterate_root(
    path: Path, tree: str | None, branches: set[str], chunk_rows: int, chunk_bytes: int
) -> Iterator[Columns]:
    """Values of some branches of a ROOT file, in chunks.

    A basket of a TTree or a cluster of an RNTuple is the least that is decoded at once.

    Raises:
        InputError: As :func:`open_tree`.
    """
    found, _, kind = open_tree(path, tree)
    try:
        if kind is Format.TTREE:
            yield from _iterate_ttree(found, branches, chunk_rows, chunk_bytes)
        else:
            yield from _iterate_rntuple(found, branches, chunk_rows, chunk_bytes)
    finally:
        _close(found)


def _iterate_ttree(tree: Any, branches: set[str], chunk_rows: int, chunk_bytes: int) -> Iterator[Columns]:
    wanted = [branch for branch in tree.branches if branch.name in branches]
    has_lists = not all(
        isinstance(branch.interpretation, uproot.AsDtype) and not branch.interpretation.inner_shape
        for branch in wanted
    )
    size = sum(branch.uncompressed_bytes for branch in wanted) / max(tree.num_entries, 1)
    for columns in tree.iterate(
        filter_name=lambda name: name in branches,
        step_size=rows_within(chunk_rows, chunk_bytes, size),
        library="ak" if has_lists else "np",
    ):
        yield _from_awkward(columns) if has_lists else columns


def _iterate_rntuple(ntuple: Any, branches: set[str], chunk_rows: int, chunk_bytes: int) -> Iterator[Columns]:
    """Whole clusters are decoded, once each, and handed on in parts.

    uproot's own iteration decodes a cluster anew for each chunk of it, and its ``arrays`` the following one
    where a chunk ends with a cluster: columns of plain numbers are taken from the clusters directly.
    """
    numbers = _number_columns(ntuple, branches)
    others = branches - set(numbers)
    start = first = 0
    starts = [int(cluster.num_first_entry) for cluster in ntuple.cluster_summaries]
    ends = [*starts[1:], int(ntuple.num_entries)]
    n_rows = chunk_rows
    for position, end in enumerate(ends):
        last = position == len(ends) - 1
        if not last and ends[position + 1] - start <= n_rows:
            continue  # several small clusters make one chunk
        if end == start:
            continue
        columns: Columns = {
            name: ntuple.read_cluster_range(number, first, position + 1) for name, number in numbers.items()
        }
        if others:
            arrays = ntuple.arrays(
                filter_name=lambda name: name in others, entry_start=start, entry_stop=end, library="ak"
            )
            columns |= _from_awkward(arrays)
        n_rows = rows_within(chunk_rows, chunk_bytes, sum(map(_n_bytes, columns.values())) / (end - start))
        yield from in_parts(columns, end - start, n_rows)
        start, first = end, position + 1


def _number_columns(ntuple: Any, branches: set[str]) -> dict[str, int]:
    """Field -> its column, for fields of single numbers that every cluster has in one representation."""
    if not hasattr(ntuple, "read_cluster_range"):  # before uproot 5.6.7: the longer way reads the same
        return {}
    columns: dict[int, list[Any]] = {}
    for column in ntuple.column_records:
        columns.setdefault(column.field_id, []).append(column)
    found: dict[str, int] = {}
    for name in branches.intersection(ntuple.keys(recursive=False)):
        field = ntuple[name]
        own = columns.get(field.field_id, [])
        if str(field.typename) in _RNTUPLE_NUMBERS and len(own) == 1 and own[0].first_element_index == 0:
            found[name] = own[0].idx
    return found


def _n_bytes(values: NDArray | Lists) -> int:
    return values.values.nbytes + values.offsets.nbytes if isinstance(values, Lists) else values.nbytes


def in_parts(columns: Columns, n_rows: int, n_rows_of_part: int) -> Iterator[Columns]:
    """Columns cut into parts of consecutive rows."""
    if n_rows <= n_rows_of_part:
        yield columns
        return
    for start in range(0, n_rows, n_rows_of_part):
        stop = min(start + n_rows_of_part, n_rows)
        yield {
            name: values.part(start, stop) if isinstance(values, Lists) else values[start:stop]
            for name, values in columns.items()
        }


def _from_awkward(arrays: Any) -> Columns:
    import awkward as ak

    columns: Columns = {}
    record = arrays.layout
    for name, content in zip(record.fields, record.contents, strict=True):
        if isinstance(content, ak.contents.NumpyArray) and content.purelist_depth == 1:
            # as a rule; awkward's own way costs more
            columns[name] = np.asarray(content.data)[: record.length]
            continue
        layout = ak.to_packed(arrays[name]).layout
        if isinstance(layout, ak.contents.NumpyArray):
            layout = layout.to_RegularArray()
        layout = layout.to_ListOffsetArray64(True)
        columns[name] = Lists(ak.to_numpy(layout.content), np.asarray(layout.offsets.data))
    return columns
