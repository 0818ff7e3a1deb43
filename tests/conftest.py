"""Fixtures of all tests: the golden vectors, the clips, models. Compiled functions are cached per process."""

import functools
import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUICKLY_COMPILED = {  # folders of tests, and files of others
    "benchmark", "evaluation", "search", "training", "ops/test_gradients.py", "ops/test_pallas_block.py",
}  # fmt: skip


@pytest.fixture(scope="session")
def shared():
    """The folder of golden vectors, clips and specifications that lies beside a checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (golden vectors and clips), which is not part of the repository")
    return folder


@pytest.fixture(scope="session")
def golden(shared):
    """Vectors made by the official implementation."""
    return shared / "golden"


@pytest.fixture(scope="session")
def clips(shared):
    """Real clips: test/, eval/, train/."""
    return shared / "data" / "clips"


@pytest.fixture(scope="session")
def golden_weights(golden):
    """The module that makes the synthetic weights of the golden vectors."""
    spec = importlib.util.spec_from_file_location("golden_weights", golden / "weights.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden_params(golden_weights):
    """Full-size parameters with the synthetic weights (seed 0, scales from the networks)."""
    from nvc_jax.convert.checkpoint import params_from_official
    from nvc_jax.models.codecs import dcvc_rt

    return params_from_official(
        dcvc_rt, golden_weights.make_state_dict("image"), golden_weights.make_state_dict("video")
    )


@pytest.fixture(scope="session")
def golden_codec(golden_weights):
    """Full-size codecs with the weights of the golden vectors: golden_codec(scale_mode), "net" or "fixed"."""
    from nvc_jax.codec.model import Codec
    from nvc_jax.codec.store import make_model
    from nvc_jax.convert.checkpoint import params_from_official
    from nvc_jax.models.codecs import dcvc_rt

    @functools.cache
    def make(scale_mode):
        image, video = (golden_weights.make_state_dict(m, scale_mode=scale_mode) for m in ("image", "video"))
        return Codec(make_model(dcvc_rt, params_from_official(dcvc_rt, image, video), "golden"))

    return make


@pytest.fixture(scope="module", autouse=True)
def quick_programs(request):
    """Programs of some tests compile fast, with XLA's optimisations off, also in processes that a test starts.

    Their tests compile much and run little. Whatever codes streams elsewhere has what users have.
    """
    path = request.path.resolve().relative_to(ROOT / "tests")
    if not {path.parent.as_posix(), path.as_posix()} & QUICKLY_COMPILED:
        yield
        return
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()  # which are kept by function and shapes alone; those on disk know the flag


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(request):
    """Compiled programs are kept from run to run of the tests, in pytest's cache folder.

    Gives the environment in which other processes do the same.
    """
    import jax

    settings = {
        "jax_compilation_cache_dir": str(request.config.cache.mkdir("jax")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
    return os.environ | {name.upper(): str(value) for name, value in settings.items()}
