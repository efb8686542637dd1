"""From made-up measurements to what ``auto`` takes."""

import json

import pytest
import torch

import kernels
from kernels import automatic, bench
from kernels.backend import resolve
from kernels.bench.deciding import decide, save

MACHINE = {"gpu": "a card", "capability": "9.0", "triton": "3.6.0", "cpu": "a processor"}


def around(median):
    return [0.99 * median, median, 1.01 * median]


def recurrent(size, triton, torch_ms, kind="LSTM", precision="bf16", steps=64, **own):
    """Rows of one case of the benchmark: the kernels' and the torch backend's."""
    case = {"kind": kind, "batch": 64, "steps": steps, "size": size, "precision": precision}
    case |= {"inputs": "whole", "ragged": False, "bidirectional": False}
    rows = [{"contender": "kernels", "error": 1e-3}, {"contender": "torch backend", "error": 1e-3}]
    for row, median in zip(rows, (triton, torch_ms), strict=True):
        row |= case | {"forward": around(median), "forward_backward": around(3 * median)}
    return [rows[0] | own, rows[1]]


def measured(*cases, **others):
    return {"machine": MACHINE, "recurrent": [row for case in cases for row in case], **others}


def ranges(table, **wanted):
    """[sizes, backend] of the entries that have what is wanted."""
    return [
        [entry["sizes"], entry["backend"]]
        for entry in table["entries"]
        if all(entry[name] == value for name, value in wanted.items())
    ]


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A made-up sm_90 card with Triton 3.6, no shipped table; -> the user's file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(automatic, "_triton_version", lambda: "3.6")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    automatic.forget()
    yield automatic.user_table()
    automatic.forget()


def prefers(size, kind="lstm", dtype="bfloat16", operation="recurrence"):
    return automatic.prefers_triton(operation, kind, dtype, size, "cuda:0")


def test_the_shipped_table_is_empty_and_says_so():
    shipped = json.loads(automatic.SHIPPED.read_text())
    assert shipped["entries"] == [] and shipped["note"].startswith("Empty: no GPU")
    assert automatic.read_entries(automatic.SHIPPED) == []


def test_neighbouring_sizes_that_are_faster_make_a_range():
    table = decide(
        [
            measured(
                recurrent(128, 2.0, 1.0),
                recurrent(512, 1.0, 4.0),
                recurrent(768, 1.0, 3.0),
                recurrent(1024, 5.0, 4.0),
            )
        ]
    )
    own = {"operation": "recurrence", "kind": "lstm", "dtype": "bfloat16"}
    expected = [[[128, 128], "torch"], [[512, 768], "triton"], [[1024, 1024], "torch"]]
    assert ranges(table, **own) == expected
    (entry,) = [e for e in table["entries"] if e["backend"] == "triton"]
    assert entry["capability"] == "9.0" and entry["triton"] == "3.6"
    assert entry["speed"] == pytest.approx(3 * 0.99 / 1.01, abs=0.01)


def test_every_case_of_a_size_must_be_faster():
    slow = recurrent(512, 1.0, 0.9)
    slow[0]["batch"] = slow[1]["batch"] = 1
    table = decide([measured(recurrent(512, 1.0, 4.0), slow)])
    assert ranges(table) == [[[512, 512], "torch"]]


def test_noise_decides_for_torch():
    table = decide([measured(recurrent(512, 1.0, 1.01))])
    assert ranges(table) == [[[512, 512], "torch"]]


def test_a_wrong_result_makes_all_sizes_torch_whatever_the_speed():
    wrong = recurrent(768, 0.01, 1.0, problem="WRONG, not timed: error 1.0")
    table = decide([measured(recurrent(512, 0.01, 1.0), wrong, recurrent(512, 1, 2, kind="GRU"))])
    assert ranges(table, kind="lstm") == [[[512, 768], "torch"]]
    assert ranges(table, kind="gru") == [[[512, 512], "triton"]]


def test_a_wrong_schedule_counts_and_a_wrong_peer_does_not():
    rows = recurrent(512, 0.5, 1.0)
    persistent = rows[0] | {"contender": "kernels persistent", "problem": "WRONG, not timed"}
    assert ranges(decide([measured([*rows, persistent])])) == [[[512, 512], "torch"]]
    peer = rows[0] | {"contender": "torch.nn", "problem": "WRONG, not timed"}
    assert ranges(decide([measured([*rows, peer])])) == [[[512, 512], "triton"]]


def test_what_did_not_run_is_torch_at_its_size_alone():
    lost = recurrent(1024, 0.5, 1.0, problem="not run: out of memory")
    table = decide([measured(recurrent(512, 0.5, 1.0), lost)])
    assert ranges(table) == [[[512, 512], "triton"], [[1024, 1024], "torch"]]


def test_dtypes_and_single_steps_are_apart_and_tf32_is_none():
    table = decide(
        [
            measured(
                recurrent(512, 0.5, 1.0, precision="fp16"),
                recurrent(512, 2.0, 1.0, steps=1),
                recurrent(512, 0.5, 1.0, precision="tf32"),
            )
        ]
    )
    found = {(e["kind"], e["dtype"], e["backend"]) for e in table["entries"]}
    assert found == {("lstm", "float16", "triton"), ("lstm, one step", "bfloat16", "torch")}


def test_all_operations_are_read_by_the_names_they_resolve_under():
    def pair(names, keys, **case):
        return [
            case | {"contender": name, "error": 0.0} | {key: around(ms) for key in keys}
            for name, ms in zip(names, (1.0, 2.0), strict=True)
        ]

    both, bf16 = ("forward", "forward_backward"), {"dtype": "bfloat16", "size": 512}
    table = decide(
        [
            measured(
                attention=pair(
                    ("kernels", "torch backend"), both, form="additive", precision="bf16", size=512
                ),
                decoder=pair(("kernels", "torch backend"), both, fed=True, **bf16)
                + pair(("kernels", "torch backend"), both, fed=False, **bf16),
                step=pair(("kernels", "operators"), ("step",), **bf16),
                loss=pair(("kernels triton", "kernels torch"), ("forward_backward",), **bf16),
            )
        ]
    )
    found = {(e["operation"], e["kind"], e["backend"]) for e in table["entries"]}
    assert found == {
        ("additive_attention", "", "triton"),
        ("attention_decoder", "lstm", "triton"),
        ("prepared_step", "lstm", "triton"),
        ("linear_cross_entropy", "", "triton"),
    }


def test_measurements_of_a_cpu_are_refused():
    with pytest.raises(ValueError, match=r"of a processor; expected those of a GPU"):
        decide([{"machine": MACHINE | {"gpu": None}, "recurrent": []}])


def test_auto_follows_the_users_table(card):
    assert not prefers(512)
    save(decide([measured(recurrent(512, 0.5, 1.0), recurrent(768, 0.5, 1.0))]), card)
    assert not prefers(512)  # read once in a process
    automatic.forget()
    assert [prefers(size) for size in (511, 512, 600, 768, 769)] == [False, True, True, True, False]
    assert not prefers(512, kind="gru") and not prefers(512, dtype="float16")
    assert not prefers(512, operation="attention_decoder")


@pytest.mark.parametrize(
    ("name", "value"), [("capability", "8.0"), ("triton", "3.7"), ("backend", "torch")]
)
def test_another_card_or_version_is_torch(card, name, value):
    table = decide([measured(recurrent(512, 0.5, 1.0))])
    table["entries"][0][name] = value
    save(table, card)
    automatic.forget()
    assert not prefers(512)


def test_a_new_measurement_replaces_that_card_and_keeps_the_others(card):
    old = decide([measured(recurrent(512, 0.5, 1.0))])
    other = decide([measured(recurrent(512, 0.5, 1.0))])
    other["entries"][0]["capability"] = "8.0"
    for table in (old, other, decide([measured(recurrent(512, 2.0, 1.0))])):
        save(table, card)
    entries = automatic.read_entries(card)
    assert [(e["capability"], e["backend"]) for e in entries] == [
        ("8.0", "triton"),
        ("9.0", "torch"),
    ]


def test_a_users_measurement_goes_before_the_shipped_one(card, monkeypatch, tmp_path):
    shipped = tmp_path / "shipped.json"
    monkeypatch.setattr(automatic, "SHIPPED", shipped)
    save(
        decide([measured(recurrent(512, 0.5, 1.0), recurrent(512, 0.5, 1.0, kind="GRU"))]), shipped
    )
    automatic.forget()
    assert prefers(512) and prefers(512, kind="gru")
    save(decide([measured(recurrent(512, 2.0, 1.0))]), card)
    automatic.forget()
    assert not prefers(512) and not prefers(512, kind="gru")


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"format": 2, "entries": []}', '{"format": 1, "entries": [{}]}']
)
def test_a_broken_table_is_named_and_means_torch(card, text):
    card.parent.mkdir(parents=True)
    card.write_text(text)
    automatic.forget()
    with pytest.warns(UserWarning, match=r"auto\.json is no table.*kernels\.bench --save"):
        assert not prefers(512)


@pytest.mark.parametrize(
    ("platform", "variable", "inside"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache"),
        ("darwin", None, "Library/Caches"),
        ("win32", "LOCALAPPDATA", "AppData/Local"),
    ],
)
def test_the_users_table_lies_where_the_platform_keeps_caches(
    platform, variable, inside, monkeypatch, tmp_path
):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    own = "recurrent-seq2seq/auto.json"
    assert automatic.user_table() == tmp_path / inside / own
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
        assert automatic.user_table() == tmp_path / "elsewhere" / own


class OnCuda:
    """Stands in for a tensor on a GPU."""

    device, dtype = torch.device("cuda:0"), torch.bfloat16


def test_resolve_asks_the_table_and_a_choice_overrides_it(card, monkeypatch):
    monkeypatch.delenv("KERNELS_BACKEND", raising=False)
    save(decide([measured(recurrent(512, 0.5, 1.0))]), card)
    automatic.forget()

    def chosen(**asked):
        return resolve(
            "recurrence", OnCuda(), **{"triton": True, "kind": "lstm", "size": 512} | asked
        )

    assert chosen() == "triton"
    assert chosen(size=513) == chosen(kind="gru") == chosen(triton=False) == "torch"
    assert chosen(product=torch.float32) == "torch" and chosen(size=0) == "torch"
    assert chosen(decided="torch") == "torch"
    with kernels.use_backend("torch"):
        assert chosen() == "torch"
    OnCuda.dtype = torch.float64
    try:
        assert chosen() == "torch"
    finally:
        OnCuda.dtype = torch.bfloat16
    # never on a CPU, whatever the table says
    assert resolve("recurrence", torch.zeros(1), triton=True, kind="lstm", size=512) == "torch"


def test_torch_compile_takes_the_choice_as_a_constant(card):
    """The choice is made while compiling; no graph break."""

    @torch.compile(fullgraph=True, backend="eager")
    def called(x):
        backend = resolve("recurrence", x, triton=True, kind="lstm", size=x.size(1))
        return x + 1 if backend == "torch" else x

    assert called(torch.zeros(2, 8)).eq(1).all()


def test_save_needs_a_gpu_and_operations_are_checked(capsys):
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit):
            bench.main(["--save"])
        assert "--save: no NVIDIA GPU was found" in capsys.readouterr().err
    for arguments, said in (([], "no operation was named"), (["recurrrent"], "'recurrrent'")):
        with pytest.raises(SystemExit):
            bench.main(arguments)
        assert said in capsys.readouterr().err


def test_save_writes_the_users_table_and_says_what_auto_takes(card, capsys, monkeypatch):
    monkeypatch.setattr(bench, "machine", lambda: MACHINE)
    bench._save({"recurrent": recurrent(512, 0.5, 1.0)})
    printed = capsys.readouterr().out
    assert str(card) in printed and "recurrence lstm, bfloat16, sizes 512 to 512: triton" in printed
    assert prefers(512)  # at once
