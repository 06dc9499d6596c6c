"""Folds and parts: which events a model may learn from, and which may choose a working point.

Both are deterministic hashes of the event key, so that all candidates of one event go together, whatever the
order of the files, the size of the chunks or the number of workers, and events of data have their fold too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError

EVENT_KEY = (
    "__experiment__",
    "__run__",
    "__event__",
    "__production__",
)  # basf2's; the last is absent in old files

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: splitmix64's increment
_CHOICE_SALT = 7772
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


class Part(StrEnum):
    """What an event may be used for when working points are made."""

    CHOOSE = "choose"
    QUOTE = "quote"


class Purpose(StrEnum):
    """What an event is for where a model is trained once, without folds."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64: a bijection; each input bit flips each output bit with probability 1/2.

    References:
        G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014, doi:10.1145/2660193.2660195.
    """
    mixed = values + _GOLDEN  # array arithmetic wraps modulo 2^64, as wanted
    mixed ^= mixed >> np.uint64(30)
    mixed *= _MIX_1
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX_2
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _stream(name: str, salt: int = 0) -> NDArray[np.uint64]:
    """A constant of its own for each purpose and salt, shape (1,)."""
    digest = hashlib.sha256(f"{name}:{salt}".encode()).digest()
    return np.frombuffer(digest[:8], dtype="<u8").astype(np.uint64)


def _as_integers(name: str, values: NDArray) -> NDArray[np.uint64]:
    values = np.asarray(values)
    if values.dtype.kind == "u":
        return values.astype(np.uint64)
    if values.dtype.kind in "ib":
        return values.astype(np.int64).view(np.uint64)
    if values.dtype.kind == "f":
        # Old ntuples store every branch as a double, the event key too.
        whole = np.isfinite(values) & (np.abs(values) < 2.0**53)
        whole[whole] = values[whole] == np.rint(values[whole])
        if not whole.all():
            first = int(np.argmin(whole))
            raise InputError(
                f"event key {name!r} is {values[first]} in row {first}: an event key is made of whole numbers"
            )
        return values.astype(np.int64).view(np.uint64)
    raise InputError(f"event key {name!r} has type {values.dtype}: an event key is made of whole numbers")


def hash_event_key(columns: Mapping[str, NDArray], period: str | None = None) -> NDArray[np.uint64]:
    """64-bit hash of the event key of each row; the order of the columns does not matter, their names do.

    Args:
        columns: Name -> whole numbers, shape (n,) each; as a rule those of ``EVENT_KEY`` that the file has.
        period: Data-taking period; the same numbers are another event in another period.

    Returns:
        Hashes of shape (n,). Two different events of a sample of n share one with probability n² / 2⁶⁵.

    Raises:
        InputError: If there is no column, or a value is not a whole number.
    """
    if not columns:
        raise InputError(
            f"no event key: none of the branches {list(EVENT_KEY)} is there; name them in event_key"
        )
    total: NDArray[np.uint64] | None = None
    for name, values in columns.items():
        whole = _as_integers(name, values)
        if len(whole) and (whole == whole[0]).all():  # experiment and run, for most of a file
            whole = whole[:1]
        one = _mix(whole ^ _stream(f"event key {name}"))
        total = one if total is None else total + one
        n_rows = len(values)
    assert total is not None
    if len(total) < n_rows:
        total = np.repeat(total, n_rows)
    if period is not None:
        total += _stream(f"period {period}")
    return _mix(total)


def fold_of(key: NDArray[np.uint64], n_folds: int, salt: int = 0) -> NDArray[np.int8]:
    """Fold of each event, 0 … n_folds − 1, shape (n,).

    Args:
        key: Hashes from :func:`hash_event_key`, shape (n,).
        n_folds: From 1 to 127.
        salt: Another salt gives an independent division.

    Raises:
        ValueError: If ``n_folds`` is out of range.
    """
    if not 1 <= n_folds <= 127:
        raise ValueError(f"n_folds is {n_folds}: it goes from 1 to 127")
    hashed = _mix(np.asarray(key, dtype=np.uint64) ^ _stream("fold", salt))
    return (hashed % np.uint64(n_folds)).astype(np.int8)


def in_choose_part(key: NDArray[np.uint64], salt: int = 0) -> NDArray[np.bool_]:
    """True for the half of the events that may choose a working point, False for the half that quotes it."""
    hashed = _mix(np.asarray(key, dtype=np.uint64) ^ _stream("part", salt))
    return (hashed >> np.uint64(63)).astype(bool)


def part_of(key: NDArray[np.uint64], salt: int = 0) -> NDArray[np.str_]:
    """``"choose"`` or ``"quote"`` for each event, shape (n,); independent of the folds."""
    return np.where(in_choose_part(key, salt), Part.CHOOSE.value, Part.QUOTE.value)


def purpose_of(
    key: NDArray[np.uint64], *, training: float = 0.6, validation: float = 0.2, salt: int = 0
) -> NDArray[np.str_]:
    """``"training"``, ``"validation"`` or ``"test"`` of each event, shape (n,); independent of fold and part.

    More training moves events from validation, and more validation from test, to where they are wanted; the
    events that were there before stay.

    Args:
        key: Hashes from :func:`hash_event_key`, shape (n,).
        training: Fraction of the events that models are fitted to.
        validation: Fraction that stops a fit or chooses a model; the rest tests.
        salt: Another salt gives an independent division.

    Raises:
        InputError: If a fraction is negative, or both are more than 1.
    """
    if not (training >= 0 and validation >= 0 and training + validation <= 1 + 1e-12):
        raise InputError(
            f"fractions training={training} and validation={validation}: they are not negative and at most 1 "
            "together"
        )
    hashed = _mix(np.asarray(key, dtype=np.uint64) ^ _stream("purpose", salt))
    uniform = (hashed >> np.uint64(11)) * 2.0**-53  # in [0, 1)
    names = np.array([Purpose.TRAINING.value, Purpose.VALIDATION.value, Purpose.TEST.value])
    return names[np.searchsorted([training, training + validation], uniform, side="right")]


def choice_fold_of(key: NDArray[np.uint64], n_folds: int = 2) -> NDArray[np.int8]:
    """Fold of each event for the choice of working points, 0 … n_folds − 1, shape (n,).

    The events of a fold are quoted by boundaries that the other folds chose. Independent of the folds of
    training; of two folds, the second is the part ``"choose"``.
    """
    if n_folds == 2:
        return in_choose_part(key).astype(np.int8)
    return fold_of(key, n_folds, _CHOICE_SALT)
