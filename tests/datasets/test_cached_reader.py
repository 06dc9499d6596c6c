"""Reading through a cache gives what reading gives."""

import errno
import logging
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from darksieve.datasets import cached_reader
from darksieve.datasets.beams import Beams
from darksieve.datasets.cache import Cache
from darksieve.datasets.cached_reader import CachedReader, events_key
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role, concatenate
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.errors import InputError

COLUMNS = ("Mbc", "KSFWVariables(hso00)", "nTracks", "flag")
RECIPE = ReadRecipe(COLUMNS, luminosity_fb=100.0, select="Mbc > 5.26", chunk_rows=60)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def files(write_tree, ntuple_columns):
    return [write_tree(f"f{run}.root", ntuple_columns(150, seed=run, run=run)) for run in (1, 2)]


@pytest.fixture
def sample(files):
    return Sample("qed", Role.BACKGROUND, tuple(files), luminosity_fb=7.0, select="nTracks > 2")


@pytest.fixture
def no_reading(monkeypatch):
    """Files may be opened and described, but no event may be read."""

    def switch(on=True):
        if on:
            monkeypatch.setattr(SampleReader, "_passes", lambda _: pytest.fail("files were read"))
        else:
            monkeypatch.undo()

    return switch


def entry_file(cache):
    [info] = cache.entries()
    return cache.place(info.key) / "events.parquet"


def test_whole_sample_from_the_cache_is_the_same_to_the_last_bit(sample, cache, no_reading):
    plain = CachedReader(sample, RECIPE, None)
    made = CachedReader(sample, RECIPE, cache)
    expected = plain.read().digest()
    assert made.read().digest() == expected
    no_reading()
    found = CachedReader(sample, RECIPE, cache)
    assert found.read().digest() == expected
    assert found.cut_flow == plain.cut_flow == made.cut_flow


def test_chunks_from_the_cache_are_the_chunks_that_were_read(sample, cache, no_reading):
    plain = [part.digest() for part in CachedReader(sample, RECIPE, None).chunks()]
    assert len(plain) == 6
    assert [part.digest() for part in CachedReader(sample, RECIPE, cache).chunks()] == plain
    no_reading()
    found = CachedReader(sample, RECIPE, cache)
    assert [part.digest() for part in found.chunks()] == plain
    assert found.read().digest() == concatenate(list(found.chunks())).digest()


def test_weights_are_those_of_plain_reading_up_to_rounding(sample, cache):
    plain = SampleReader(sample, RECIPE).read()
    cached = CachedReader(sample, RECIPE, cache).read()
    np.testing.assert_allclose(cached.weight, plain.weight, rtol=4e-16)
    np.testing.assert_array_equal(cached.key, plain.key)


def test_another_luminosity_or_name_uses_the_same_entry(sample, cache, no_reading):
    CachedReader(sample, RECIPE, cache).read()
    no_reading()
    twice = CachedReader(replace(sample, name="other"), replace(RECIPE, luminosity_fb=200.0), cache)
    events = twice.read()
    np.testing.assert_array_equal(events.weight, 200.0 * (1.0 / 7.0))
    assert events.samples[0].name == twice.cut_flow.sample == "other"


def test_moved_files_use_the_same_entry(sample, cache, tmp_path, no_reading):
    CachedReader(sample, RECIPE, cache).read()
    (tmp_path / "moved").mkdir()
    moved = [path.rename(tmp_path / "moved" / path.name) for path in sample.files]
    no_reading()
    assert len(CachedReader(replace(sample, files=tuple(moved)), RECIPE, cache).read()) > 0


@pytest.mark.parametrize(
    ("of_sample", "of_recipe"),
    [
        ({"select": "nTracks > 3"}, {}),
        ({"luminosity_fb": 8.0}, {}),
        ({"non_finite": "keep"}, {}),
        ({}, {"select": "Mbc > 5.27"}),
        ({}, {"columns": COLUMNS[:2]}),
        ({}, {"event_key": ("__run__", "__event__")}),
        ({}, {"may_be_missing": ("Mbc",)}),
    ],
)
def test_change_of_what_is_read_is_a_new_entry(sample, cache, of_sample, of_recipe):
    CachedReader(sample, RECIPE, cache).read()
    changed = CachedReader(replace(sample, **of_sample), replace(RECIPE, **of_recipe), cache)
    events = changed.read()
    assert len(cache.entries()) == 2
    assert events.digest() == CachedReader(changed.sample, replace(RECIPE, **of_recipe), None).read().digest()


def test_changed_file_is_a_new_entry(sample, cache, write_tree, ntuple_columns):
    before = CachedReader(sample, RECIPE, cache).read()
    write_tree("f1.root", ntuple_columns(150, seed=9, run=1))
    after = CachedReader(sample, RECIPE, cache).read()
    assert len(cache.entries()) == 2
    assert after.digest() != before.digest()


def test_other_code_or_version_is_a_new_entry(sample, cache, monkeypatch):
    CachedReader(sample, RECIPE, cache).read()
    monkeypatch.setattr(cached_reader, "code_identity", lambda *_: {"code": "other"})
    CachedReader(sample, RECIPE, cache).read()
    assert len(cache.entries()) == 2


def test_pairings_and_signal_go_through_the_cache(write_tree, cache, no_reading):
    rng = np.random.default_rng(1)
    n = 200
    momenta = rng.normal(size=(n, 3, 3))
    columns = {
        f"gamma{i + 1}_{c}": momenta[:, i, j] for i in range(3) for j, c in enumerate(("px", "py", "pz"))
    }
    columns |= {f"gamma{i + 1}_E": np.linalg.norm(momenta[:, i], axis=-1) for i in range(3)}
    columns |= {"__run__": np.ones(n, "i4"), "__event__": np.arange(n), "genM": rng.uniform(1, 2, n)}
    columns["genPair"] = rng.integers(0, 3, n)
    path = write_tree("s.root", columns)
    sample = Sample("s", "signal", (path,), mass="genM", n_generated=1000, mass_range=(1.0, 2.0))
    recipe = ReadRecipe(
        ("M_gg",),
        luminosity_fb=5.0,
        pairings=PairingRecipe(("gamma1", "gamma2", "gamma3"), observable="M_gg", true_pair="genPair"),
        beams=Beams.named("belle2"),
    )
    expected = SampleReader(sample, recipe).read()
    CachedReader(sample, recipe, cache).read()
    no_reading()
    found = CachedReader(sample, replace(recipe, luminosity_fb=9.0), cache).read()
    assert found.digest() == expected.digest()
    assert found["is_true_pair"].sum() == n


def test_duplicates_are_refused_though_an_entry_was_made_that_keeps_them(write_tree, ntuple_columns, cache):
    columns = ntuple_columns(50)
    files = (write_tree("a.root", columns), write_tree("b.root", columns))
    sample = Sample("qed", Role.BACKGROUND, files, luminosity_fb=1.0)
    assert len(CachedReader(sample, replace(RECIPE, duplicates="keep", select=None), cache).read()) == 100
    with pytest.raises(InputError, match=r"b.root entry 0, which repeats .*a.root entry 0"):
        CachedReader(sample, replace(RECIPE, select=None), cache).read()


def test_reading_that_ends_early_or_fails_leaves_nothing(sample, cache, write_tree, ntuple_columns):
    chunks = CachedReader(sample, RECIPE, cache).chunks()
    next(chunks)
    chunks.close()
    bad = ntuple_columns(150, seed=3, run=3)
    bad["Mbc"][140] = np.inf
    path = write_tree("bad.root", bad)
    with pytest.raises(InputError, match="not finite"):
        list(CachedReader(replace(sample, files=(path,), select=None), RECIPE, cache).chunks())
    assert cache.entries() == []
    assert list((cache.folder / "making").iterdir()) == []


def test_empty_sample_is_not_kept_and_stays_an_error(sample, cache):
    nothing = replace(RECIPE, select="Mbc > 99")
    for _ in range(2):
        with pytest.raises(InputError, match="no events are left"):
            CachedReader(sample, nothing, cache).read()
    assert len(CachedReader(sample, replace(nothing, may_be_empty=True), cache).read()) == 0
    assert cache.entries() == []


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("at", [0.25, 0.5, 0.75, 0.97])
@pytest.mark.parametrize("how", ["read", "chunks"])
def test_flipped_byte_is_found_and_the_sample_read_again(sample, cache, at, how, caplog):
    expected = CachedReader(sample, RECIPE, None).read()
    list(CachedReader(sample, RECIPE, cache).chunks())
    path = entry_file(cache)
    _flip(path, int(at * path.stat().st_size))
    reader = CachedReader(sample, RECIPE, cache)
    with caplog.at_level(logging.WARNING, "darksieve"):
        events = reader.read() if how == "read" else concatenate(list(reader.chunks()))
    assert "is damaged and is made again" in caplog.text
    assert events.digest() == expected.digest()
    assert reader.cut_flow.n_left == len(expected)
    assert CachedReader(sample, RECIPE, cache).read().digest() == expected.digest()


def test_every_byte_that_matters_is_guarded(sample, cache):
    expected = CachedReader(sample, RECIPE, None).read()
    list(CachedReader(sample, RECIPE, cache).chunks())
    for at in np.random.default_rng(2).random(25):
        size = entry_file(cache).stat().st_size
        _flip(entry_file(cache), 4 + int(at * (size - 4)))  # the magic number at the start says nothing
        assert CachedReader(sample, RECIPE, cache).read().digest() == expected.digest()


@pytest.mark.parametrize("when", [0, 3, "end"])
def test_full_disk_while_caching_costs_one_warning_and_no_result(
    sample, cache, monkeypatch, caplog, when, write_tree, ntuple_columns
):
    n_written = 0
    write, close = pq.ParquetWriter.write_table, pq.ParquetWriter.close

    def full(writer, table, **more):
        nonlocal n_written
        if n_written == when:
            raise OSError(errno.ENOSPC, "No space left on device")
        n_written += 1
        write(writer, table, **more)

    def full_at_the_end(writer):
        close(writer)
        if when == "end":
            raise OSError(errno.ENOSPC, "No space left on device")

    expected = [part.digest() for part in CachedReader(sample, RECIPE, None).chunks()]
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    monkeypatch.setattr(pq.ParquetWriter, "close", full_at_the_end)
    reader = CachedReader(sample, RECIPE, cache)
    with caplog.at_level(logging.WARNING, "darksieve"):
        assert [part.digest() for part in reader.chunks()] == expected
        n_written = 0
        assert [part.digest() for part in CachedReader(sample, RECIPE, cache).chunks()] == expected
    assert caplog.text.count("is not used: [Errno 28]") == 1
    assert [p for p in cache.folder.rglob("*") if p.is_file()] == []


def test_sample_that_does_not_fit_is_read_and_not_kept(sample, tmp_path):
    small = Cache(tmp_path / "small", max_gb=1e-6)
    assert len(CachedReader(sample, RECIPE, small).read()) > 0
    assert small.entries() == []


_READER = """
import sys
from pathlib import Path
from darksieve.datasets.cache import Cache
from darksieve.datasets.cached_reader import CachedReader
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.read_recipe import ReadRecipe
sample = Sample("qed", "background", tuple(sys.argv[2:]), luminosity_fb=7.0, select="nTracks > 2")
recipe = ReadRecipe(("Mbc", "KSFWVariables(hso00)", "nTracks", "flag"), 100.0, "Mbc > 5.26", chunk_rows=60)
print("ready", flush=True)
sys.stdin.readline()
print(CachedReader(sample, recipe, Cache(sys.argv[1])).read().digest(), flush=True)
"""


def test_two_processes_reading_at_once_agree_and_leave_one_entry(sample, cache):
    command = [sys.executable, "-c", _READER, str(cache.folder), *map(str, sample.files)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    said = [process.communicate("\n", timeout=60)[0].strip() for process in processes]
    assert said == [CachedReader(sample, RECIPE, None).read().digest()] * 2
    assert len(cache.entries()) == 1
    assert list((cache.folder / "making").iterdir()) == []


def test_reader_of_an_entry_that_is_removed_under_it_finishes(sample, cache):
    expected = [part.digest() for part in CachedReader(sample, RECIPE, cache).chunks()]
    chunks = CachedReader(sample, RECIPE, cache).chunks()
    got = [next(chunks).digest()]
    cache.drop(cache.entries()[0].key, "for the test")
    got += [part.digest() for part in chunks]
    assert got == expected


def test_key_needs_no_event_to_be_read(sample, no_reading):
    no_reading()
    reader = SampleReader(sample, RECIPE)
    assert events_key(reader) == events_key(SampleReader(sample, RECIPE))
    path = sample.files[0]
    os.utime(path, (1, 1))
    assert events_key(reader) != events_key(SampleReader(replace(sample, files=(sample.files[1],)), RECIPE))
