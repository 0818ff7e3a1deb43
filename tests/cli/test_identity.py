"""One identity of a model, whatever form it has and wherever it is said."""

import json
import shutil

import numpy as np
import pytest
import regression

from nvc_jax.codec.store import load_model, make_model, save_model
from nvc_jax.models.codecs import tiny
from nvc_jax.models.params import flatten, unflatten


def said(result):
    """The identity of a printed line `NAME  identity XXX ...`, or of a table with such a row."""
    assert result.code == 0, result.err
    words = result.out.split()
    return words[words.index("identity") + 1][:12]


@pytest.mark.parametrize("precision", ["int16", pytest.param("float32", marks=pytest.mark.slow)])
def test_of_a_model_directory(nvc, model, clip, work, precision):
    identity = load_model(model).identity
    assert said(nvc("convert", "--int16", model, "fixed")) == identity[:12]
    made = nvc("convert", "--int16", model, "fixed", "--json").json()
    assert (made["identity"], made["precision"]) == (identity, "int16")
    for name in (model, "fixed") if precision == "int16" else (model,):
        report = nvc("encode", clip, "s.nvc", "--model", name, "--precision", precision, "--frames", 2, "--json").json()
        assert report["identity"] == identity
        assert said(nvc("info", "s.nvc")) == identity[:12]
        shown = nvc("info", "s.nvc", "--json").json()
        assert (shown["identity"], shown["precision"]) == (identity, precision)
        assert nvc("decode", "s.nvc", "d.y4m", "--model", model).code == 0
    other = flatten(load_model(model).params)
    other["inter/recon_out/bias"] = other["inter/recon_out/bias"] + np.float32(0.05)
    save_model(work / "other", make_model(tiny, unflatten(other), "test"))
    sentence = nvc("decode", "s.nvc", "d.y4m", "--model", "other").refusal()
    assert f"(identity {identity[:12]}), and other has identity {load_model('other').identity[:12]}" in sentence


def test_of_streams_from_before(nvc, model, clip, work):
    """int16 streams named the integers; they decode by either form of the model, also by its form from before."""
    nvc("convert", "--int16", model, "fixed")
    description = json.loads((work / "fixed" / "config.json").read_text())
    contents = description.pop("contents")
    (work / "fixed" / "config.json").write_text(json.dumps(description | {"identity": contents}))
    assert nvc("encode", clip, "s.nvc", "--model", "fixed", "--frames", 2).code == 0
    assert nvc("info", "s.nvc", "--json").json()["identity"] == contents != load_model(model).identity
    for name in (model, "fixed"):
        assert nvc("decode", "s.nvc", "d.y4m", "--model", name).code == 0


@pytest.mark.parametrize("precision", ["int16", pytest.param("float32", marks=pytest.mark.slow)])
def test_of_the_packaged_model(nvc, model, precision):
    """And of a stream of the one before it, which had its name and no deblocking yet, and decodes it."""
    shutil.copy(regression.DATA.with_name(f"embedded_{precision}.nvc"), "s.nvc")
    packaged = nvc("models", "--json").json()["models"]["embedded"]["identity"]
    assert said(nvc("models")) == packaged[:12]
    assert said(nvc("info", "s.nvc")) == "217e25c58ba9"
    for other in (model, "embedded"):
        sentence = nvc("decode", "s.nvc", "d.y4m", "--model", other).refusal()
        assert "made with the model embedded (identity 217e25c58ba9), and " in sentence
        assert "; give embedded_v1 as --model (--ignore-identity decodes all the same)." in sentence
    assert nvc("decode", "s.nvc", "d.y4m", "--model", "embedded_v1").code == 0
