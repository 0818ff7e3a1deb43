PANEL: int
TILE_BYTES: int
WSILU_ENTRIES: int

def float32_functions() -> dict[str, dict[str, object]]:
    """FFI handlers of the float32 convolutions, by ISA and name: the ISAs of this processor, the fastest first."""

def bfloat16_functions() -> dict[str, dict[str, object]]:
    """FFI handlers of the bfloat16 convolutions, in the same form."""

def int16_functions() -> dict[str, dict[str, object]]:
    """FFI handlers of the int16 convolutions, in the same form."""

def motion_functions() -> dict[str, dict[str, object]]:
    """FFI handlers of block motion, in the same form."""

def deblocking_functions() -> dict[str, dict[str, object]]:
    """FFI handlers of deblocking, in the same form."""
