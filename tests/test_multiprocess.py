"""Two processes joined by jax.distributed, a batch sharded over both."""

import os
import socket
import subprocess
import sys
import textwrap

_PROGRAM = textwrap.dedent("""
    import sys
    import jax
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
    import numpy as np
    from jax import numpy as jnp
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    import jaxinv

    assert jax.process_count() == 2 and len(jax.devices()) == 4
    a = (np.random.default_rng(0).standard_normal((8, 5, 5)) + 4 * np.eye(5)).astype(np.float32)
    mesh = Mesh(np.array(jax.devices()), "batch")
    x = jax.make_array_from_callback(a.shape, NamedSharding(mesh, P("batch")), lambda index: a[index])

    def loss(x):
        return jnp.sum(jaxinv.inv(x) ** 2) + jnp.sum(jaxinv.inv_slogdet(x).logabsdet)

    step = jax.jit(jax.value_and_grad(loss))
    text = step.lower(x).compile().as_text()
    assert "all-gather" not in text, text
    value, gradient = step(x)
    expected_value, expected = jax.jit(jax.value_and_grad(loss))(a)
    assert gradient.sharding.spec == P("batch"), gradient.sharding
    assert np.isclose(value, expected_value, rtol=1e-5), (value, expected_value)
    for shard in gradient.addressable_shards:
        piece = np.asarray(expected)[shard.index]
        assert np.abs(np.asarray(shard.data) - piece).max() <= 1e-5 * np.abs(piece).max()
    inverse = jaxinv.inv(x)
    for shard in inverse.addressable_shards:
        residual = np.asarray(shard.data) @ a[shard.index] - np.eye(5)
        assert np.abs(residual).max() < 1e-5
    print("done")
""")


def test_two_processes():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, address, str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            out, error = process.communicate(timeout=180)
            assert out.splitlines()[-1:] == ["done"], error
    finally:
        for process in processes:
            process.kill()
