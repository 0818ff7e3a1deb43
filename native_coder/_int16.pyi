def int16_functions() -> dict[str, object]:
    """The convolutions of the int16 arithmetic for XLA on CPU, by name; none where the processor cannot run them."""
