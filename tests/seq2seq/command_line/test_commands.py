"""The commands of all tasks: data, demo, init, completion, and the keys that train lists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import seq2seq
from seq2seq import registry
from seq2seq.command_line.overrides import dotted
from seq2seq.config import config_to_dict, load_config
from seq2seq.environment import check_kernels
from seq2seq.errors import UsageError
from seq2seq.recipes_folder import recipes_folder
from tests.seq2seq.running import heavy_modules_after

ROOT = Path(seq2seq.__file__).parent.parent


def test_train_lists_every_key_of_every_task(run):
    status, out, _ = run("train", "--help")
    assert status == 0
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("    --")}
    for task in registry.TASKS.values():
        keys = {f"--{key}" for key, _ in dotted(config_to_dict(registry.load(task.config)()))}
        assert keys - {"--task"} <= listed
    assert any(line.split() == ["--training.max_steps", "null"] for line in out.splitlines())


@pytest.mark.parametrize("task", registry.TASKS)
def test_init_copies_a_configuration_that_explains_every_key(run, tmp_path, task):
    status, out, _ = run("init", task, "--output", tmp_path)
    assert status == 0
    recipe, guide = (Path(line) for line in out.splitlines())
    assert recipe.parent == guide.parent == tmp_path
    config = load_config(recipe)
    assert config.task == task
    written = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    assert {key for key, _ in dotted(written)} == {key for key, _ in dotted(config_to_dict(config))}
    assert f"recipes/{task}" not in recipe.read_text(encoding="utf-8").split("\n\n")[0]
    text = guide.read_text(encoding="utf-8")
    for command in ("demo", "data", "train", registry.TASKS[task].command):
        assert f"seq2seq {command}" in text
    assert recipe.name in text
    status, _, err = run("init", task, "--output", tmp_path)
    assert status == 2 and "is there already" in err
    status, _, err = run("init", task, "--output", recipe)
    assert status == 2 and f"{recipe} is a file; expected a folder" in err


@pytest.mark.parametrize("task", registry.TASKS)
def test_every_task_has_a_demo_that_takes_options(task, run, monkeypatch):
    monkeypatch.chdir("/")  # it is found from anywhere
    path = [one for one in sys.path if Path(one).resolve().parent != ROOT / "recipes"]
    monkeypatch.setattr(sys, "path", path)  # pytest's own: a demo's modules lie beside it
    status, out, err = run("demo", task, "--help")
    assert status == 0 and f"usage: seq2seq demo {task}" in out and "--output" in out, err


def test_a_demo_ends_with_its_own_status(run, tmp_path, monkeypatch):
    folder = tmp_path / "translation"
    folder.mkdir()
    (folder / "beside.py").write_text("VALUE = 3\n")
    (folder / "demo.py").write_text(
        "import sys, beside\nprint(sys.argv[1:])\nsys.exit(beside.VALUE)\n"
    )
    monkeypatch.setattr("seq2seq.recipes_folder.recipes_folder", lambda: tmp_path)
    before = list(sys.path)
    assert run("demo", "translation", "--small", "x")[:2] == (3, "['--small', 'x']\n")
    assert sys.path == before


def test_recipes_of_a_clone_are_found():
    assert (recipes_folder() / "translation" / "multi30k.yaml").is_file()


def test_data_lists_and_brings(run, tmp_path, monkeypatch):
    status, out, _ = run("data")
    assert status == 0 and "multi30k" in out and "to be brought by hand" in out
    monkeypatch.delenv("SEQ2SEQ_DATA", raising=False)
    status, out, err = run("data", "flickr8k", "--output", tmp_path)
    assert (status, out) == (2, "") and "Put its files into" in err
    (tmp_path / "from" / "ptb").mkdir(parents=True)
    (tmp_path / "from" / "ptb" / "train.txt").write_text("a b\n")
    monkeypatch.setenv("SEQ2SEQ_DATA", str(tmp_path / "from"))
    status, out, _ = run("data", "ptb", "--output", tmp_path / "data")
    assert (status, out) == (0, f"{tmp_path / 'data' / 'ptb'}\n")


def test_missing_data_is_answered_with_the_command(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for task, name in (("translation", "multi30k"), ("generation", "tinyshakespeare"),
                       ("captioning", "flickr8k")):  # fmt: skip
        recipe = recipes_folder() / task / f"{registry.TASKS[task].recipe}.yaml"
        status, _, err = run("train", recipe, "--output", tmp_path / task)
        assert status == 2
        assert err.rstrip().endswith(f"fetch it with: seq2seq data {name}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completions_name_commands_and_options(run, shell):
    status, out, _ = run("completion", shell)
    assert status == 0
    assert "translate" in out and "beam-size" in out


@pytest.mark.parametrize("arguments", [["data"], ["init", "--help"], ["demo", "--help"]])
def test_nothing_heavy_is_imported(arguments):
    assert heavy_modules_after(*arguments) == "0 []"


def test_another_package_named_kernels_is_named(tmp_path, monkeypatch):
    check_kernels()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("from kernels.hub import get_kernel\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "seq2seq"]
    done = subprocess.run(
        [*command, "translate", "model"], capture_output=True, text=True, env=environment, cwd="/"
    )
    assert done.returncode == 2
    assert "belongs to another package" in done.stderr and "pip uninstall kernels" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run([*command, "--help"], capture_output=True, env=environment, cwd="/")
    assert done.returncode == 0
    code = "import seq2seq\ntry: seq2seq.Translator\nexcept Exception: print('named')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/"
    )
    assert done.stdout == "named\n"


def test_kernels_that_are_not_there(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="is not installed"):
        check_kernels()
