"""The package as it is imported."""

import subprocess
import sys

import pytest

import nvc_jax


def test_importing_is_light():
    """No JAX, no NumPy, and the names are there."""
    script = (
        "import sys, nvc_jax; print(sorted({'jax', 'numpy', 'flax'} & set(sys.modules)), 'load' in dir(nvc_jax)); "
        "import nvc_jax.cli.command; print(sorted({'jax', 'numpy', 'flax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] True", "[]"]


def test_all_names_are_there():
    for name in nvc_jax.__all__:
        assert getattr(nvc_jax, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'nvc_jax' has no attribute 'lode'"):
        nvc_jax.lode  # noqa: B018


def test_models_is_a_function_and_a_package():
    from nvc_jax.models import codecs

    assert codecs.CONFIGS
    assert "embedded" in nvc_jax.list_models()
