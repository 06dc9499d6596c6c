"""The config says what is wrong, where, and what would work."""

import json
from importlib import resources
from pathlib import Path

import pytest

from darksieve.config_loading import apply_overrides, json_schema, load_config, preset_names, to_yaml
from darksieve.errors import InputError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_a_round_trip_through_its_resolved_form(name, tmp_path):
    config = load_config(name)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scan.step_sgima=1", r"config error at scan.step_sgima: unknown key; did you mean 'step_sigma'\?"),
        ("samples.signal.rle=x", r"config error at samples.signal.rle: unknown key; did you mean 'role'\?"),
        ("classifiers.0.fold=3", r"config error at classifiers.0.fold: unknown key; did you mean 'folds'\?"),
        ("scan.range=[3, 1]", r"config error at scan.range: the interval \[3.0, 1.0\] is empty"),
        ("luminosity_fb=-1", r"config error at luminosity_fb: .*greater than 0 \(value: -1\)"),
        ("scan.masses=[20]", r"give either step_sigma or masses"),
        ("samples.signal.files=[a.root]", r"config error at samples.signal: give either files"),
        ("interpretation.parameter=branching_fraction", r"needs n_parents in channels \['all'\]"),
        ("scan.range=[0.17, .inf]", r"config error at scan.range: .*two finite numbers"),
        ("working_points.n_masses=5", r"config error at working_points.n_masses: unknown key"),
        ("samples.pseudo_data={role: data, files: [a.root]}", "no sample may be named 'pseudo_data'"),
        ("classifiers.0.samples=[signal, qed_3gama]", "no 'qed_3gama'; did you mean 'qed_3gamma'"),
        ("classifiers.0.samples=[qed_3gamma, gamma_gamma]", "samples need a signal and a background"),
        ("classifiers.0.channels=[everything]", "channels has no 'everything'"),
        ("channels={a/b: {}}", r"config error at channels.a/b"),
        ("confidence_level=.nan", r"config error at confidence_level"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_place(override, message):
    with pytest.raises(InputError, match=message):
        load_config("gamma_alp", [override])


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'gamma_alp'"):
        load_config("gama_alp")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "absent.yaml")


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("search: a\nsearch: b\n")
    with pytest.raises(InputError, match=r"'search' is given twice \(line 2\)"):
        load_config(path)


def test_text_that_is_not_yaml_is_refused(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("search: [a\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(path)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        load_config(path)


def test_a_list_as_key_is_refused(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text("search: a\n? [b, c]\n: d\n")
    with pytest.raises(InputError, match="line 2 has a list"):
        load_config(path)


def test_a_folder_named_as_a_preset_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "gamma_alp").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config("gamma_alp").search == "gamma_alp"


def test_overrides_reach_sections_that_are_not_written_and_leave_the_input_alone():
    tree = {"a": {"b": 1}, "list": [{"c": 2}]}
    changed = apply_overrides(tree, ["a.b=2", "list.0.c=3", "new.deep=[1, 2]"])
    assert changed == {"a": {"b": 2}, "list": [{"c": 3}], "new": {"deep": [1, 2]}}
    assert tree == {"a": {"b": 1}, "list": [{"c": 2}]}


@pytest.mark.parametrize("bad", ["no_equals", "=1", "a.b.c=1", "list.7=1", "list.x=1", "a=[1"])
def test_a_malformed_override_is_refused(bad):
    with pytest.raises(InputError, match="--set"):
        apply_overrides({"a": {"b": 1}, "list": [1]}, [bad])


def test_file_patterns_start_from_the_folder_of_the_config(tmp_path):
    text = to_yaml(load_config("gamma_alp")).replace("simulate: qed_3gamma", "simulate: null")
    text = text.replace("settings:\n      n_events: 1000000", "settings: {}", 1)
    path = tmp_path / "own.yaml"
    path.write_text(text)
    config = load_config(path, ["samples.qed_3gamma.files=[mc/*.root, /abs/x.root]"])
    assert config.samples["qed_3gamma"].files == [str(tmp_path / "mc/*.root"), "/abs/x.root"]


def test_the_packaged_schema_is_that_of_the_config():
    text = (resources.files("darksieve.configs") / "search.schema.json").read_text()
    assert json.loads(text) == json_schema(), "write it anew: see json_schema in config_loading"


def test_the_example_of_the_guide_is_a_valid_config(tmp_path):
    guide = (Path(__file__).parents[1] / "docs" / "config.md").read_text()
    path = tmp_path / "guide.yaml"
    path.write_text(guide.split("```yaml\n")[1].split("```")[0])
    assert load_config(path).search == "my_alp"


def test_the_reach_of_an_interpolation_leaves_masses_out():
    with pytest.raises(InputError, match=r"reach is 0.3 GeV; it must be below a quarter of spacing, 1 GeV"):
        load_config("gamma_alp", ["interpolation={spacing: 1, reach: 0.3}"])
