"""Files: opened, and checked against what is needed of them, before any event is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darksieve.datasets import parquet_files, root_files
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.tree_info import Format, TreeInfo
from darksieve.errors import InputError

CHUNK_BYTES = 64 * 1024**2  # of the branches that are read, uncompressed


def _is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file, by its first bytes; False for a ROOT file.

    Raises:
        InputError: If it is missing, empty or neither.
    """
    if not path.exists():
        raise InputError(f"there is no file {str(path)!r}")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not start:
        raise InputError(f"{path} is empty (0 bytes); make it again")
    if start not in (root_files.MAGIC, parquet_files.MAGIC):
        raise InputError(f"{path} is neither a ROOT file nor a Parquet file (it starts with {start!r})")
    return start == parquet_files.MAGIC


def describe(path: str | Path, tree: str | None = None) -> TreeInfo:
    """Names, types and number of rows of a file, without reading events.

    Args:
        path: A local ROOT file with a TTree or an RNTuple, or a Parquet file; told apart by their content.
        tree: Name of the TTree or RNTuple; None where the file has only one. A Parquet file has none.

    Raises:
        InputError: If the file is missing, empty, truncated, damaged or of another kind, its tree is not
            there, or has no rows.
    """
    path = Path(path)
    is_parquet = _is_parquet(path)
    info = parquet_files.describe_parquet(path) if is_parquet else root_files.describe_root(path, tree)
    if not info.n_entries:
        raise InputError(f"{info.place} is an empty tree; leave the file out or make it again")
    return info


@dataclass(frozen=True)
class SampleFiles:
    """A sample's files after the check.

    Attributes:
        sample: The sample.
        trees: One entry per file, in the order of ``sample.files``.
        types: Wanted name -> the one type that holds the numbers of all files.
        lists: Those of the wanted names that hold a list per row.
    """

    sample: Sample
    trees: tuple[TreeInfo, ...]
    types: Mapping[str, np.dtype]
    lists: frozenset[str] = frozenset()

    @property
    def n_entries(self) -> int:
        """Rows in all files."""
        return sum(tree.n_entries for tree in self.trees)


def describe_sample(sample: Sample) -> tuple[TreeInfo, ...]:
    """Descriptions of a sample's files.

    Raises:
        InputError: As :func:`describe`, and if a tree is named for files that have none.
    """
    trees = tuple(describe(path, sample.tree) for path in sample.files)
    if sample.tree != Sample.tree and all(info.format is Format.PARQUET for info in trees):
        raise InputError(
            f"samples.{sample.name}.tree is {sample.tree!r}, but its files are Parquet files, which have no "
            "trees; leave it out"
        )
    return trees


def check_sample(
    sample: Sample,
    branches: Iterable[str],
    needed_by: str = "",
    trees: Iterable[TreeInfo] | None = None,
    may_be_lists: Collection[str] = (),
) -> SampleFiles:
    """Open each file of a sample and hold it against what is needed, before any event is read.

    Args:
        sample: The sample; the branches of its selection, mass and weight are checked too.
        branches: Names in basf2's or ROOT's form.
        needed_by: Who needs them, for messages: ``"bundle continuum-kplus"``.
        trees: Descriptions of the files, where the caller has them already.
        may_be_lists: Those of the names that may hold a list per row, since expressions reduce them.

    Raises:
        InputError: Naming the file, if it cannot be read, its tree is missing or empty, a branch is missing
            (with the nearest name) or holds no single numbers, or a file differs from its neighbours.
    """
    found = tuple(trees) if trees is not None else describe_sample(sample)
    own = dict.fromkeys(sample.branches, f"sample {sample.name}")
    needs = {name: needed_by for name in branches} | own
    names = [info.names for info in found]
    types: dict[str, np.dtype] = {}
    lists: set[str] = set()
    for name, who in needs.items():
        first_kind: tuple[TreeInfo, bool] | None = None
        for info, names_there in zip(found, names, strict=True):
            branch = names_there.find(name)
            if branch is None:
                message = str(names_there.missing(name, who))
                having = next((other for other in names if name in other), None)
                if having is not None:
                    message += f"; {having.place}, of the same sample, has it"
                raise InputError(message)
            dtype = info.types[branch]
            is_list = dtype is None and name in may_be_lists and branch in info.lists
            dtype = info.lists[branch] if is_list else dtype
            if first_kind is not None and first_kind[1] != is_list and (dtype is not None):
                kinds = ("a list per row", "single numbers")
                raise InputError(
                    f"{info.place}: branch {branch!r} holds {kinds[not is_list]}, but {kinds[is_list]} in "
                    f"{first_kind[0].place}, of the same sample"
                )
            if dtype is None:
                hint = ""
                if branch in info.lists:
                    hint = f"; reduce it in candidates.columns, for instance by max_of({name})"
                raise InputError(
                    f"{info.place}: branch {branch!r} holds no single numbers, but lists or text{hint}"
                )
            first_kind = first_kind or (info, is_list)
            lists |= {name} if is_list else set()
            types[name] = dtype if name not in types else np.result_type(types[name], dtype)
    return SampleFiles(sample, found, types, frozenset(lists))


def iterate_branches(
    path: str | Path,
    tree: str | None,
    branches: set[str],
    chunk_rows: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Values of some branches of one file, in chunks, with the entry at which each chunk starts.

    Args:
        path: A file that :func:`describe` has described.
        tree: Its tree.
        branches: The file's own names; a branch of lists gives :class:`~darksieve.datasets.lists.Lists`.
        chunk_rows: Rows of a chunk at most.
        chunk_bytes: Size of a chunk at most, as far as a basket, cluster or page of the file allows.

    Raises:
        InputError: If the file cannot be read or its data are damaged.
    """
    path = Path(path)
    start = 0
    if _is_parquet(path):
        steps = parquet_files.iterate_parquet(path, branches, chunk_rows, chunk_bytes)
    else:
        steps = root_files.iterate_root(path, tree, branches, chunk_rows, chunk_bytes)
    while True:
        try:
            columns = next(steps, None)
        except InputError:
            raise
        except Exception as error:  # decoders raise what they like; all of it means a damaged file
            raise InputError(
                f"{path} is damaged after entry {start}: {type(error).__name__}: "
                f"{' '.join(str(error).split())}; make it again"
            ) from error
        if columns is None:
            return
        yield columns, start
        start += len(next(iter(columns.values())))
