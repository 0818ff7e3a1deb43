"""The Python interface, `import nvc_jax` (docs/PYTHON.md)."""

from nvc_jax.api.codec import Codec
from nvc_jax.api.files import decode_file, encode_file
from nvc_jax.api.forward import Forward
from nvc_jax.api.live import Decoder, Encoder, Packet
from nvc_jax.api.loading import list_models, load, load_official
from nvc_jax.api.options import EncodingOptions
from nvc_jax.api.pictures import Planes
from nvc_jax.api.video import Metadata, Video, decode, open_stream
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.video import Colour

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
    "open_stream",
    "prepare_process",
]
