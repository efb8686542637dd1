"""Models go to the hub and come back: against a hub on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from seq2seq.errors import RunError, UsageError
from tests.seq2seq.saved import fake_hub
from tests.seq2seq.saved.fake_hub import Repository
from tests.seq2seq.saved.models import make
from tests.seq2seq.saved.test_digest import model

__all__ = ["model"]  # the fixture: (user class, directory of a saved model) of every task


@pytest.fixture
def hub(monkeypatch, tmp_path_factory):
    """A hub that knows one user, whose token is in the environment."""
    from huggingface_hub import constants

    with fake_hub.running() as hub:
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        hub.tokens["hf_right"] = "ann"
        yield hub


@pytest.fixture
def one(tmp_path):
    """(user class, directory of a saved model) of one task"""
    user = make("generation")
    user.save_pretrained(tmp_path / "model")
    return type(user), tmp_path / "model"


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_model_goes_there_and_comes_back(hub, model, run):
    user, directory = model
    expected = contents(directory)
    (directory / "notes.txt").write_text("mine alone")
    status, out, err = run("push", directory, "ann/tiny", "--private", "--message", "The first")
    assert status == 0, err
    found = hub.repositories["models/ann/tiny"]
    assert out == f"{hub.url}/ann/tiny/commit/{found.sha}\n"
    assert found.private and found.messages == ["The first"]
    assert {n: c for n, c in found.files.items() if n != ".gitattributes"} == expected
    again = user.from_pretrained("ann/tiny", device="cpu")
    for name, tensor in again.model.state_dict().items():
        assert tensor.equal(user.from_pretrained(directory, device="cpu").model.state_dict()[name])
    status, _, err = run("push", directory, "ann/tiny")  # there already, and the same
    assert status == 0, err


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        ("hf_wrong", "ann/tiny", r"push ann/tiny: the hub does not know who you are; log in"),
        ("", "ann/tiny", r"push ann/tiny: the hub does not know who you are; log in"),
        ("hf_right", "bob/tiny", r"push bob/tiny: you may not write there; check the name"),
        ("hf_right", "tiny", r"push: NAME is 'tiny'; expected user/name"),
        ("hf_right", "ann/a--b", r"push ann/a--b: "),
    ],
)
def test_refusals_are_sentences(hub, one, run, monkeypatch, token, name, message):
    monkeypatch.setenv("HF_TOKEN", token)
    status, out, err = run("push", one[1], name)
    assert (status, out) == (2, "") and re.search(message, err), err
    assert err.count("\n") == 1 and "Traceback" not in err


def test_a_hub_that_fails_or_is_out_of_reach(hub, one, run, monkeypatch):
    from huggingface_hub import constants

    hub.broken = True
    status, _, err = run("push", one[1], "ann/tiny")
    assert status == 1 and "push ann/tiny: the hub answered " in err and "500" in err
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    status, _, err = run("push", one[1], "ann/tiny")
    assert status == 1 and "push ann/tiny: the hub cannot be reached (" in err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, _, err = run("push", one[1], "ann/tiny")
    assert status == 1 and "push ann/tiny: the hub cannot be reached (" in err


def test_what_is_no_model_is_not_pushed(hub, one, run, tmp_path):
    _, directory = one
    status, _, err = run("push", tmp_path / "none", "ann/tiny")
    assert status == 2 and "no such directory" in err
    (tmp_path / "empty").mkdir()
    status, _, err = run("push", tmp_path / "empty", "ann/tiny")
    assert status == 1 and "config.json is missing" in err
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    status, _, err = run("push", directory, "ann/tiny")
    assert status == 1 and "not the weights that were saved" in err
    config = directory / "config.json"
    config.write_text(config.read_text().replace('"seq2seq-', '"other-'))
    status, _, err = run("push", directory, "ann/tiny")
    assert status == 1 and "format is 'other-" in err
    assert not hub.repositories and not hub.asked


@pytest.mark.parametrize(
    ("gated", "private", "token", "revision", "message"),
    [
        (True, False, "", None, r"'gated'\); ask for access at http://127.0.0.1:\d+/bob/model"),
        (False, True, "hf_right", None, "no such model on the hub .or no access: log in"),
        (False, True, "", None, "no such model on the hub .or no access: log in"),
        (False, False, "", "v9", "there on the hub, but not in the revision"),
    ],
)
def test_models_that_cannot_be_fetched(
    hub, one, monkeypatch, gated, private, token, revision, message
):
    user, directory = one
    monkeypatch.setenv("HF_TOKEN", token)
    hub.repositories["models/bob/model"] = Repository(contents(directory), private, gated)
    with pytest.raises(UsageError, match=message):
        user.from_pretrained("bob/model", revision=revision)


def test_fetching_from_a_hub_that_fails(hub, one, monkeypatch):
    from huggingface_hub import constants

    user, directory = one
    hub.broken = True
    with pytest.raises(
        RunError, match=r"model bob/model: .*hub (answered .*500|cannot be reached)"
    ):
        user.from_pretrained("bob/model")
    hub.broken = False
    hub.repositories["models/bob/model"] = Repository(contents(directory))
    user.from_pretrained("bob/model", device="cpu")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    user.from_pretrained("bob/model", device="cpu")  # it is in the cache
    with pytest.raises(RunError, match=r"no such directory, and the hub cannot be reached"):
        user.from_pretrained("bob/other")


def test_the_endpoint_of_the_environment(hub, one):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_right"}
    command = [sys.executable, "-m", "seq2seq", "push", str(one[1]), "ann/other"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub.url}/ann/other/commit/")
    assert "models/ann/other" in hub.repositories
