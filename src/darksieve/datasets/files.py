"""ROOT files: opened, and checked against what is needed of them, before any event is read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.names import BranchNames
from darksieve.errors import InputError, nearest


def _check_header(path: Path) -> None:
    """Refuse what is no ROOT file, or is shorter than its own header says (TFile: fEND)."""
    if not path.exists():
        raise InputError(f"there is no file {str(path)!r}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes); make it again")
    if header[:4] != b"root":
        raise InputError(f"{path} is not a ROOT file (it starts with {header[:4]!r})")
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


def _of_class(file: Any, wanted: str) -> list[str]:
    names = file.classnames(recursive=True, cycle=False)
    return sorted(name for name, kind in names.items() if kind == wanted)


def open_tree(path: str | Path, tree: str | None = None) -> Any:
    """The TTree of a file, as uproot has it; the caller closes ``.file``.

    Args:
        path: A local ROOT file.
        tree: Its name; None where the file has only one.

    Raises:
        InputError: If the file is missing, empty, truncated or no ROOT file, or the tree is not there.
    """
    path = Path(path)
    _check_header(path)
    trees: list[str] = []
    rntuples: list[str] = []
    try:
        # faster on local files than uproot's default source, and unlike a memory map flat in memory
        file = uproot.open(path, handler=uproot.MultithreadedFileSource, array_cache=None, object_cache=None)
        try:
            trees, rntuples = _of_class(file, "TTree"), _of_class(file, "ROOT::RNTuple")
            if tree is None and len(trees) == 1:
                tree = trees[0]
            if tree in trees:
                return file[tree]
        except BaseException:
            file.close()
            raise
        file.close()
    except Exception as error:  # uproot raises what its decoders raise; all of it means a damaged file
        raise InputError(f"{path} cannot be read as a ROOT file: {_first_line(error)}") from error
    there = f"the trees there are {trees}" if trees else "there are no trees"
    if tree is None:
        raise InputError(f"{path}: name the tree to read; {there}")
    if tree in rntuples:
        raise InputError(f"{path}: {tree!r} is an RNTuple, and a TTree is needed; {there}")
    raise InputError(f"{path} has no tree {tree!r}; {there}{nearest(tree, trees)}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _number_type(branch: Any) -> np.dtype | None:
    """Type of a branch that holds one number per row, None for any other."""
    dtype = getattr(branch.interpretation, "numpy_dtype", None)
    if not isinstance(branch.interpretation, uproot.AsDtype) or dtype is None:
        return None
    return dtype.newbyteorder("=") if dtype.kind in "biuf" and dtype.shape == () else None


@dataclass(frozen=True)
class TreeInfo:
    """What one file holds.

    Attributes:
        path: The file.
        tree: The tree's name.
        n_entries: Rows.
        types: Branch -> type of its numbers, None for a branch that holds no single numbers.
    """

    path: Path
    tree: str
    n_entries: int
    types: Mapping[str, np.dtype | None]

    @property
    def place(self) -> str:
        """File and tree, for messages."""
        return f"{self.path}:{self.tree}"

    @property
    def names(self) -> BranchNames:
        """The branch names, to be found in basf2's or ROOT's form."""
        return BranchNames(self.types, self.place)


def describe(path: str | Path, tree: str | None = None) -> TreeInfo:
    """Names, types and number of rows of a file's tree, without reading events.

    Raises:
        InputError: As :func:`open_tree`, and if the tree is empty.
    """
    found = open_tree(path, tree)
    with found.file:
        types = {branch.name: _number_type(branch) for branch in found.branches}
        info = TreeInfo(Path(path), tree or found.name, int(found.num_entries), types)
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
    """

    sample: Sample
    trees: tuple[TreeInfo, ...]
    types: Mapping[str, np.dtype]

    @property
    def n_entries(self) -> int:
        """Rows in all files."""
        return sum(tree.n_entries for tree in self.trees)


def check_sample(
    sample: Sample, branches: Iterable[str], needed_by: str = "", trees: Iterable[TreeInfo] | None = None
) -> SampleFiles:
    """Open each file of a sample and hold it against what is needed, before any event is read.

    Args:
        sample: The sample; the branches of its selection, mass and weight are checked too.
        branches: Names in basf2's or ROOT's form.
        needed_by: Who needs them, for messages: ``"bundle continuum-kplus"``.
        trees: Descriptions of the files, where the caller has them already.

    Raises:
        InputError: Naming the file, if it cannot be read, its tree is missing or empty, a branch is missing
            (with the nearest name) or holds no single numbers, or a file differs from its neighbours.
    """
    found = tuple(trees) if trees is not None else tuple(describe(path, sample.tree) for path in sample.files)
    own = dict.fromkeys(sample.branches, f"sample {sample.name}")
    needs = {name: needed_by for name in branches} | own
    names = [info.names for info in found]
    types: dict[str, np.dtype] = {}
    for name, who in needs.items():
        for info, names_there in zip(found, names, strict=True):
            branch = names_there.find(name)
            if branch is None:
                message = str(names_there.missing(name, who))
                having = next((other for other in names if name in other), None)
                if having is not None:
                    message += f"; {having.place}, of the same sample, has it"
                raise InputError(message)
            dtype = info.types[branch]
            if dtype is None:
                raise InputError(
                    f"{info.place}: branch {branch!r} holds no single numbers, but lists or text"
                )
            types[name] = dtype if name not in types else np.result_type(types[name], dtype)
    return SampleFiles(sample, found, types)


def iterate_branches(
    path: str | Path, tree: str | None, branches: set[str], chunk_rows: int
) -> Iterator[tuple[dict[str, NDArray], int]]:
    """Values of some branches of one file, in chunks, with the entry at which each chunk starts.

    Raises:
        InputError: If the file cannot be read or its data are damaged.
    """
    found = open_tree(path, tree)
    start = 0
    with found.file:
        steps = found.iterate(filter_name=lambda name: name in branches, step_size=chunk_rows, library="np")
        while True:
            try:
                columns = next(steps, None)
            except (
                Exception
            ) as error:  # decompression and decoding raise what they like; all means a damaged file
                raise InputError(
                    f"{path} is damaged after entry {start}: {type(error).__name__}: {error}"
                ) from error
            if columns is None:
                return
            yield columns, start
            start += len(next(iter(columns.values())))
