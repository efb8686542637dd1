import copy
import dataclasses
import json
import logging
import math
import pickle

import pytest
import torch

from seq2seq import Translator
from seq2seq.config import DecodingConfig, config_from_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.evaluation import score
from seq2seq.model_card import model_card
from seq2seq.models import TranslationModel
from seq2seq.tokenizer import Tokenizer
from seq2seq.translator import MAX_BATCH_TOKENS, MAX_SOURCE_TOKENS, _batches

ENGLISH = ["a dog runs home", "the cat sleeps on the mat", "two birds sing in a tree"]
GERMAN = ["ein hund rennt heim", "die katze schläft auf der matte", "zwei vögel singen im baum"]
TEXTS = ["a dog sings", "", "the cat runs home in a tree", "birds", " \t ", "two cats on the mat"]


def make_translator(tied="target", shared=True, attention="additive", cell="lstm"):
    """Random weights: the text is nonsense, but it depends on every part."""
    values = {
        "seed": 3,
        "data": {"train": "train.{lang}", "test": "test.{lang}"},
        "tokenizer": {
            "vocab_size": 60 if shared else 40,
            "kind": "bpe",
            "shared": shared,
            "byte_fallback": False,
        },
        "model": {
            "encoder": {"layers": 1, "hidden_size": 32, "cell": cell},
            "decoder": {"hidden_size": 64, "cell": cell, "attention": attention},
            "embedding_size": 32,
            "tied_embeddings": tied,
            "init_range": 0.2,
            "dropout": 0.0,
        },
        "decoding": {"max_length_ratio": 1.0, "max_length_extra": 6, "beam_size": 3},
    }
    config = config_from_dict(values)
    sides = [ENGLISH + GERMAN] if shared else [ENGLISH, GERMAN]
    tokenizers = [Tokenizer.train(side * 3, config.tokenizer) for side in sides]
    source, target = tokenizers[0], tokenizers[-1]
    torch.manual_seed(0)
    model = TranslationModel(config.model, len(source), len(target))
    return Translator(model, source, target, config)


def learn(translator):
    """Learn the three pairs by heart."""
    source = [translator.source_tokenizer.encode(text) for text in ENGLISH]
    target = [translator.target_tokenizer.encode(text) for text in GERMAN]
    lengths = torch.tensor([len(ids) for ids in source])  # (B,)
    tokens = [torch.tensor(ids) for ids in source]
    tokens = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)  # (B, S)
    before = [torch.tensor([2, *ids]) for ids in target]
    before = torch.nn.utils.rnn.pad_sequence(before, batch_first=True)  # (B, T)
    after = [torch.tensor([*ids, 3]) for ids in target]
    after = torch.nn.utils.rnn.pad_sequence(after, batch_first=True)  # (B, T)
    model = translator.model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        logits = model.projection(model(tokens, lengths, before))  # (B, T, V)
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), after, ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return translator


@pytest.fixture(scope="module")
def translator():
    return learn(make_translator())


@pytest.fixture
def saved(translator, tmp_path):
    translator.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


# --------------------------------------------------------------------------------- translate


def test_what_was_learnt_is_translated(translator):
    assert translator.translate(ENGLISH) == GERMAN
    assert translator.translate(ENGLISH[::-1], beam_size=1) == GERMAN[::-1]


def test_one_line_for_each_text_in_order(translator):
    found = translator.translate(TEXTS)
    alone = [translator.translate([text])[0] for text in TEXTS]
    assert found == alone
    assert found[1] == found[4] == ""
    assert len({found[i] for i in (0, 2, 3, 5)}) == 4
    assert translator.translate([]) == []


@pytest.mark.parametrize("beam_size", [1, 4])
def test_same_text_whatever_the_batch(translator, beam_size):
    texts = [" ".join(ENGLISH[i % 3].split()[: 1 + i % 5]) for i in range(20)]
    expected = translator.translate(texts, beam_size=beam_size, batch_size=1)
    assert translator.translate(texts, beam_size=beam_size, batch_size=64) == expected
    assert translator.translate(texts, beam_size=beam_size, batch_size=7) == expected


def test_dropout_is_off_and_comes_back(translator):
    translator.model.dropout = 0.5
    translator.model.train()
    first = translator.translate(TEXTS)
    assert translator.translate(TEXTS) == first
    assert translator.model.training
    translator.model.eval()
    translator.model.dropout = 0.0


def test_settings_reach_the_search(translator):
    short = DecodingConfig(max_length_ratio=0, max_length_extra=2, beam_size=1)
    found = translator.translate_nbest([ENGLISH[0]], decoding=short)[0][0]
    assert len(found.tokens) <= 2
    long = DecodingConfig(min_length=6, max_length_extra=9, beam_size=1)
    found = translator.translate_nbest([ENGLISH[0]], decoding=long)[0][0]
    assert len(found.tokens) >= 6
    once = DecodingConfig(min_length=30, max_length_extra=30, beam_size=2, no_repeat_ngram=1)
    found = translator.translate_nbest([ENGLISH[0]], decoding=once, n_best=1)[0][0]
    assert len(set(found.tokens)) == len(found.tokens) >= 30


def test_n_best_is_sorted_distinct_and_scored(translator):
    found = translator.translate_nbest([ENGLISH[0], ""], beam_size=4, length_penalty=0.6)
    best, blank = found
    assert len(best) == 4
    assert len({tuple(one.tokens) for one in best}) == 4
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    for one in best:
        length = len(one.tokens) + one.finished
        penalty = ((5 + length) / 6) ** 0.6
        assert one.score == pytest.approx(one.log_probability / penalty, rel=1e-5)
        assert one.source_tokens == translator.source_tokenizer.pieces(
            translator.source_tokenizer.encode(ENGLISH[0])
        )
    assert [one.text for one in blank] == [""]
    assert translator.translate([ENGLISH[0]], beam_size=4, length_penalty=0.6) == [best[0].text]


def test_attention_covers_the_real_source_tokens(translator):
    texts = ["the cat sleeps on the mat", "a dog"]
    for found in translator.translate_nbest(texts, n_best=2, attention=True):
        for one in found:
            rows = len(one.tokens) + one.finished
            assert one.attention.shape == (rows, len(one.source_tokens))
            assert torch.allclose(one.attention.sum(1), torch.ones(rows), atol=1e-5)
    assert translator.translate_nbest(texts)[0][0].attention is None


def test_bf16_gives_nearly_the_same_scores(translator):
    full = translator.translate_nbest(ENGLISH, n_best=1)
    half = translator.translate_nbest(ENGLISH, n_best=1, precision="bf16")
    for (one,), (other,) in zip(full, half, strict=True):
        assert one.text == other.text
        assert one.log_probability != other.log_probability
        # Logits of a size of about 10, each off by some of bfloat16's steps of 2**-8.
        tolerance = 4 * 10 * 2**-8 * (len(one.tokens) + 1)
        assert one.log_probability == pytest.approx(other.log_probability, abs=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_are_those_of_the_moment(precision):
    """What is prepared for one call does not outlive it: training translates in between."""
    translator = make_translator()
    first = translator.translate(ENGLISH, precision=precision)
    other = make_translator()
    with torch.no_grad():
        for parameter in (*translator.model.parameters(), *other.model.parameters()):
            parameter.mul_(-1.5)
    second = translator.translate(ENGLISH, precision=precision)
    assert second == other.translate(ENGLISH, precision=precision)
    assert second != first


@pytest.mark.parametrize("text", ["a\0dog", "\0", "a\u2028dog", "dog\r\n", "\udcff dog", "🐕 犬"])
def test_odd_characters_give_one_line(translator, text):
    found = translator.translate([text, "a dog"])
    assert len(found) == 2
    assert all(len(line.splitlines()) <= 1 and "\0" not in line for line in found)


def test_line_breaks_spelt_in_bytes_do_not_leave_the_line(translator, monkeypatch):
    monkeypatch.setattr(
        translator.target_tokenizer, "decode_batch", lambda batch: ["a\nb\0\u2028\tc\n"]
    )
    assert translator.translate(["a dog"]) == ["a b c"]


def test_ten_thousand_words_are_cut_with_a_warning(translator, caplog):
    text = "dog " * 10_000
    limits = DecodingConfig(max_length_ratio=0.05, max_length_extra=0, beam_size=2)
    with caplog.at_level(logging.WARNING, logger="seq2seq"):
        found = translator.translate_nbest(["a dog", text], decoding=limits, first_line=41)
    assert "line 42 has " in caplog.text
    assert f"first {MAX_SOURCE_TOKENS} are translated" in caplog.text
    assert len(caplog.records) == 1
    assert len(found[1][0].source_tokens) == MAX_SOURCE_TOKENS
    assert found[1][0].text == translator.translate([text], decoding=limits)[0]


def test_batches_are_bounded_by_sentences_and_by_tokens():
    lengths = [3, 0, 1000, 7, 900, 7, 0, 2] + [5] * 100
    batches = list(_batches(lengths, batch_size=64))
    assert sorted(i for batch in batches for i in batch) == [
        i for i, length in enumerate(lengths) if length
    ]
    assert batches[0][:2] == [2, 4]
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) <= 64
        assert len(batch) == 1 or len(batch) * longest <= MAX_BATCH_TOKENS
    long = list(_batches([MAX_BATCH_TOKENS + 1] * 2, batch_size=64))
    assert long == [[0], [1]]


def test_wrong_use(translator):
    with pytest.raises(UsageError, match=r"translate\(\[text\]\)"):
        translator.translate("a dog")
    with pytest.raises(UsageError, match="text 2 is a NoneType; expected str"):
        translator.translate(["a dog", None])
    with pytest.raises(UsageError, match="beam_size is 0"):
        translator.translate(["a dog"], beam_size=0)
    with pytest.raises(UsageError, match="length_penalty is nan"):
        translator.translate(["a dog"], length_penalty=math.nan)
    with pytest.raises(UsageError, match=r"n_best is 4; expected 1 to 3"):
        translator.translate_nbest(["a dog"], n_best=4)
    with pytest.raises(UsageError, match="precision is 'fp16'"):
        translator.translate(["a dog"], precision="fp16")


def test_weights_that_are_not_numbers(saved):
    broken = Translator.from_pretrained(saved)
    with torch.no_grad():
        broken.model.projection.bias.fill_(math.nan)
    with pytest.raises(RunError, match="NaN"):
        broken.translate(["a dog"])


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
    assert "language:" not in model_card(config, 10)


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


@pytest.mark.parametrize("again", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_translator_is_copied_after_use(translator, again):
    assert translator.translate(ENGLISH, precision="bf16")
    assert translator.translate(ENGLISH) == GERMAN
    assert again(translator).translate(ENGLISH) == GERMAN
