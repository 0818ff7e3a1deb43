INT16_PANEL: int
WSILU_ENTRIES: int

def int16_functions() -> dict[str, dict[str, object]]:
    """The convolutions of the int16 arithmetic for XLA on CPU by name, of each kind that this processor can run.

    The fastest kind comes first.
    """
