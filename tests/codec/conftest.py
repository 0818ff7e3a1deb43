"""Codecs that the tests share: compiling for a picture size takes longer than any test."""

import pytest
import synthetic

from nvc_jax.codec.model import Codec


@pytest.fixture(scope="session")
def tiny_codec():
    """The smallest codec, with synthetic weights."""
    return Codec(synthetic.tiny_model())


@pytest.fixture(scope="session")
def moving_codec():
    """The smallest codec with motion, and deblocking."""
    return Codec(synthetic.tiny_model(motion=True).with_deblocking(38))


@pytest.fixture(scope="session")
def residual_codec():
    """The same, of differences from the moved picture, with merged vectors."""
    return Codec(synthetic.tiny_model(residual=True).with_deblocking(38))


@pytest.fixture
def note_identical(request):
    """note_identical(flags): one flag per frame, whether its bytes are the official ones; told after the run."""

    def note(flags):
        request.node.user_properties.append(("identical_frames", f"{sum(flags)} of {len(flags)}"))

    return note


def pytest_terminal_summary(terminalreporter):
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    notes = [(r.nodeid, dict(r.user_properties)) for r in reports]
    lines = [f"{n['identical_frames']}  {node}" for node, n in notes if "identical_frames" in n]
    if lines:
        terminalreporter.section("frames coded to the official bytes")
        terminalreporter.write_line("\n".join(lines))
