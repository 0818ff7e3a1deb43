"""Neural video coding in JAX/Flax. The Python interface is documented in docs/PYTHON.md."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nvc_jax.api import (
        Codec,
        Colour,
        Decoder,
        Encoder,
        EncodingOptions,
        Forward,
        Metadata,
        Packet,
        Planes,
        Video,
        decode,
        decode_file,
        encode_file,
        list_models,
        load,
        load_official,
        prepare_process,
    )
    from nvc_jax.api import open_stream as open

__all__ = [
    "Codec",
    "Colour",
    "Decoder",
    "Encoder",
    "EncodingOptions",
    "Forward",
    "Metadata",
    "Packet",
    "Planes",
    "Video",
    "decode",
    "decode_file",
    "encode_file",
    "list_models",
    "load",
    "load_official",
    "open",
    "prepare_process",
]


def __getattr__(name: str) -> Any:
    """Import the interface, and JAX with it, when it is first used: `import nvc_jax` stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nvc_jax import api

    return getattr(api, "open_stream" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
