"""Saved translation models: directories, names, the hub, the card."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from seq2seq import Translator
from seq2seq.config import config_from_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.translation.card import translation_card
from seq2seq.tasks.translation.scores import score
from seq2seq.text.sentencepiece import Tokenizer
from seq2seq.training.inputs import INPUTS_FILE
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, TEXTS, make_translator

# ------------------------------------------------------------------------------ save and load


@pytest.mark.parametrize(
    ("tied", "shared", "attention", "cell"),
    [
        ("none", False, "additive", "lstm"),
        ("target", False, "dot", "gru"),
        ("all", True, "none", "tanh"),
    ],
)
def test_loaded_model_translates_as_the_saved_one(tmp_path, tied, shared, attention, cell):
    first = make_translator(tied, shared, attention, cell)
    first.save_pretrained(tmp_path)
    second = Translator.from_pretrained(tmp_path, device="cpu")
    expected = first.model.state_dict()
    for name, tensor in second.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert second.config == first.config
    assert (second.source_tokenizer is second.target_tokenizer) == shared
    assert second.translate(TEXTS) == first.translate(TEXTS)
    if tied == "all":
        assert second.model.projection.weight is second.model.source_embedding.weight


def test_directory_holds_what_is_documented(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.model",
    ]
    values = json.loads((saved / "config.json").read_text())
    assert values["format_version"] == 1
    assert values["config"]["model"]["embedding_size"] == 32


def test_tied_weights_are_stored_once(translator, saved):
    from safetensors import safe_open

    with safe_open(saved / "model.safetensors", "pt") as weights:
        stored = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    assert stored == sum(parameter.numel() for parameter in translator.model.parameters())


def test_saving_over_a_model_replaces_it(saved):
    other = make_translator(tied="none", shared=False)
    other.save_pretrained(saved)
    assert not (saved / "tokenizer.model").exists()
    assert Translator.from_pretrained(saved).translate(TEXTS) == other.translate(TEXTS)


def test_a_full_disk_leaves_the_old_model(translator, saved, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"part of it")
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(RunError, match=r"No space left on device.*saved there before is kept"):
        make_translator(tied="none").save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_place_that_cannot_be_written(translator, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        translator.save_pretrained(tmp_path / "file" / "model")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_missing_file(saved, name):
    (saved / name).unlink()
    with pytest.raises(RunError, match=f"file {name} is missing .found there: README.md"):
        Translator.from_pretrained(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_truncated_file(saved, name, kept):
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(RunError, match=name):
        Translator.from_pretrained(saved)


def test_missing_card_is_no_error(saved):
    (saved / "README.md").unlink()
    assert Translator.from_pretrained(saved).readme is None


def test_empty_directory(tmp_path):
    with pytest.raises(RunError, match=r"config\.json is missing .*no file of a saved model"):
        Translator.from_pretrained(tmp_path)


def test_directory_of_a_run_names_its_model(saved):
    with pytest.raises(RunError, match=rf"directory of a run; its model is {saved}"):
        Translator.from_pretrained(saved.parent)


def test_directory_of_a_run_without_a_model(saved):
    run = saved.parent
    shutil.rmtree(saved)
    (run / "config.json").write_text("{}")
    (run / INPUTS_FILE).write_text("{}")
    with pytest.raises(RunError, match=r"neither a model nor a checkpoint"):
        Translator.from_pretrained(run)
    (run / "checkpoints" / "last").mkdir(parents=True, exist_ok=True)
    with pytest.raises(RunError, match=r"saved no model so far.*'seq2seq train'.*--resume"):
        Translator.from_pretrained(run)
    with pytest.raises(UsageError, match=rf"no such directory; the run {run} has saved no model"):
        Translator.from_pretrained(saved)


def change(saved, key, value):
    values = json.loads((saved / "config.json").read_text())
    *parents, leaf = key.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    inner[leaf] = value
    (saved / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "captions", "format is 'captions', expected 'seq2seq-translation'"),
        ("format_version", 99, "format_version is 99, expected 1"),
        ("source_vocab_size", "many", "'source_vocab_size' is 'many', expected .* int"),
        ("target_vocab_size", 8000, "holds 60 pieces, but .* 8000 .target_vocab_size"),
        ("config.model.embedding_sizes", 9, "did you mean 'model.embedding_size'"),
        ("config.model.embedding_size", 9, r"has shape \(60, 32\), expected \(60, 9\)"),
        ("config.model.decoder.attention", "none", "weights do not belong to the model"),
    ],
)
def test_config_that_does_not_fit(saved, key, value, message):
    change(saved, key, value)
    with pytest.raises(RunError, match=message):
        Translator.from_pretrained(saved)


def test_vocabulary_that_does_not_fit_the_weights(translator, saved):
    smaller = dataclasses.replace(translator.config.tokenizer, vocab_size=50)
    other = Tokenizer.train(ENGLISH * 3 + GERMAN, smaller)
    other.save(saved / "tokenizer.model")
    with pytest.raises(RunError, match=r"tokenizer\.model: holds 50 pieces, but .* 60"):
        Translator.from_pretrained(saved)


# ------------------------------------------------------------------------- names and the hub


@pytest.fixture
def no_network(monkeypatch):
    import huggingface_hub

    def called(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", called)


@pytest.mark.parametrize(
    "name", ["model", "./user/model", "/no/such", "a/b/c", "runs/", "../x", "{tmp}/gone"]
)
def test_missing_path_is_answered_without_the_network(no_network, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no such directory"):
        Translator.from_pretrained(name.format(tmp=tmp_path))


def test_mistyped_folder_beside_others_is_a_path(no_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="runs/dmeo: no such directory"):
        Translator.from_pretrained("runs/dmeo")


def test_a_file_is_no_model(saved):
    with pytest.raises(UsageError, match="is a file"):
        Translator.from_pretrained(saved / "config.json")


def test_hub_name_is_downloaded(translator, saved, monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, **options):
        asked.append((name, options["revision"]))
        assert "model.safetensors" in options["allow_patterns"]
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = Translator.from_pretrained("some-user/some.model", revision="v1")
    assert asked == [("some-user/some.model", "v1")]
    assert found.translate(TEXTS) == translator.translate(TEXTS)


def test_hub_out_of_reach(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="some-user/model: no such directory, and the hub cannot"):
        Translator.from_pretrained("some-user/model", local_files_only=True, cache_dir=tmp_path)


def test_push_uploads_the_directory(saved, monkeypatch):
    import huggingface_hub

    uploaded = {}

    class Api:
        def __init__(self, token):
            assert token == "secret"

        def create_repo(self, repo_id, private, exist_ok):
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, commit_message, revision, create_pr):
            again = Translator.from_pretrained(folder_path)
            uploaded[repo_id] = again.readme
            return "https://example.org/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    (saved / "README.md").write_text("edited by hand")
    url = Translator.from_pretrained(saved).push_to_hub("user/model", token="secret")
    assert url == "https://example.org/commit/1"
    assert uploaded == {"user/model": "edited by hand"}


def test_unknown_device(saved):
    with pytest.raises(UsageError, match="device is 'gpu'; expected auto, cpu"):
        Translator.from_pretrained(saved, device="gpu")
    with pytest.raises(UsageError, match="device cuda:99: not there"):
        Translator.from_pretrained(saved, device="cuda:99")


# --------------------------------------------------------------------------------- model card


def test_model_card_says_how_the_model_was_made(translator, tmp_path):
    import yaml

    scores = score(GERMAN, GERMAN, metrics=("bleu",), bootstrap=10)
    card = {"data": "3 pairs | by hand", "scores": scores, "test_set": "the same", "license": "mit"}
    translator.save_pretrained(tmp_path, card=card)
    text = (tmp_path / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["language"] == ["en", "de"]
    assert head["license"] == "mit"
    assert "| data | 3 pairs \\| by hand |" in text
    assert "| seed | 3 |" in text
    assert "On `the same`." in text
    signature = scores["bleu"].signature.replace("|", "\\|")
    assert f"| BLEU | 100.00 | 100.00 to 100.00 | `{signature}` |" in text
    assert "Translator.from_pretrained" in text


def test_model_card_of_columns_that_are_no_languages():
    config = config_from_dict({"data": {"source": "question", "target": "answer"}})
    assert "language:" not in translation_card(config, 10)


def test_unknown_key_in_the_card(translator, tmp_path):
    with pytest.raises(UsageError, match="unknown key 'score'; known: title, data"):
        translator.save_pretrained(tmp_path, card={"score": 1})


def test_odd_arguments_of_the_python_interface(saved):
    translator = Translator.from_pretrained(saved)
    texts = ["a b", "c"]
    assert translator.translate(text for text in texts) == translator.translate(texts)
    for wrong in (None, 3):
        with pytest.raises(UsageError, match="expected a list of str"):
            translator.translate(wrong)
    with pytest.raises(UsageError, match=r"beam_size is 2.5; expected a whole number"):
        translator.translate(texts, beam_size=2.5)
    with pytest.raises(UsageError, match="beam_size is 100000; expected at most"):
        translator.translate(texts, beam_size=100_000)
    with pytest.raises(UsageError, match="device is 'meta'"):
        Translator.from_pretrained(saved, device="meta")
    modes = {path.stat().st_mode for path in saved.iterdir()}
    assert len(modes) == 1  # whoever may read the configuration may read the weights
