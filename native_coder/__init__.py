"""The C++ extension: the entropy coder, and the convolutions of networks, block motion and deblocking on CPUs."""

import pkgutil

# In a checkout beside an ordinary install, the compiled modules are those of the installed package.
__path__ = pkgutil.extend_path(__path__, __name__)

from ._functions import (  # noqa: TID251
    PANEL,
    TILE_BYTES,
    WSILU_ENTRIES,
    bfloat16_functions,
    deblocking_functions,
    float32_functions,
    int16_functions,
    motion_functions,
)
from ._native import (  # noqa: TID251
    CdfTable,
    CorruptError,
    DcvcDecoder,
    DcvcEncoder,
    InterleavedDecoder,
    InterleavedEncoder,
    TruncatedError,
    kernels,
)

__all__ = [
    "PANEL",
    "TILE_BYTES",
    "WSILU_ENTRIES",
    "CdfTable",
    "CorruptError",
    "DcvcDecoder",
    "DcvcEncoder",
    "InterleavedDecoder",
    "InterleavedEncoder",
    "TruncatedError",
    "bfloat16_functions",
    "deblocking_functions",
    "float32_functions",
    "int16_functions",
    "kernels",
    "motion_functions",
]
