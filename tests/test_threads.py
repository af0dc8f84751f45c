"""Handlers run on XLA's own threads: many at once must neither hang nor disturb each other."""

import os
import subprocess
import sys
import textwrap

import pytest

_PROGRAM = textwrap.dedent("""
    import os, sys, threading
    cores = int(sys.argv[1])
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import jax, numpy as np
    from jax import numpy as jnp
    import jaxinv

    def step(x):
        return jaxinv.inv(x @ x) @ x

    rng = np.random.default_rng(0)
    eye = np.eye(256, dtype=np.float32)
    inputs = [(rng.standard_normal((256, 256)) / 32 + 2 * eye).astype(np.float32) for _ in range(8)]
    step = jax.jit(step)
    expected = [np.asarray(step(x)) for x in inputs]

    def same(results):
        return all((np.asarray(r) == e).all() for r, e in zip(results, expected))

    # Asynchronous calls from one thread: handlers wait on each other's threads.
    batch = jax.jit(jax.vmap(step))
    for _ in range(5):
        assert same([step(x) for x in inputs])
        assert np.isfinite(np.asarray(batch(np.stack(inputs)))).all()

    def work(i):
        results[i] = all((np.asarray(step(inputs[i])) == expected[i]).all() for _ in range(5))

    results = [False] * 8
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results), results
    print("done")
""")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process to cores")
@pytest.mark.parametrize("cores", [1, 2, 0], ids=["1 core", "2 cores", "all cores"])
def test_asynchronous_calls_and_threads_finish(native, cores):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(cores)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "done\n", done.stderr
