"""A codec: a model, and everything that one does with it."""

import contextlib
import functools
import itertools
from fractions import Fraction
from typing import Any, TypeAlias, Unpack

import jax
from jax import Array

from nvc_jax.api.forward import Forward, forward
from nvc_jax.api.live import Decoder, Encoder
from nvc_jax.api.options import EncodingOptions, split
from nvc_jax.api.pictures import Output, Pictures, frames_of
from nvc_jax.api.video import Source, Video
from nvc_jax.bitstream import NvcHeader
from nvc_jax.codec import model as loaded
from nvc_jax.codec.containers import Container, default_precision
from nvc_jax.codec.descriptions import packaged_with
from nvc_jax.codec.pipeline import MAX_DELAY
from nvc_jax.codec.store import StoredModel
from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import ParamTree
from nvc_jax.spec import DEFAULT_QP, DEFAULT_SKIP_THRESHOLD, FILE_PRECISION
from nvc_jax.video import Colour, YuvFrame

Device: TypeAlias = jax.Device | str | None


class Codec:
    """A model on a device.

    Pictures are uint8: RGB [T, H, W, 3], or planes in 4:2:0. Qualities are qps from 0 to 63, larger is better.

    Attributes:
        stored: parameters, tables and configuration, as on disk.
        precision: of the arithmetic, as it was asked for.
    """

    def __init__(
        self,
        stored: StoredModel,
        *,
        precision: str | None = None,
        kernels: str | None = None,
        device: Device = None,
    ) -> None:
        """Put a model on a device; `nvc_jax.load` does it by name.

        Args:
            stored: the model.
            precision: "int16", which decodes to the same bits on every machine, "float32", "bfloat16" or "float16".
                None, the default: int16 for `.nvc` streams, that of the model for official ones; decoding follows the
                stream.
            kernels: kernel backend of the convolutions, by default the fastest one of this machine. An unknown one is
                refused with a list of those that the precision has.
            device: "cpu", "gpu", "tpu" or a `jax.Device`; None is JAX's default.

        Raises:
            ConfigError: an option is unknown or does not fit the model or this machine.
        """
        self.stored = stored
        self.precision = precision
        self._kernels = kernels
        self._device = _device(device)
        self._loaded: dict[tuple[str | None, str], loaded.Codec] = {}
        self.in_precision(precision or FILE_PRECISION)

    def __repr__(self) -> str:
        return f"<nvc_jax.Codec {packaged_with(self.identity) or self.name}, identity {self.identity[:12]}>"

    @property
    def name(self) -> str:
        """Name of the architecture."""
        return self.stored.config.name

    @property
    def identity(self) -> str:
        """Hash of the model as it was loaded, 64 hexadecimal digits."""
        return self.stored.identity

    @property
    def config(self) -> CodecConfig:
        """The architecture."""
        return self.stored.config

    @property
    def params(self) -> ParamTree:
        """The parameters as NumPy arrays, a tree for each network by name; `forward` takes such trees."""
        return self.stored.params

    def encode(
        self,
        frames: Any,
        qp: float = DEFAULT_QP,
        *,
        fps: float | Fraction = 30,
        container: Container = "nvc",
        colour: Colour | None = None,
        **options: Unpack[EncodingOptions],
    ) -> bytes:
        """Code a clip into a stream, as `nvc-jax encode` does.

        Args:
            frames: uint8 RGB [T, H, W, 3]; a tuple of planes y [T, H, W], u and v [T, ceil(H/2), ceil(W/2)]; or an
                iterable of pictures, [H, W, 3] or planes. NumPy or JAX.
            qp: quality, 0 to 63; it may have a fraction in an `.nvc` stream.
            fps: frames per second, written into the stream.
            container: "nvc", or "dcvc", which the official code reads.
            colour: description of planes, written into the stream; RGB has its own.
            **options: see `EncodingOptions`.

        Returns:
            The stream, what `nvc-jax encode` would write into a file.

        Raises:
            VideoError: the frames are not 8 bit, differ in size or kind, or are none.
            ConfigError: an option is out of its range, or the container cannot hold what is asked for.
        """
        source = frames_of(frames)
        first = next(source, None)
        if first is None:
            raise VideoError("the clip has no frames.")
        planes = isinstance(first, YuvFrame)
        encoder = self.encoder(
            *first.size,
            qp,
            fps=fps,
            container=container,
            planes=planes,
            colour=colour,
            delay=MAX_DELAY,
            **options,
        )
        packets = encoder.packets(itertools.chain([first], source))
        return b"".join([encoder.header, *map(bytes, packets), encoder.finish()])

    def decode(self, stream: Source, output: Output = "rgb") -> Pictures:
        """Decode a stream that this codec has made.

        Args:
            stream: bytes, or the path of a file.
            output: "rgb" for [T, H, W, 3] uint8, "planes" for `Planes`.

        Raises:
            BitstreamError: it is damaged, or no stream.
            ModelError: another model has made it.
            ConfigError: it was made in another precision than the codec is held to.
        """
        with self.open(stream, output) as video:
            return video[:]

    def open(self, stream: Source, output: Output = "rgb") -> Video:
        """Open a stream for random access; see `nvc_jax.open`."""
        return Video(stream, lambda _: self, output)

    def encoder(
        self,
        width: int,
        height: int,
        qp: float = DEFAULT_QP,
        *,
        fps: float | Fraction = 30,
        container: Container = "nvc",
        planes: bool = False,
        colour: Colour | None = None,
        delay: int = 0,
        **options: Unpack[EncodingOptions],
    ) -> Encoder:
        """Make an encoder that takes pictures as they come.

        Args:
            width: of the pictures.
            height: of the pictures.
            qp: see `encode`; `Encoder.qp` changes it.
            fps: see `encode`.
            container: see `encode`.
            planes: the pictures are planes (y, u, v) in 4:2:0, not RGB.
            colour: see `encode`.
            delay: 0 gives the packet of a picture at once. 1 gives it with the next picture, which is faster: its
                symbols are coded while the device works on that one. The bytes are the same.
            **options: see `EncodingOptions`.

        Raises:
            ConfigError: an option is out of its range, or the container cannot hold what is asked for.
        """
        precision = self.precision or default_precision(container) or self.stored.precision
        return Encoder(self, precision, (width, height), qp, fps, container, planes, colour, delay, options)

    def decoder(
        self,
        header: bytes | None = None,
        *,
        output: Output = "rgb",
        conceal: bool = False,
        delay: int = 0,
        skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
    ) -> Decoder:
        """Make a decoder that takes packets as they come.

        Args:
            header: `Encoder.header`; None for packets of the official container, which has none.
            output: "rgb" for [H, W, 3] uint8, "planes" for `Planes`.
            conceal: go on at the next intra frame after lost packets; the last picture is repeated for the lost ones.
            delay: 0 gives the pictures of a packet at once, 1 with the next packet, which is faster.
            skip_threshold: of the encoder, for the official container; `.nvc` headers say it.

        Raises:
            BitstreamError: the header is damaged, or no header.
            ModelError: another model has made the stream.
            ConfigError: the stream was made in another precision, or an option is unknown.
        """
        return Decoder(self, header, output, conceal, delay, skip_threshold)

    def forward(
        self,
        clip: Array,
        qp: Array | float = 32,
        *,
        params: ParamTree | None = None,
        key: Array | None = None,
        **options: Unpack[EncodingOptions],
    ) -> Forward:
        """Code a clip without entropy coding: pictures, bits by part, latents. Pure and differentiable.

        The networks are those of `encode` in float32 by XLA, whatever `kernels` says (blocks move in C++ on CPUs, with
        the same bits), with the packets, qps and refreshes that `encode` gives the same options; it works under
        `jax.jit`, `jax.vmap` and `jax.grad`. Symbols are rounded to the nearest with the gradient of the identity
        (straight through). Under `jax.jit`, the program grows with the number of pictures; without, every network is
        compiled once.

        Args:
            clip: RGB [T, H, W, 3], or [B, T, H, W, 3] of several clips; floating point in 0..1, or uint8.
            qp: quality, 0 to 63; a number, or [B] for several clips.
            params: parameters instead of those of the model, for gradients.
            key: of `jax.random`, for uniform noise in place of rounding where the rate is estimated, as in training.
            **options: `intra_qp`, `intra_period`, `reset_interval`, `skip_blocks`.

        Raises:
            VideoError: the clip is of another shape or type.
            ConfigError: an option is out of its range, or the model holds integers, which have no gradients.
        """
        if self.stored.precision == "int16":
            raise ConfigError(
                f"the int16 model of {self.name} holds integers, which have no gradients; load the float model that it "
                "was made of."
            )
        schedule, rest = split(0, options)
        skip_blocks = rest.pop("skip_blocks", True)
        if rest:
            raise ConfigError(f"forward has no option {min(rest)!r}: it codes all symbols, rounded to the nearest.")
        with self.on_device():
            params = self._float_params if params is None else params
            return forward(self.config, params, clip, qp, key, schedule.for_model(self.stored.offsets), skip_blocks)

    def in_precision(self, precision: str | None) -> loaded.Codec:
        """The parts that code in a precision; None is that of the model. Kept."""
        return self._in_precision(precision, self.stored)

    def _in_precision(self, precision: str | None, stored: StoredModel) -> loaded.Codec:
        key = precision, stored.identity
        if key not in self._loaded:
            platform = None if self._device is None else self._device.platform
            with self.on_device():
                self._loaded[key] = loaded.Codec(
                    stored, precision, self._kernels, None if platform == jax.default_backend() else platform
                )
        return self._loaded[key]

    def for_stream(self, header: NvcHeader | None) -> loaded.Codec:
        """The parts that decode a stream.

        Raises:
            ModelError: another model has made it.
            ConfigError: it was made in another precision than the codec is held to.
        """
        if header is None:
            return self.in_precision(self.precision or self.stored.precision)
        precision = loaded.stream_precision(header, self.precision)
        name = packaged_with(self.identity) or self.name
        stored = loaded.stored_for(header, self.stored, name)
        codec = self._in_precision(precision, stored)
        loaded.check_identity(header, codec, name)
        return codec

    def on_device(self) -> contextlib.AbstractContextManager[Any]:
        """Where computations of a block run."""
        return contextlib.nullcontext() if self._device is None else jax.default_device(self._device)

    @functools.cached_property
    def _float_params(self) -> ParamTree:
        with jax.ensure_compile_time_eval():  # a tracer must not be kept
            params: ParamTree = jax.device_put(self.stored.params, may_alias=False)
            return params


def _device(device: Device) -> jax.Device | None:
    if not isinstance(device, str):
        return device
    try:
        return jax.devices(device)[0]
    except RuntimeError:
        found = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise ConfigError(f"no device {device!r} here; available: {found}.") from None
