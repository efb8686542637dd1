"""The saved model as its user holds it, from Python and from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from seq2seq import Classifier, RunError, UsageError
from tests.seq2seq.tasks.classification.conftest import sentences, series_settings

LINES = ["the plot was lovely", "", "a film was dull", "not great", "an unheard thing"]


@pytest.fixture(scope="module")
def classifier(model):
    return Classifier.from_pretrained(model, device="cpu")


def test_one_input_or_many_and_each_as_if_alone(classifier):
    many = classifier.classify(LINES, explain=True, batch_size=3)
    assert [one.label for one in many[:1] + many[2:4]] == ["good", "bad", "bad"]
    for line, answer in zip(LINES, many, strict=True):
        alone = classifier.classify(line, explain=True)
        assert alone.label == answer.label
        # float32 sums of another order: a thousand roundings of 6e-8 at most
        assert alone.probability == pytest.approx(answer.probability, abs=1e-4)
        assert sum(p for _, p in answer.ranking) == pytest.approx(1)
        assert [word for word, _ in answer.explanation] == line.split()
        if line:
            assert sum(share for _, share in answer.explanation) == pytest.approx(1, abs=1e-5)
    assert classifier.classify([]) == [] and classifier.classify(LINES[:1])[0].explanation is None


def test_wrong_inputs(classifier):
    with pytest.raises(UsageError, match="input 2 is int; this model reads text"):
        classifier.classify(["a", 5])
    with pytest.raises(UsageError, match="batch_size is 0"):
        classifier.classify("a", batch_size=0)
    with pytest.raises(UsageError, match="threshold is 2"):
        classifier.classify("a", threshold=2)
    with pytest.raises(UsageError, match="precision is 'fp8'"):
        classifier.classify("a", precision="fp8")
    held = classifier.config.model.pooling
    classifier.config.model.pooling = ["max"]
    try:
        with pytest.raises(UsageError, match="no attention to show"):
            classifier.classify("a", explain=True)
    finally:
        classifier.config.model.pooling = held


def test_damaged_models(model, tmp_path):
    for name in ("config.json", "units.json", "model.safetensors"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "labels": ["a", "b", "c"]}))
    (tmp_path / "config.json").write_text(json.dumps({**values, "shape": {"units": 3}}))
    with pytest.raises(RunError, match="'shape' is damaged"):
        Classifier.from_pretrained(tmp_path)
    shape = {**values["shape"], "units": 5}
    (tmp_path / "config.json").write_text(json.dumps({**values, "shape": shape}))
    with pytest.raises(RunError, match="pieces, but the weights were trained with 5"):
        Classifier.from_pretrained(tmp_path)
    (tmp_path / "units.json").unlink()
    with pytest.raises(RunError, match=r"units\.json is missing"):
        Classifier.from_pretrained(tmp_path)


def test_classify_command(run, model, tmp_path, classifier):
    text = "\n".join(LINES) + "\n"
    status, out, err = run("classify", model, stdin=text.encode())
    assert status == 0, err
    answers = classifier.classify(LINES)
    expected = [f"{one.label}\t{one.probability:.4f}" for one in answers]
    assert out.splitlines() == expected
    (tmp_path / "lines.txt").write_text(text)
    status, out, _ = run("classify", model, tmp_path / "lines.txt", "--top", "2")
    assert status == 0 and [len(line.split("\t")) for line in out.splitlines()] == [4] * 5
    options = ("--json", "--explain", "--output", tmp_path / "out.jsonl")
    assert run("classify", model, tmp_path / "lines.txt", *options)[0] == 0
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [one["label"] for one in objects] == [one.label for one in answers]
    assert [word for word, _ in objects[0]["explanation"]] == LINES[0].split()
    status, out, _ = run("classify", model, "--json", "--top", "1", stdin=text.encode())
    assert [len(json.loads(line)["labels"]) for line in out.splitlines()] == [1] * 5
    (tmp_path / "lines.csv").write_text("n,text\n" + "".join(f'1,"{x}"\n' for x in LINES))
    status, out, err = run("classify", model, tmp_path / "lines.csv", "--format", "csv")
    assert (status, out.splitlines(), err) == (0, expected, "")
    status, out, _ = run(
        "classify", model, "--format", "jsonl",
        stdin="".join(json.dumps({"text": x}) + "\n" for x in LINES).encode(),
    )  # fmt: skip
    assert out.splitlines() == expected
    status, out, err = run("classify", model, tmp_path / "lines.csv")
    assert (status, len(out.splitlines())) == (0, 6)
    assert "lines.csv: each line is read as a text; --format csv reads a table" in err
    status, _, err = run("classify", model, "--threshold", "0.5", stdin=b"a")
    assert status == 2 and "--threshold is of models that give several labels" in err
    status, _, err = run("classify", model, tmp_path / "none.txt")
    assert status == 2 and "none.txt: no such file" in err


def test_explanations_are_drawn(run, model, tmp_path):
    pytest.importorskip("matplotlib")
    status, out, err = run(
        "classify",
        model,
        "--explain",
        "--plot",
        tmp_path / "words.png",
        stdin=b"the plot was dull\n",
    )
    assert status == 0, err
    shares = dict(pair.rsplit(":", 1) for pair in out.split("\t")[2].split())
    assert sorted(shares) == ["dull", "plot", "the", "was"]
    assert list(map(float, shares.values())) == sorted(map(float, shares.values()), reverse=True)
    assert (tmp_path / "words.png").stat().st_size > 1000
    assert run("classify", model, "--plot", tmp_path / "none.png", stdin=b"")[0] == 2


def test_evaluate_command(run, model, tmp_path):
    rows = sentences(50, 9)
    path = tmp_path / "new.csv"  # another form than that of training
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    status, out, err = run("evaluate-classes", model, path, "--json")
    assert status == 0 and "50 inputs" in err
    found = json.loads(out)
    assert found["examples"] == 50 and found["scores"]["accuracy"] > 0.9
    status, out, _ = run("evaluate-classes", model, path)
    assert status == 0 and "accuracy" in out and "true labels (rows)" in out
    arguments = ("evaluate-classes", model, path, "--batch-size", 1, "--output", tmp_path / "a.tsv")
    assert run(*arguments)[1] == out
    lines = [line.split("\t") for line in (tmp_path / "a.tsv").read_text().splitlines()]
    assert lines[0] == ["place", "truth", "bad", "good"] and len(lines) == 51
    right = [(float(bad) < float(good)) == (truth == "good") for _, truth, bad, good in lines[1:]]
    assert sum(right) / 50 == found["scores"]["accuracy"]
    path.write_text("label,text\ngood,a\nodd,b\n")
    status, _, err = run("evaluate-classes", model, path)
    assert status == 2 and "line 3: label 'odd' is none of the training set" in err


def test_series_and_images_on_the_command_line(run, tmp_path, texts):
    from tests.seq2seq.tasks.classification.conftest import series_settings, write_npz

    write_npz(tmp_path / "train.npz", 20, 1, irregular=False)
    values = series_settings(tmp_path, tmp_path / "run", False, max_steps=2, validate_every=2)
    values["data"] |= {"validation_share": 0.5, "bin": 2.0}
    (tmp_path / "run.yaml").write_text(json.dumps(values))
    assert run("train", tmp_path / "run.yaml", "--quiet")[0] == 0
    model = tmp_path / "run" / "model"
    np.savez(tmp_path / "wide.npz", values=np.zeros((2, 3, 5)), labels=["slow", "fast"])
    status, _, err = run("evaluate-classes", model, tmp_path / "wide.npz")
    assert status == 2 and "5 features and 0 static ones; this model reads 2 and 2" in err
    status, out, err = run("evaluate-classes", model, tmp_path / "train.npz")
    assert status == 0 and "20 inputs" in err
    status, out, err = run("classify", model, tmp_path / "train.npz")
    assert status == 0 and len(out.splitlines()) == 20, err
    line = b'{"values": [[1, 2], [3, 4]], "static": [1, 1]}\n'
    (tmp_path / "one.jsonl").write_bytes(line)
    binned = run("classify", model, tmp_path / "one.jsonl", "--json")[1]
    status, out, err = run("classify", model, "--json", stdin=line + b"\n")
    assert out == binned, err  # standard input is put into bins, too; an empty line is no series
    status, out, err = run("classify", model, stdin=line)
    assert status == 0 and out.split("\t")[0] in ("slow", "fast"), err
    status, _, err = run("classify", model, stdin=b'{"values": [[1], [3]], "static": [1, 1]}\n')
    assert status == 2 and "this model reads 2 and 2" in err
    status, _, err = run("classify", model, stdin=b"{}\n")
    assert status == 2 and "standard input, line 1: expected an object with 'values'" in err


def test_a_saved_model_reads_features_by_name_and_says_what_it_does_not_read(run, tmp_path):
    rows = [(n, t, (n % 2) + t / 10, n / 7) for n in range(12) for t in range(3)]
    head, label = "id,time,x,y,label\n", ("no", "yes")
    lines = [f"{n},{t},{x:.3f},{y:.3f},{label[n % 2]}\n" for n, t, x, y in rows]
    (tmp_path / "train.csv").write_text(head + "".join(lines))
    values = series_settings(tmp_path, tmp_path / "run", False, max_steps=4, validate_every=4)
    values["data"] |= {"train": str(tmp_path / "train.csv"), "scale": "ranks"}
    values["model"] |= {"summary": True, "summary_curves": "fine"}
    (tmp_path / "run.yaml").write_text(json.dumps(values))
    status, _, err = run("train", tmp_path / "run.yaml", "--quiet")
    assert status == 0, err
    model = tmp_path / "run" / "model"
    expected = run("classify", model, tmp_path / "train.csv", "--json")[1]
    moved = [f"{y:.3f},{t},{x:.3f},{n}\n" for n, t, x, y in rows]
    (tmp_path / "new.csv").write_text("y,time,x,id\n" + "".join(moved))
    status, out, err = run("classify", model, tmp_path / "new.csv", "--json")
    assert status == 0 and out == expected and len(out.splitlines()) == 12, err
    (tmp_path / "new.csv").write_text("id,time,x,pulse\n0,0,1,2\n")
    status, _, err = run("classify", model, tmp_path / "new.csv")
    assert status == 2 and "no feature 'y'; 'pulse' was not in training" in err
    (tmp_path / "new.csv").write_text("id,time,x,y\n0,0,1,2\n0,1,1,2\n0,5,1,2\n")
    status, _, err = run("classify", model, tmp_path / "new.csv")
    assert status == 0 and "its times are not even" in err
    assert "not even" not in run("classify", model, tmp_path / "train.csv")[2]
    saved = json.loads((model / "config.json").read_text())
    assert saved["features"] == ["x", "y"]
    del saved["features"], saved["static_features"]  # as versions before saved it: by order
    (model / "config.json").write_text(json.dumps(saved))
    assert run("classify", model, tmp_path / "train.csv", "--json")[1] == expected


def test_images_on_the_command_line(run, tmp_path):
    from PIL import Image

    draw = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 150)):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(6):
            pixels = draw.integers(low, low + 100, (4, 4)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / label / f"{number}.png")
    values = {
        "task": "classification", "output": str(tmp_path / "run"),
        "data": {"kind": "image", "train": str(tmp_path / "train"), "image": {"size": 4},
                 "validation_share": 0.34, "batch_size": 4},
        "model": {"encoder": {"hidden_size": 8}},
        "training": {"max_steps": 40, "learning_rate": 0.02, "threads": 1, "device": "cpu",
                     "precision": "fp32"},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(json.dumps(values))
    status, _, err = run("train", tmp_path / "run.yaml", "--quiet")
    assert status == 0, err
    model, image = tmp_path / "run" / "model", tmp_path / "train" / "light" / "0.png"
    status, out, err = run("classify", model, image, tmp_path / "train" / "dark")
    assert status == 0, err
    assert [line.split("\t")[0] for line in out.splitlines()] == ["light"] + ["dark"] * 6
    bad = tmp_path / "train" / "dark" / "3.png"
    bad.write_bytes(b"no image")
    names = f"{image}\n{tmp_path / 'none.png'}\n"
    for arguments, stdin, good in (
        ((tmp_path / "train" / "dark",), b"", [True] * 3 + [False] + [True] * 2),
        ((bad, image), b"", [False, True]),
        ((), names.encode(), [True, False]),
    ):
        status, out, err = run("classify", model, *arguments, stdin=stdin)
        assert status == 1 and [bool(line) for line in out.splitlines()] == good and ".png" in err
        status, out, _ = run("classify", model, *arguments, "--json", stdin=stdin)
        assert ["label" in json.loads(line) for line in out.splitlines()] == good
    status, _, err = run("classify", model, image, "--format", "csv")
    assert status == 2 and "--format is of text; this model reads image" in err
    classifier = Classifier.from_pretrained(model, device="cpu")
    assert classifier.classify(Image.open(image)).label == "light"
    assert classifier.classify(np.full((4, 4), 10, np.uint8)).label == "dark"
    with pytest.raises(UsageError, match=r"an array \(4, 4, 3\) of uint8; expected uint8 of shape"):
        classifier.classify(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UsageError, match=r"expected uint8 of shape \(4, 4\)"):
        classifier.classify(np.zeros((4, 4)))
    assert torch.isfinite(classifier.model.output.weight).all()
