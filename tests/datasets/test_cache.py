"""A cache that is whole or absent, bounded, and safe to share."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darksieve.datasets.cache import Cache, code_identity, default_folder, file_identity
from darksieve.errors import InputError


def put(cache, key, content=b"x" * 1000, facts=None):
    making = cache.begin(key, "events", f"sample {key}")
    (making.folder / "data").write_bytes(content)
    making.commit(facts or {})


def used_at(cache, key, minutes_ago):
    when = time.time() - 60 * minutes_ago
    os.utime(cache.place(key) / "entry.json", (when, when))


def keys(cache):
    return {info.key for info in cache.entries()}


def test_entry_is_found_by_its_key_with_what_was_noted(tmp_path):
    cache = Cache(tmp_path)
    assert cache.open("a") is None
    put(cache, "a", b"content", {"rows": 3})
    with cache.open("a") as entry:
        assert (entry.folder / "data").read_bytes() == b"content"
        assert entry.info.facts == {"rows": 3}
    [info] = cache.entries()
    assert (info.key, info.kind, info.about, info.n_bytes) == ("a", "events", "sample a", 7)
    assert timedelta(0) <= datetime.now(UTC) - info.last_use < timedelta(minutes=1)


def test_entry_that_is_abandoned_leaves_nothing(tmp_path):
    cache = Cache(tmp_path)
    making = cache.begin("a", "events", "a")
    (making.folder / "data").write_bytes(b"half")
    making.abandon()
    assert cache.open("a") is None
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_of_two_makers_of_one_entry_one_wins_and_both_are_content(tmp_path):
    cache = Cache(tmp_path)
    first, second = cache.begin("a", "events", "a"), cache.begin("a", "events", "a")
    for making in (first, second):
        (making.folder / "data").write_bytes(b"same")
    first.commit({})
    second.commit({})
    assert len(cache.entries()) == 1
    assert list((tmp_path / "making").iterdir()) == []


def test_least_recently_used_goes_first(tmp_path):
    cache = Cache(tmp_path, max_gb=5.5e-6)  # 5500 bytes, with entry.json of about 400 each
    for i, key in enumerate("abc"):
        put(cache, key)
        used_at(cache, key, 10 - i)
    cache.open("a").__exit__(None, None, None)  # a use
    for key in "de":
        put(cache, key)
    assert "a" in keys(cache)
    assert "b" not in keys(cache)
    assert "e" in keys(cache)
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 5500


def test_what_is_being_read_or_made_is_never_evicted(tmp_path):
    cache = Cache(tmp_path, max_gb=2e-6)
    put(cache, "a")
    used_at(cache, "a", 60)
    making = cache.begin("m", "events", "m")
    (making.folder / "data").write_bytes(b"y" * 1000)
    with cache.open("a") as entry:
        put(cache, "b")
        assert (entry.folder / "data").read_bytes() == b"x" * 1000
        assert cache.clear()[1] == 1
        assert keys(cache) == {"a"}
    making.commit({})
    assert "m" in keys(cache)


def test_entry_larger_than_the_cache_is_seen_while_it_is_made(tmp_path):
    making = Cache(tmp_path, max_gb=1e-6).begin("a", "events", "a")
    assert not making.is_too_large
    (making.folder / "data").write_bytes(b"x" * 1001)
    assert making.is_too_large
    making.abandon()


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "data").write_bytes(b"short"),
        lambda place: (place / "data").unlink(),
        lambda place: (place / "entry.json").write_text("{"),
        lambda place: (place / "entry.json").write_text("[]"),
        lambda place: (place / "entry.json").write_text(
            (place / "entry.json").read_text().replace('"kind": "events"', '"kind": "other"')
        ),
        lambda place: (place / "entry.json").write_bytes(b"\xff\xfe"),
    ],
)
def test_damaged_entry_is_dropped_with_a_warning_and_can_be_made_again(tmp_path, damage, caplog):
    cache = Cache(tmp_path)
    put(cache, "a")
    damage(cache.place("a"))
    assert cache.entries() == []
    with caplog.at_level(logging.WARNING, "darksieve"):
        assert cache.open("a") is None
    assert "damaged" in caplog.text
    put(cache, "a")
    assert keys(cache) == {"a"}


def test_folder_that_cannot_be_written_warns_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING, "darksieve"):
        assert cache.begin("a", "events", "a") is None
        assert cache.begin("b", "events", "b") is None
    assert cache.open("a") is None
    assert cache.entries() == []
    assert cache.clear() == (0, 0)
    assert caplog.text.count("is not used") == 1


def test_full_disk_at_the_last_step_is_an_error_of_the_maker_alone(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    making = cache.begin("a", "events", "a")
    (making.folder / "data").write_bytes(b"x")

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            making.commit({})
    making.abandon()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


_MAKER = """
import sys, time
from pathlib import Path
from darksieve.datasets.cache import Cache
cache = Cache(sys.argv[1])
making = cache.begin("a", "events", "a")
(making.folder / "data").write_bytes(b"x" * 1000)
print("half", flush=True)
if sys.argv[2] == "hang":
    time.sleep(60)
sys.stdin.readline()
making.commit({})
"""


def start(folder, how):
    process = subprocess.Popen(
        [sys.executable, "-c", _MAKER, str(folder), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "half\n"
    return process


def test_cache_that_may_only_be_read_is_read(tmp_path, monkeypatch):
    put(Cache(tmp_path), "a", b"content")

    def refused(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    with Cache(tmp_path).open("a") as entry:
        assert (entry.folder / "data").read_bytes() == b"content"


def test_killed_maker_leaves_no_entry_and_what_it_left_is_cleared_by_the_next(tmp_path):
    process = start(tmp_path, "hang")
    cache = Cache(tmp_path)
    cache.trim()
    assert len(list((tmp_path / "making").iterdir())) == 1, "what is being made was taken away"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cache.open("a") is None
    cache.trim()
    assert list((tmp_path / "making").iterdir()) == []


def test_two_processes_making_one_entry_at_once_leave_one_whole_entry(tmp_path):
    processes = [start(tmp_path, "go") for _ in range(2)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(30) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    cache = Cache(tmp_path)
    with cache.open("a") as entry:
        assert (entry.folder / "data").read_bytes() == b"x" * 1000
    assert list((tmp_path / "making").iterdir()) == []


def test_identity_of_a_file_is_its_content_not_its_place(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a" * 200_000)
    os.link(one, two)
    assert file_identity(one) == file_identity(two)
    json.dumps(file_identity(one))
    before = file_identity(one)
    one.write_bytes(b"a" * 199_999 + b"b")
    os.utime(one, ns=(before[1], before[1]))
    assert file_identity(one) != before
    one.write_bytes(b"a" * 200_000)
    os.utime(one, ns=(before[1] + 1, before[1] + 1))
    assert file_identity(one) != before


def test_code_that_changes_is_another_identity(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    before = code_identity([tmp_path], ["numpy", "no-such-package"])
    assert set(before) == {"numpy", "code"}
    (tmp_path / "a.py").write_text("x = 2")
    assert code_identity([tmp_path], ["numpy"]) != before


def test_default_folder_is_the_variable_or_the_users_cache(monkeypatch):
    monkeypatch.setenv("DARKSIEVE_CACHE", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.setenv("DARKSIEVE_CACHE", "off")
    assert default_folder() is None
    monkeypatch.delenv("DARKSIEVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_folder() == Path("/xdg/darksieve")


def test_size_that_is_not_positive_is_refused(tmp_path):
    with pytest.raises(InputError, match="max_gb is 0"):
        Cache(tmp_path, max_gb=0)
