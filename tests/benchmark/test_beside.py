"""Codecs timed in turns: what is measured of each, and how it is shown."""

import io
import types

from rich.console import Console

from nvc_jax.benchmark import beside
from nvc_jax.benchmark.modules import PARTS
from nvc_jax.models.codecs import tiny


def test_codecs_take_turns(monkeypatch):
    called = []

    def part(name):
        return lambda: called.append(name)

    def load(name, precision):
        return types.SimpleNamespace(stored=types.SimpleNamespace(config=tiny), strategy=precision, name=name), True

    def subject(codec, *size):
        sides = {side: part(f"{codec.name} {side}") for side in ("encode", "decode")}
        return types.SimpleNamespace(name=codec.name, count=2, sides=lambda: sides)

    monkeypatch.setattr(beside, "load", load)
    monkeypatch.setattr(beside.Subject, "of", subject)
    monkeypatch.setattr(beside, "module_calls", lambda of: {row: part(f"{of.name} {row}") for row in PARTS})
    result = beside.measure(["one", "two"], (64, 64), "int16", 2, 0, 1, called.append)
    turn = [f"{name} {row}" for name in ("one", "two") for row in (*PARTS, "encode", "decode")]
    assert called[1:] == 3 * turn  # the first one compiles and does not count
    assert list(result["codecs"]) == ["one", "two"]
    for row in result["codecs"].values():
        assert list(row["modules"]) == list(PARTS)
        assert len(row["network"]["decode"]["all_s"]) == 2
        assert row["pictures_per_packet"] == 2
        assert row["end_to_end"] == {}

    result["codecs"]["one"]["network"]["decode"]["median_s"] = 0.3
    result["codecs"]["two"]["network"]["decode"]["median_s"] = 0.2
    shown = io.StringIO()
    beside.print_table(result, Console(file=shown, width=200))
    assert "300.0 (1.00x)" in shown.getvalue()
    assert "200.0 (1.50x)" in shown.getvalue()
