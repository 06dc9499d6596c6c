"""A finished stage is not redone, a changed one is, and a foreign folder is left alone."""

import pytest

from darksieve.errors import InputError
from darksieve.run_folder import RunFolder, stage_key


def _write(run, name="out.txt", text="numbers"):
    with run.stage("train", "key-1", seed=3) as record:
        (run / name).write_text(text)
        record.wrote(run / name)


def test_a_finished_stage_is_known_to_a_later_process(tmp_path):
    with RunFolder.open(tmp_path / "r", "s") as run:
        _write(run)
    with RunFolder.open(tmp_path / "r", "s") as run:
        assert run.is_done("train", "key-1")
        assert not run.is_done("train", "key-2")
        assert run.manifest["stages"]["train"]["seed"] == 3


@pytest.mark.parametrize("damage", ["lose", "alter"])
def test_a_stage_whose_output_is_lost_or_altered_is_not_done(tmp_path, damage):
    with RunFolder.open(tmp_path / "r", "s") as run:
        _write(run)
        if damage == "lose":
            (run / "out.txt").unlink()
        else:
            (run / "out.txt").write_text("other")
        assert not run.is_done("train", "key-1")


def test_a_stage_that_fails_leaves_no_record(tmp_path):
    with RunFolder.open(tmp_path / "r", "s") as run:
        _write(run)
        with pytest.raises(RuntimeError), run.stage("train", "key-2"):
            raise RuntimeError("killed")
        assert run.key_of("train") is None


def test_a_folder_of_another_search_is_refused(tmp_path):
    RunFolder.open(tmp_path / "r", "first").close()
    with RunFolder.open(tmp_path / "r", "first") as run:
        run.record()
    with pytest.raises(InputError, match="holds the search 'first', not 'second'"):
        RunFolder.open(tmp_path / "r", "second")


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(InputError, match="is not empty"):
        RunFolder.open(tmp_path, "s")


@pytest.mark.parametrize("text", ["[1]", '{"search": "s"}', '{"search": "s", "stages": {}}', "{"])
def test_a_manifest_that_is_none_of_a_run_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json is not"):
        RunFolder.open(tmp_path, "s")
    assert not (tmp_path / ".lock").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        RunFolder.open(tmp_path / "f" / "run", "s")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="this is a file"):
        RunFolder.open(tmp_path / "f", "s")


def test_two_processes_cannot_share_a_folder(tmp_path):
    with RunFolder.open(tmp_path / "r", "s"), pytest.raises(InputError, match="in use"):
        RunFolder.open(tmp_path / "r", "s")


def test_the_key_depends_on_the_stage_and_its_inputs():
    keys = {stage_key("a", {"x": 1}), stage_key("b", {"x": 1}), stage_key("a", {"x": 2})}
    assert len(keys) == 3
    assert stage_key("a", {"x": 1, "y": 2}) == stage_key("a", {"y": 2, "x": 1})
