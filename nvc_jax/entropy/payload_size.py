"""Estimated size of a payload, for rates without an entropy coder (docs/FORMAT.md, sections 2.2 and 3.5)."""

from nvc_jax.spec import Dialect

_STATE_BYTES = 4  # a stream begins with its state
_LANE_BYTES = 3.45  # as the native coder reckons when it chooses lanes and parts
_LENGTH_BYTES = 4  # of every part but the last


def estimate_payload_bytes(dialect: Dialect, bits: float, symbols: int) -> int:
    """Bytes of a frame's payload, within the rounding of its states.

    Args:
        dialect: of the payload.
        bits: information of the symbols under the coder's own tables.
        symbols: number of coded symbols.
    """
    if dialect != "interleaved":
        return int(bits) // 8 + _STATE_BYTES * (2 if dialect == "two_streams" else 1)
    if not symbols:
        return 0
    lanes, parts = _layout(bits / 8, symbols)
    return 1 + _LENGTH_BYTES * (parts - 1) + round(bits / 8 + _LANE_BYTES * lanes * parts)


def _layout(size: float, symbols: int) -> tuple[int, int]:
    """(lanes, parts): as many as the native encoder's limit on their cost allows."""
    large = symbols > 20_000
    limit = 60 + 0.0014 * size if large else 1.5 + 0.0045 * size

    def fits(lanes: int, parts: int) -> bool:
        return _LANE_BYTES * (lanes * parts - 1) + 5 * (parts - 1) <= limit

    lanes = parts = 1
    while lanes < (32 if large else 16) and fits(2 * lanes, 1):
        lanes *= 2
    while lanes == 32 and parts < 16 and fits(lanes, 2 * parts):
        parts *= 2
    return lanes, parts
