PANEL: int
WSILU_ENTRIES: int

def float32_functions() -> dict[str, dict[str, object]]:
    """The convolutions of float32 networks for XLA on CPU by name, of each kind that this processor can run.

    The fastest kind comes first.
    """

def int16_functions() -> dict[str, dict[str, object]]:
    """Those of the int16 arithmetic."""
