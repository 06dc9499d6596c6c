"""Parquet files: described and read in chunks by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.lists import Lists
from darksieve.datasets.tree_info import Format, TreeInfo, rows_within
from darksieve.errors import InputError

MAGIC = b"PAR1"


def _open(path: Path) -> Any:
    """The file as pyarrow has it; checksums of pages are verified where the file has them.

    Raises:
        InputError: If the file is truncated or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        file.seek(-4, 2)
        end = file.read(4)
    if end != MAGIC:
        raise InputError(
            f"{path} is truncated: a Parquet file ends with {MAGIC!r}, not {end!r}; make it again"
        )
    try:
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as a Parquet file: {error}") from error


def _has_no_nulls(metadata: Any, leaf: int) -> bool:
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(leaf).statistics
        if statistics is None or not statistics.has_null_count or statistics.null_count:
            return False
    return True


def _stored(kind: Any) -> Any:
    """The type as which an extension type, such as awkward's, is stored."""
    import pyarrow as pa

    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def _number_type(kind: Any, *, nullable: bool) -> np.dtype | None:
    """numpy's type of a column; integers and flags that may be missing become doubles, which have NaN."""
    import pyarrow as pa

    kind = _stored(kind)
    if pa.types.is_boolean(kind):
        dtype = np.dtype(bool)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
    else:
        return None
    return np.dtype(np.float64) if nullable and dtype.kind != "f" else dtype


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    kind = _stored(kind)
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _leaves(file: Any) -> dict[str, list[int]]:
    """Top-level column -> its positions among the columns of the file's metadata."""
    leaves: dict[str, list[int]] = {}
    for position in range(file.metadata.num_columns):
        name = file.schema.column(position).path.split(".")[0]
        leaves.setdefault(name, []).append(position)
    # a name may itself hold dots
    plain = {field.name for field in file.schema_arrow if not _is_list(field.type)}
    for position in range(file.metadata.num_columns):
        path = file.schema.column(position).path
        if path in plain:
            leaves[path] = [position]
    return leaves


def describe_parquet(path: Path) -> TreeInfo:
    """Names, types and number of rows of a Parquet file.

    Raises:
        InputError: If the file is truncated or damaged, or a name is there twice.
    """
    with _open(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        if len(set(schema.names)) < len(schema.names):
            twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
            raise InputError(f"{path} has two columns {twice[0]!r}; rename one")
        leaves = _leaves(file)
        types: dict[str, np.dtype | None] = {}
        lists: dict[str, np.dtype] = {}
        for field in schema:
            if _is_list(field.type):
                types[field.name] = None
                element = _number_type(_stored(field.type).value_type, nullable=False)
                if element is not None:
                    lists[field.name] = element
                continue
            nullable = field.nullable and not all(
                _has_no_nulls(metadata, leaf) for leaf in leaves.get(field.name, [])
            )
            types[field.name] = _number_type(field.type, nullable=nullable)
        return TreeInfo(path, "", metadata.num_rows, types, lists, Format.PARQUET)


def iterate_parquet(
    path: Path, branches: set[str], chunk_rows: int, chunk_bytes: int
) -> Iterator[dict[str, NDArray | Lists]]:
    """Values of some columns of a Parquet file, in chunks.

    Raises:
        InputError: If the file cannot be opened.
    """
    with _open(path) as file:
        leaves = _leaves(file)
        positions = [leaf for name in branches for leaf in leaves[name]]
        metadata = file.metadata
        size = sum(
            metadata.row_group(group).column(leaf).total_uncompressed_size
            for group in range(metadata.num_row_groups)
            for leaf in positions
        ) / max(metadata.num_rows, 1)
        wanted = [name for name in file.schema_arrow.names if name in branches]
        for batch in file.iter_batches(rows_within(chunk_rows, chunk_bytes, size), columns=wanted):
            yield {name: _values(batch.column(i)) for i, name in enumerate(batch.schema.names)}


def _values(array: Any) -> NDArray | Lists:
    import pyarrow as pa
    import pyarrow.compute as pc

    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    if _is_list(array.type):
        counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        return Lists.from_counts(_numbers(array.flatten()), counts)
    return _numbers(array)


def _numbers(array: Any) -> NDArray:
    """Numbers of a column; where one is missing, NaN."""
    import pyarrow as pa

    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.null_count and not pa.types.is_floating(array.type):
        array = array.cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False))
