"""The benchmark: what it measures, what it writes, how it treats peers that hang, and what it compares."""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxinv.__main__ import main
from jaxinv._cli.bench import compare, document, options, peers, plot, report, suite, worker, workers
from jaxinv._cli.bench.suite import Case
from jaxinv._cli.bench.workers import Cell
from jaxinv._cli.output import PlainOutput

_CASE = Case("inv", "inv", 3, "float32", 4, 16.0)

# A worker that answers as it was told to: one character a request.
_SCRIPT = """
import json, sys, time
print(json.dumps({"versions": {}}), flush=True)
for line, deed in zip(sys.stdin, sys.argv[1]):
    if deed == "s":
        time.sleep(60)
    if deed == "x":
        sys.exit("out of memory")
    if deed == "e":
        answer = {"error": "LinAlgError: singular"}
    else:
        answer = {"peak": None} if "case" in json.loads(line) else {"seconds": [1.0], "cpu": 1, "wall": 0.5}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def deeds(monkeypatch):
    """Workers that answer (a), sleep (s), exit (x) or report an error (e), by peer; a again afterwards."""

    def install(**by_peer):
        def command(peer, portable):
            return [sys.executable, "-S", "-c", _SCRIPT, by_peer.pop(peer, "a" * 99)]

        monkeypatch.setattr(workers, "command", command)

    return install


def arguments(*extra):
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return parser.parse_args(extra)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", (3,)), ("1-4,32", (1, 2, 3, 4, 32)), ("64,5-5,64", (5, 64)), ("007", (7,))],
)
def test_sizes(text, expected):
    assert options.sizes(text) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--sizes", "1,0"], "argument --sizes: expected sizes of 1 or more such as 1-16,32, got '0'"),
        (["--sizes", "8-4"], "argument --sizes: expected sizes of 1 or more such as 1-16,32, got '8-4'"),
        (["--sizes", ""], "argument --sizes: expected sizes of 1 or more such as 1-16,32, got ''"),
        (["--dtypes", "float32,int8"], "argument --dtypes: expected names of float16, bfloat16"),
        (["--megabytes", "16,-1"], "argument --megabytes: expected a number above 0, got '-1'"),
        (["--megabytes", "inf"], "argument --megabytes: expected a number above 0, got 'inf'"),
        (
            ["--peers", "jaxinv,octave"],
            "adjugate, numpy, torch, torch-ex, cupy, cublas, mlx, mlx-gpu, got 'octave'",
        ),
        (["--rounds", "0"], "argument --rounds: expected a number of 1 or more, got '0'"),
        (["--timeout", "soon"], "argument --timeout: expected a number above 0, got 'soon'"),
        (["--output", "no/such/folder"], "argument --output: no folder 'no/such/folder'"),
        (["--suite", "svd"], "argument --suite: invalid choice: 'svd'"),
        (["--compare", "no-such.json"], "argument --compare: 'no-such.json' cannot be read"),
    ],
)
def test_usage_errors(given, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(["bench", *given])
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


def test_peers_that_are_not_installed_are_refused(monkeypatch):
    monkeypatch.setitem(peers.PEERS, "torch", peers.PEERS["torch"]._replace(module="no_such_module"))
    with pytest.raises(argparse.ArgumentTypeError, match="'torch' is not installed"):
        options.peers("jaxinv,torch")


@pytest.mark.parametrize("text", ('{"schema": 0}', "[]", "nonsense"))
def test_other_files_are_no_old_run(text, tmp_path):
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(argparse.ArgumentTypeError, match=r"old\.json"):
        options.old_run(str(path))


def test_plan():
    cases = suite.plan(arguments("--sizes", "3,64", "--megabytes", "0.001,0.01,1", "--dtypes", "float64"))
    # 64 × 64 float64 is 32 KB: two of the sizes come to one matrix.
    assert [(c.n, c.batch, c.megabytes) for c in cases] == [
        (3, 14, 0.001),
        (3, 145, 0.01),
        (3, 14563, 1),
        (64, 1, 0.01),
        (64, 32, 1),
    ]
    assert {(c.suite, c.mode, c.dtype) for c in cases} == {("inv", "inv", "float64")}


def test_plan_of_the_suites():
    assert {c.n for c in suite.plan(arguments())} == {3, 4, 8, 16, 32, 64, 128, 256, 512}
    full = suite.plan(arguments("--full"))
    assert max(c.n for c in full) == 2048 and max(c.megabytes for c in full) == 128
    assert len({(c.n, c.dtype, c.batch) for c in full}) == len(full)
    assert {c.suite for c in suite.plan(arguments("--suite", "all"))} == {"inv", "grad", "latency", "loss"}
    assert suite.plan(arguments("--suite", "accuracy")) == []
    latency = suite.plan(arguments("--suite", "latency"))
    assert [c.batch for c in latency if c.mode == "inv"] == [1, 16, 256, 1024, 8192, 32768]
    assert [c.asked for c in latency if c.asked] == [1.3]
    assert suite.plan(arguments("--suite", "mlx-1238")) == [c for c in latency if c.mode == "inv"]


@pytest.mark.parametrize(
    ("n", "mode", "megabytes", "dtype", "yardstick", "asked"),
    [
        (3, "inv", 16, "float32", "copy", 0.7),
        (5, "inv", 128, "float64", "copy", 0.5),
        (16, "inv", 16, "float32", "copy", 0.4),
        (17, "inv", 16, "float32", "product", 0.25),
        (2048, "inv", 16, "float32", "product", 0.6),
        (2049, "inv", 16, "float32", "product", None),
        (3, "inv", 4, "float32", "copy", None),
        (3, "inv", 16, "complex64", "copy", None),
        (8, "grad", 16, "float32", "copy", 0.6),
        (9, "grad", 16, "float32", "copy", None),
    ],
)
def test_what_is_asked(n, mode, megabytes, dtype, yardstick, asked):
    case = Case(mode, mode, n, dtype, 1, megabytes)
    assert (case.yardstick, case.asked) == (yardstick, asked)


def test_work_in_units_of_the_yardstick():
    assert Case("inv", "inv", 3, "float32", 7, 16).work == 1
    assert Case("grad", "grad", 3, "float32", 7, 16).work == 2.5
    assert Case("inv", "inv", 1024, "float32", 7, 16).work == 7
    assert Case("inv", "inv", 1024, "float64", 7, 16).work == 14
    assert Case("grad", "grad", 1024, "complex64", 1, 16).work == 12


@pytest.mark.parametrize("n", (1, 2, 3, 4))
def test_adjugate_inverse(n):
    a = np.random.default_rng(n).normal(size=(5, n, n))
    np.testing.assert_allclose(jax.jit(peers.adjugate_inverse)(a), np.linalg.inv(a), rtol=1e-9)


def test_a_real_run(path, tmp_path, capsys):
    given = ["bench", "--sizes", "3", "--megabytes", "0.01", "--peers", "jaxinv,numpy", "--rounds", "1"]
    given += ["--output", str(tmp_path)] + ["--portable"] * (path == "portable")
    assert main(given) == 0
    text = capsys.readouterr().out
    assert ("native kernels" if path == "native" else "portable path") in text.splitlines()[0]
    run = json.loads((tmp_path / document.NAME).read_text())
    assert run["schema"] == document.SCHEMA
    assert run["machine"]["cores"] == os.cpu_count()
    assert run["versions"]["jax"] == jax.__version__
    assert len(run["load_average"]) == 2
    assert {c["mode"] for c in run["yardsticks"]} == {"copy", "memcpy", "add", "product"}
    cells = {c["peer"]: c for c in run["cells"]}
    assert set(cells) == {"yardsticks", "jaxinv", "numpy"}
    for name in ("jaxinv", "numpy"):
        cell = cells[name]
        assert (cell["status"], cell["n"], cell["dtype"], cell["batch"]) == ("ok", 3, "float32", 291)
        assert 0 < cell["lower"] <= cell["median"] <= cell["upper"]
        assert cell["repetitions"] >= 1 and cell["cpu_per_wall"] > 0
    if path == "native":
        assert cells["yardsticks"]["status"] == "ok" and "% copy" in text
        if plot.make_figure() is not None:
            assert "<svg" in (tmp_path / "jaxinv-bench-inv-float32.svg").read_text(encoding="utf-8")


def measured(deeds_of_peers, install, rounds=2, timeout=0.5):
    install(**deeds_of_peers)
    with workers.running(list(deeds_of_peers), portable=False) as started:
        first = workers.measure(_CASE, started, rounds, timeout)
        second = workers.measure(_CASE, started, rounds, timeout=20)
    return first, second


def test_a_worker_that_hangs_is_killed_and_started_again(deeds):
    begin = time.monotonic()
    first, second = measured({"jnp": "s", "torch": "aas", "numpy": "a" * 99}, deeds)
    assert time.monotonic() - begin < 10
    assert [(c.peer, c.status) for c in first] == [("jnp", "timeout"), ("torch", "timeout"), ("numpy", "ok")]
    assert first[0].message == "no answer within 0.5 s" and first[0].median is None
    assert first[2] == Cell(_CASE, "numpy", "ok", "", 1.0, 1.0, 1.0, 2, 2.0)
    assert [c.status for c in second] == ["ok"] * 3


def test_failures_of_a_peer_are_recorded(deeds):
    first, second = measured({"jnp": "e" + "a" * 9, "torch": "ax", "numpy": "a" * 99}, deeds, timeout=20)
    assert [c.status for c in first] == ["error", "error", "ok"]
    assert first[0].message == "LinAlgError: singular"
    assert first[1].message == "ended with status 1: out of memory"
    assert [c.status for c in second] == ["ok"] * 3


def test_larger_batches_are_skipped_after_a_timeout(portable, deeds, tmp_path, capsys):
    deeds(jaxinv="s")
    given = ["bench", "--sizes", "3,4", "--megabytes", "1,2", "--peers", "jaxinv,numpy", "--rounds", "1"]
    assert main([*given, "--timeout", "0.5", "--portable", "--output", str(tmp_path)]) == 1
    run = json.loads((tmp_path / document.NAME).read_text())
    assert [(c["n"], c["megabytes"], c["status"]) for c in run["cells"] if c["peer"] == "jaxinv"] == [
        (3, 1, "timeout"),
        (3, 2, "skipped"),
        (4, 1, "ok"),
        (4, 2, "ok"),
    ]
    assert "jaxinv: timeout at inv, n = 3, float32, 1 MB: no answer within 0.5 s" in capsys.readouterr().out


def test_slow_first_calls_do_not_shorten_a_turn(monkeypatch):
    """As calls into fresh memory are: a turn of as few as fitted at their pace measured nothing."""
    monkeypatch.setattr(worker, "make", lambda *_: lambda: time.sleep(0.04 if next(calls) < 4 else 0.002))
    calls = itertools.count()
    call, seconds, _ = worker._prepare("numpy", _CASE)
    assert seconds > 0.03
    turn = worker._repeat(call, runs=1)
    assert len(turn["seconds"]) > 5 and turn["wall"] >= worker._TURN_SECONDS
    monkeypatch.setattr(worker, "_MOST_REPETITIONS", 3)
    assert len(worker._repeat(call, runs=1)["seconds"]) == 3


def test_ctrl_c_ends_the_workers(deeds):
    deeds(jnp="s")
    with pytest.raises(KeyboardInterrupt), workers.running(["jnp"], portable=False) as started:
        raise KeyboardInterrupt
    assert started[0]._process.returncode is not None


def test_a_worker_ends_with_its_input(monkeypatch):
    started = workers.Worker("numpy", portable=False)
    started.wait_until_ready()
    started._process.stdin.close()
    assert started._process.wait(timeout=10) == 0
    started._reader.join()


def run_of(**milliseconds):
    """A run of one case: (lower, median, upper) by peer."""
    cells = [Cell(_CASE, peer, "ok", "", m, l, u, 5, 1.0) for peer, (l, m, u) in milliseconds.items()]
    return {"date": "2026-01-01", "cells": [cell.to_json() for cell in cells]}


@pytest.mark.parametrize(
    ("jaxinv", "yardsticks", "expected"),
    [
        ((9, 10, 11), (1, 1, 1), []),
        ((11, 11, 11), (1, 1, 1), []),  # 10 % more, but within the spread and 5 %
        ((12, 13, 14), (1, 1, 1), [(1.3, 1.3)]),
        ((7, 8, 8.5), (1, 1, 1), [(0.8, 0.8)]),
        ((18, 20, 22), (2, 2, 2), [(2.0, None), (2.0, 1.0)]),  # the machine was slower
        ((9, 10, 11), (0.5, 0.5, 0.5), [(0.5, None), (1.0, 2.0)]),  # the machine was faster, jaxinv was not
    ],
)
def test_what_moved(jaxinv, yardsticks, expected):
    old = run_of(yardsticks=(1, 1, 1), jaxinv=(9, 10, 11))
    new = run_of(yardsticks=yardsticks, jaxinv=jaxinv, torch=(1, 1, 1))
    assert [entry[2:] for entry in compare.moved(old, new)] == expected


def test_compare_prints_what_moved(capsys):
    old, new = run_of(jaxinv=(9, 10, 11)), run_of(jaxinv=(19, 20, 21))
    compare.report(old, new, PlainOutput())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 of 1 cells moved by more than their quartiles and 5 %")
    assert lines[-1].split() == "inv inv 3 float32 4 jaxinv 1e+04 2e+04 2.00".split()


def test_slower_than_a_peer_is_marked(capsys):
    times = {"yardsticks": 1.0, "jaxinv": 2.0, "jnp": 4.0, "torch": 1.0}
    cells = [Cell(_CASE, peer, "ok", "", t, t, t, 5, 1.0) for peer, t in times.items()]
    report.throughput(cells, PlainOutput())
    text = capsys.readouterr().out
    assert "50 % copy   70 %" in text
    assert " 0.5 !\n" in text
    report.throughput(cells[:-1], PlainOutput())
    assert "!\n" not in capsys.readouterr().out


def test_the_other_suites(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(suite, "_LATENCY_BATCHES", (1, 2))
    monkeypatch.setattr(suite, "_LOSS_SIZE", 64)
    given = [
        "bench",
        "--suite",
        "all",
        "--sizes",
        "2",
        "--megabytes",
        "0.001",
        "--peers",
        "jaxinv,adjugate,jnp-1",
    ]
    monkeypatch.setattr("jaxinv._cli.bench.accuracy.SIZES", (2,))
    given += ["--rounds", "1", "--dtypes", "float32", "--output", str(tmp_path)]
    assert main(given) == 0
    run = json.loads((tmp_path / document.NAME).read_text())
    assert {(c["suite"], c["mode"]) for c in run["cells"]} == {
        ("inv", "inv"),
        ("grad", "grad"),
        ("latency", "inv"),
        ("latency", "eager"),
        *(("loss", route) for route in ("inv", "inv_rows", "tikhonov_pinv")),
    }
    losses = [c for c in run["cells"] if c["suite"] == "loss"]
    assert {c["peer"] for c in losses} == {"yardsticks", "jaxinv", "jnp-1"}
    if sys.platform == "linux":
        assert all(c["peak_bytes"] > 0 for c in losses if c["peer"] == "jaxinv")
    assert [r["condition"] for r in run["accuracy"] if r["peer"] == "jaxinv"] == [10.0**e for e in range(8)]
    assert all(0 <= r["median"] <= r["worst"] <= 30 for r in run["accuracy"])
    text = capsys.readouterr().out
    assert "(≤ 1.3)" in text and "1 eager" in text and "1e+07" in text
    if plot.make_figure() is not None:
        names = {p.name for p in tmp_path.glob("*.svg")}
        assert names == {
            f"jaxinv-bench-{n}.svg" for n in ("inv-float32", "grad-float32", "latency", "accuracy")
        }


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read off /proc")
def test_peak_memory_is_that_of_the_case():
    # In a process of its own, as in the benchmark: what others freed would serve again.
    code = """if True:
        import numpy as np
        from jaxinv._cli.bench import worker
        from jaxinv._cli.bench.suite import Case

        worker.make = lambda peer, case, seed: lambda: np.ones(case.batch << 17).sum()  # so many MB
        for megabytes in (200, 64):  # what came before does not count
            case = Case("loss", "inv", 512, "float32", megabytes, megabytes)
            print(megabytes, worker._prepare("numpy", case)[2] / 2**20)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        megabytes, peak = map(float, line.split())
        assert 0.9 * megabytes <= peak <= megabytes + 50
    assert len(done.stdout.splitlines()) == 2
