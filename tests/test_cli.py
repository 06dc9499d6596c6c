"""What the command line says: one message, the exit status, and no input that is overwritten."""

import json
import subprocess
import sys

import pytest

DOCUMENT = {
    "format": "darksieve-search/1",
    "channels": [
        {
            "name": "c",
            "data": {"counts": [6]},
            "background": {"family": "known", "yield": 5.5, "uncertainty": 0, "constraint": "gaussian"},
        }
    ],
    "points": [{"label": "x", "channels": {"c": {"yield_per_unit": 1.0}}}],
}


@pytest.fixture
def darksieve(tmp_path, monkeypatch, capfd):
    """Call the command line in this process, in a folder of its own: status, output, errors."""
    from darksieve.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.json").write_text(json.dumps(DOCUMENT))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["darksieve", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capfd.readouterr()

    return call


def test_limits_of_a_document_are_written_with_status_0(darksieve, tmp_path):
    status, _, _ = darksieve("limits", "d.json", "-o", "out.json", "--method", "exact")
    assert status == 0
    assert json.loads((tmp_path / "out.json").read_text())["points"][0]["status"] == "converged"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "d.json"], "is an input"),
        (["-o", "."], "this is a folder"),
        (["-o", "out.csv"], "name the JSON file"),
        (["-o", "out.json", "--cls-at", "nan"], "finite"),
        (["-o", "out.json", "--cl", "95"], "between 0 and 1"),
    ],
)
def test_a_wrong_option_of_limits_is_one_message_with_status_2(darksieve, tmp_path, options, message):
    status, _, errors = darksieve("limits", "d.json", *options)
    assert status == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert json.loads((tmp_path / "d.json").read_text()) == DOCUMENT


@pytest.mark.parametrize("place", [0, 1])
def test_debug_shows_the_traceback_wherever_it_stands(tmp_path, place):
    arguments = ["check", "absent.yaml"]
    arguments.insert(2 * place, "--debug")
    done = subprocess.run(
        [sys.executable, "-c", "from darksieve.cli import main; main()", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr
    assert "no such file" in done.stderr


def test_limits_resume_keeps_the_points_that_are_done(darksieve, tmp_path):
    status, _, _ = darksieve("limits", "d.json", "-o", "out.json")
    assert status == 0
    done = json.loads((tmp_path / "out.json").read_text())
    done["points"][0]["observed"] = 7.5  # what only the first answer can know
    (tmp_path / "out.json").write_text(json.dumps(done))
    status, _, _ = darksieve("limits", "d.json", "-o", "out.json", "--resume")
    assert status == 0
    assert json.loads((tmp_path / "out.json").read_text())["points"][0]["observed"] == 7.5


def test_limits_export_to_pyhf_says_how_well_it_closes(darksieve, tmp_path):
    status, output, _ = darksieve("limits", "d.json", "-o", "out.json", "--pyhf", "exported")
    assert status == 0
    assert "differ by at most" in output
    assert (tmp_path / "exported" / "d.workspace.json").is_file()
    assert (tmp_path / "exported" / "d.patchset.json").is_file()
