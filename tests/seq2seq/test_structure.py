"""The rules of the house: shared rooms never import a task, tasks never import each other, the
registry names only what there is, and no file grows beyond one reading."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import seq2seq
from seq2seq import registry
from seq2seq.command_line.command import Command
from seq2seq.config import config_from_dict, config_to_dict
from seq2seq.config.training import TrainingConfig
from seq2seq.saved.pretrained import Pretrained
from seq2seq.training.task import Task

PACKAGE = Path(seq2seq.__file__).parent
TASKS = PACKAGE / "tasks"
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file of the package imports, wherever the import stands, the checks of
    type checkers left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    home = path.relative_to(PACKAGE.parent).with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_imports_are_found_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.seq2seq.test_structure.PACKAGE", tmp_path / "seq2seq")
    path = tmp_path / "seq2seq" / "room" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import a.b\nfrom c import d\nfrom .e import f\nfrom .. import g\n"
        "def inner():\n    from h import i\n"
        "if TYPE_CHECKING:\n    import j\n"
    )
    found = set(imported(path))
    assert {"a.b", "c", "c.d", "seq2seq.room.e", "seq2seq.g", "h", "h.i"} <= found
    assert "j" not in found


def test_shared_rooms_never_import_a_task():
    shared = [path for path in FILES if TASKS not in path.parents]
    assert len(shared) > 30
    for path in shared:
        wrong = [name for name in imported(path) if name.startswith("seq2seq.tasks")]
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {wrong[0]}: move what it needs"


@pytest.mark.parametrize("task", registry.TASKS)
def test_a_task_never_imports_another(task):
    own = f"seq2seq.tasks.{task}"
    for path in sorted((TASKS / task).rglob("*.py")):
        names = [name for name in imported(path) if name.startswith("seq2seq.tasks.")]
        wrong = [name for name in names if not (name + ".").startswith(own + ".")]
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {wrong[0]}: share it"


def test_every_folder_is_registered():
    folders = {path.name for path in TASKS.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(registry.TASKS)


@pytest.mark.parametrize(("name", "entry"), registry.TASKS.items())
def test_an_entry_names_what_the_shared_rooms_ask_for(name, entry):
    config = registry.load(entry.config)()
    assert config.task == name
    assert isinstance(config.training, TrainingConfig)
    assert config_from_dict(config_to_dict(config)) == config
    user = registry.load(entry.user)
    assert issubclass(user, Pretrained) and user.task == name
    assert not inspect.isabstract(user)
    training = registry.load(entry.training)
    asked = [one for one in vars(Task) if not one.startswith("_") and callable(vars(Task)[one])]
    assert len(asked) > 8
    assert not [one for one in asked if not hasattr(training, one)]
    commands = registry.load(entry.commands)
    assert all(isinstance(command, Command) for command in commands)
    assert entry.command in [command.name for command in commands]
    assert all(
        registry.load(place) is getattr(seq2seq, name) for name, place in entry.public.items()
    )


def test_type_checkers_see_every_public_name():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname for node in block.body for alias in getattr(node, "names", [])}
    assert set(seq2seq.__all__) <= seen


def test_names_of_before_are_still_there():
    before = (
        "Caption Captioned Captioner Config Generated RunError Score TextGenerator Translation "
        "Translator UsageError load_config score"
    )
    assert set(before.split()) <= set(seq2seq.__all__)
    assert seq2seq.Config is seq2seq.TranslationConfig
    assert seq2seq.__version__


def test_files_can_be_read_at_once():
    long = [path for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert not long
