"""Simulated samples that are kept for other runs."""

import errno
import logging
import os

import pytest

from darksieve.datasets import kept_files
from darksieve.datasets.cache import Cache
from darksieve.datasets.kept_files import fetch_files, keep_files, simulation_key


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def made(tmp_path):
    paths = (tmp_path / "run1" / "qed.root", tmp_path / "run1" / "qed.json")
    paths[0].parent.mkdir()
    paths[0].write_bytes(b"events" * 100)
    paths[1].write_text("{}")
    return paths


def places(tmp_path, run="run2", name="other"):
    return (tmp_path / run / f"{name}.root", tmp_path / run / f"{name}.json")


def test_files_come_back_under_another_name_and_share_the_disk(cache, made, tmp_path):
    wanted = places(tmp_path)
    assert not fetch_files(cache, "k", wanted)
    keep_files(cache, "k", "qed", made)
    assert fetch_files(cache, "k", wanted)
    assert [p.read_bytes() for p in wanted] == [p.read_bytes() for p in made]
    assert wanted[0].samefile(made[0])
    assert fetch_files(cache, "k", wanted), "files that are there already"
    assert sorted(p.name for p in wanted[0].parent.iterdir()) == ["other.json", "other.root"]


def test_without_hard_links_files_are_copied(cache, made, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    keep_files(cache, "k", "qed", made)
    assert fetch_files(cache, "k", places(tmp_path))
    assert not places(tmp_path)[0].samefile(made[0])
    assert places(tmp_path)[0].read_bytes() == made[0].read_bytes()


def test_file_that_was_altered_in_a_run_is_not_taken_for_what_was_kept(cache, made, tmp_path, caplog):
    keep_files(cache, "k", "qed", made)
    with made[0].open("r+b") as file:  # through the link, in place
        file.write(b"X")
    with caplog.at_level(logging.WARNING, "darksieve"):
        assert not fetch_files(cache, "k", places(tmp_path))
    assert "sample.root is not what was kept" in caplog.text
    assert cache.entries() == []


def test_full_disk_costs_a_warning_and_leaves_the_files(cache, made, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_files, "_link_or_copy", full)
    with caplog.at_level(logging.WARNING, "darksieve"):
        keep_files(cache, "k", "qed", made)
    assert "No space left" in caplog.text
    assert made[0].is_file()
    assert [p for p in cache.folder.rglob("*") if p.is_file()] == []


def test_sample_larger_than_the_cache_is_not_kept(made, tmp_path):
    small = Cache(tmp_path / "small", max_gb=1e-7)
    keep_files(small, "k", "qed", made)
    assert small.entries() == []


def test_key_follows_process_arguments_and_code(monkeypatch):
    key = simulation_key("p", {"seed": 1})
    assert key == simulation_key("p", {"seed": 1})
    others = [simulation_key("q", {"seed": 1}), simulation_key("p", {"seed": 2})]
    monkeypatch.setattr(kept_files, "code_identity", lambda *_: {"code": "other"})
    assert len({key, *others, simulation_key("p", {"seed": 1})}) == 4
