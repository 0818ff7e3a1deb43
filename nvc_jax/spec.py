"""Numbers and names that every part of the codec must agree on."""

import math
from typing import Literal, get_args

Dialect = Literal["one_stream", "two_streams", "interleaved"]  # of a payload (docs/FORMAT.md)
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

QP_LEVELS = 64  # base qps, 0..63
QP_OFFSETS = (0, 8, 0, 4, 0, 4, 0, 4)  # added to the base qp of inter frame n, by n mod 8 (spec 9)

PICTURE_STRIDE = 16  # pictures are padded to a multiple of it; one position of y
HYPER_STRIDE = 64  # one position of z

SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 16.0, 128  # the Gaussian table (spec 6)
LOG_SCALE_MIN = math.log(SCALE_MIN)
LOG_SCALE_STEP_RECIPROCAL = (SCALE_LEVELS - 1) / (math.log(SCALE_MAX) - LOG_SCALE_MIN)
CHECK_BITS = 24  # of the check of a frame's symbols and table indexes
NOT_CODED = 255  # table index of a symbol that is skipped and zero

TWO_STREAMS_ABOVE = 1280 * 720  # pictures of more pixels are coded in two streams (spec 7)
DEFAULT_SKIP_THRESHOLD = 0.12
DEFAULT_RDOQ = 0.06  # measured with embedded_v1 on four clips: 0.03 takes as many bits, 0.02 0.6 % more
DEFAULT_QP = 32
Preset = Literal["fast", "medium"]  # of the encoder: more work for fewer bits
PRESETS: tuple[Preset, ...] = get_args(Preset)
DEFAULT_PRESET: Preset = "medium"
PRECISION_NAMES = "float32", "bfloat16", "float16", "int16"  # what networks compute in
FILE_PRECISION = "int16"  # of `.nvc` files, unless told otherwise: they decode alike everywhere
DEFAULT_MODEL = "embedded"

FIXED_BITS = 9  # fractional bits of int16 numbers (docs/INT16.md)
FIXED_LARGE_BITS = 8  # of those that may exceed 64: latents, and features of the intra codec
FIXED_SCALE = 1 << FIXED_BITS
FIXED_FINE_BITS = 12  # of fine pictures, uint16
FIXED_WEIGHT_BITS = 9, 20  # fewest and most fractional bits of an int16 weight
FIXED_ARITHMETIC = 2  # version of docs/INT16.md
