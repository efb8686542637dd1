import dataclasses
import subprocess
import sys

import pytest

from seq2seq.config import config_from_dict, config_to_dict, load_config
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.config import DataConfig, TranslationConfig


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_gives_the_defaults(tmp_path):
    assert load_config(write(tmp_path, "")) == TranslationConfig()


def test_keys_that_are_left_out_keep_their_defaults(tmp_path):
    config = load_config(write(tmp_path, "training:\n  max_epochs: 3\nseed: 7\n"))
    assert (config.training.max_epochs, config.seed) == (3, 7)
    assert config.training.clip_norm == TranslationConfig().training.clip_norm
    assert config.data == DataConfig()


def test_a_section_without_keys_is_the_default_section(tmp_path):
    assert load_config(write(tmp_path, "model:\n")).model == TranslationConfig().model


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        ("trainin: {}", "'trainin'", "'training'"),
        ("training: {learning_rte: 1}", "'training.learning_rte'", "'training.learning_rate'"),
        ("model: {encoder: {layer: 2}}", "'model.encoder.layer'", "'model.encoder.layers'"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(tmp_path, text, unknown, nearest):
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as error:
        load_config(path)
    assert str(path) in str(error.value)
    assert f"unknown key {unknown}; did you mean {nearest}" in str(error.value)


def test_an_unknown_key_unlike_any_other_lists_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=r"known: .*min_length.*deduplicate"):
        load_config(write(tmp_path, "data: {filter: {zzzz: 1}}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: one", "'seed' is 'one'; expected a whole number"),
        ("seed: 1.5", "'seed' is 1.5; expected a whole number"),
        ("seed: true", "'seed' is True; expected a whole number"),
        ("training: {clip_norm: high}", "'training.clip_norm' is 'high'; expected a number"),
        ("training: {clip_norm: true}", "'training.clip_norm' is True; expected a number"),
        ("tokenizer: {shared: 1}", "'tokenizer.shared' is 1; expected true or false"),
        ("output: [a]", "'output' is ['a']; expected text"),
        ("training: {betas: 0.9}", "'training.betas' is 0.9; expected a list"),
        ("training: {betas: [a, b]}", "'training.betas' is 'a'; expected a number"),
        ("model: {encoder: {cell: LSTM}}", "'model.encoder.cell' is 'LSTM'; expected one of: lstm"),
        ("model: 3", "'model' must be a section of keys, found 3"),
        ("data: {train: {a: b}}", "'data.train' is {'a': 'b'}; expected text"),
    ],
)
def test_a_wrong_type_names_key_value_and_what_was_expected(tmp_path, text, message):
    with pytest.raises(UsageError) as error:
        load_config(write(tmp_path, text))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3", "1E-3"])
def test_exponents_without_a_point_are_numbers(tmp_path, text):
    rate = load_config(write(tmp_path, f"training: {{learning_rate: {text}}}"))
    assert rate.training.learning_rate == 0.001


def test_a_whole_number_will_do_for_a_number(tmp_path):
    value = load_config(write(tmp_path, "training: {clip_norm: 5}")).training.clip_norm
    assert value == 5.0 and isinstance(value, float)


def test_the_norwegian_language_code_is_text(tmp_path):
    assert load_config(write(tmp_path, "data: {source: no}")).data.source == "no"


def test_null_where_a_value_may_be_left_out(tmp_path):
    config = load_config(write(tmp_path, "training: {max_steps: null}\ndata: {train: null}"))
    assert config.training.max_steps is None and config.data.train is None
    with pytest.raises(UsageError, match="'seed' is None"):
        load_config(write(tmp_path, "seed: null"))


def test_overrides_are_read_as_yaml_and_win(tmp_path):
    path = write(tmp_path, "training: {max_steps: 10}\nseed: 2")
    overrides = {
        "training.max_steps": "2000",
        "training.learning_rate": "1e-3",
        "training.betas": "[0.9, 0.98]",
        "tokenizer.shared": "false",
        "data.columns": "[en, de]",
        "data.train": "null",
        "output": "[x",  # not YAML: plain text
    }
    config = load_config(path, overrides)
    assert config.training.max_steps == 2000
    assert config.training.learning_rate == 0.001
    assert config.training.betas == [0.9, 0.98]
    assert config.tokenizer.shared is False
    assert config.data.columns == ["en", "de"]
    assert config.data.train is None
    assert config.output == "[x"
    assert config.seed == 2


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("training.max_stepz", "1", "did you mean 'training.max_steps'"),
        ("seed.x", "1", "'seed' holds a value, not a section"),
        ("seed", "x", "'seed' is 'x'; expected a whole number"),
    ],
)
def test_wrong_overrides_are_errors(tmp_path, key, text, message):
    with pytest.raises(UsageError, match=message):
        load_config(write(tmp_path, "seed: 1"), {key: text})


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- x"])
def test_malformed_yaml_is_an_error_that_names_the_file(tmp_path, text):
    with pytest.raises(UsageError, match=r"run\.yaml.*not valid YAML"):
        load_config(write(tmp_path, text))


def test_a_list_instead_of_keys(tmp_path):
    with pytest.raises(UsageError, match=r"run\.yaml: expected 'key: value' lines"):
        load_config(write(tmp_path, "- a\n- b"))


def test_a_missing_file_and_one_that_is_not_text(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "none.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"output: caf\xe9")
    with pytest.raises(UsageError, match=r"latin\.yaml: not UTF-8 text \(byte 11\)"):
        load_config(path)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"data": {"batch_tokens": 0}}, "data.batch_tokens"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate"),
        ({"model": {"dropout": 1.0}}, "model.dropout"),
        ({"model": {"init_range": 1e308}}, "model.init_range"),
        ({"model": {"decoder": {"layers": 10**6}}}, "model.decoder.layers"),
        ({"model": {"embedding_size": 2**63}}, "model.embedding_size"),
        ({"seed": -(10**5000)}, "seed"),
        ({"training": {"label_smoothing": -0.1}}, "training.label_smoothing"),
        ({"decoding": {"beam_size": 0}}, "decoding.beam_size"),
        ({"training": {"betas": [0.9]}}, "training.betas"),
        ({"data": {"filter": {"min_length": 151}}}, "'data.filter.min_length' is 151 and"),
        (
            {"decoding": {"max_length_ratio": 0, "max_length_extra": 9, "min_length": 10}},
            "'decoding.min_length' is 10 and 'decoding.max_length_extra' is 9",
        ),
        (
            {"task": "captioning", "decoding": {"min_length": 31}},
            "'decoding.min_length' is 31 and 'decoding.max_length' is 30",
        ),
        ({"model": {"tied_embeddings": "all"}, "tokenizer": {"shared": False}}, "tied_embeddings"),
    ],
)
def test_values_that_make_no_sense(values, key):
    with pytest.raises(UsageError, match=key):
        config_from_dict(values)


def test_a_config_survives_the_way_to_plain_values_and_back():
    config = config_from_dict({"data": {"columns": ["a"]}, "model": {"encoder": {"cell": "gru"}}})
    values = config_to_dict(config)
    assert config_from_dict(values) == config
    assert set(values) == {field.name for field in dataclasses.fields(TranslationConfig)}


def test_importing_the_configuration_does_not_import_torch():
    code = "import sys, seq2seq.config, seq2seq.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", r"line 2: not valid YAML: key 'seed' stands twice"),
        ("a: [\n", r"line 2: not valid YAML: "),
        ("seed: -1\n", r"'seed' is -1; expected 0 to"),
        ("training: {threads: 99999}\n", r"'training.threads' is 99999; expected at most"),
        ("training: {max_epochs: 0}\n", r"'training.max_epochs' is 0; expected a number above 0"),
        ("training: {betas: [0.9, 1.5]}\n", r"'training.betas' is"),
        ("training: {patience: 3}\n", r"set 'data.validation'"),
    ],
)
def test_values_that_make_no_sense_are_one_line(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as found:
        load_config(path)
    assert "\n" not in str(found.value)
