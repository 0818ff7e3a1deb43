"""Labels in pictures, in a font of 5x7 pixels."""

import numpy as np
import numpy.typing as npt

from nvc_jax.errors import ConfigError

U8 = npt.NDArray[np.uint8]

_ROWS, _COLUMNS = 7, 5
_FONT = {  # rows of each glyph from the top, as five bits
    " ": "00 00 00 00 00 00 00",
    "/": "01 02 02 04 08 08 10",
    ".": "00 00 00 00 00 0c 0c",
    ",": "00 00 00 00 0c 04 08",
    "0": "0e 11 13 15 19 11 0e",
    "1": "04 0c 04 04 04 04 0e",
    "2": "0e 11 01 02 04 08 1f",
    "3": "1f 02 04 02 01 11 0e",
    "4": "02 06 0a 12 1f 02 02",
    "5": "1f 10 1e 01 01 11 0e",
    "6": "06 08 10 1e 11 11 0e",
    "7": "1f 01 02 04 08 08 08",
    "8": "0e 11 11 0e 11 11 0e",
    "9": "0e 11 11 0f 01 02 0c",
    "B": "1e 11 11 1e 11 11 1e",
    "b": "10 10 16 19 11 11 1e",
    "c": "00 00 0e 10 10 11 0e",
    "d": "01 01 0d 13 11 11 0f",
    "e": "00 00 0e 11 1f 10 0e",
    "i": "04 00 0c 04 04 04 0e",
    "k": "10 10 12 14 18 14 12",
    "o": "00 00 0e 11 11 11 0e",
    "p": "00 00 1e 11 1e 10 10",
    "q": "00 00 0d 13 0f 01 01",
    "r": "00 00 16 19 10 10 10",
    "s": "00 00 0e 10 0e 01 1e",
    "t": "08 08 1c 08 08 09 06",
    "u": "00 00 11 11 11 13 0d",
    "x": "00 00 11 0a 04 0a 11",
}


def labelled(picture: U8, text: str) -> U8:
    """Write a line of text into the upper left corner, on a dark ground.

    Args:
        picture: [H, W, 3] RGB.
        text: of the characters in `_FONT`.

    Returns:
        A copy; the text is cut at the right edge.

    Raises:
        ConfigError: the font lacks a character.
    """
    scale = max(1, min(picture.shape[:2]) // 120)
    mask = np.pad(text_mask(text), 2).repeat(scale, axis=0).repeat(scale, axis=1)
    rows, columns = (min(a, b) for a, b in zip(mask.shape, picture.shape[:2], strict=True))
    result = picture.copy()
    corner = result[:rows, :columns]
    corner[...] = np.where(mask[:rows, :columns, None], 255, corner // 4)
    return result


def text_mask(text: str) -> npt.NDArray[np.bool_]:
    """Draw text, one pixel between characters: [7, 6 n - 1]."""
    missing = sorted(set(text) - _FONT.keys())
    if missing:
        raise ConfigError(f"the font of labels has no {missing[0]!r}.")
    glyphs = []
    for character in text:
        rows = np.array([int(row, 16) for row in _FONT[character].split()])
        glyphs.append(rows[:, None] >> np.arange(_COLUMNS - 1, -1, -1) & 1 == 1)
        glyphs.append(np.zeros((_ROWS, 1), bool))
    return np.concatenate(glyphs[:-1], axis=1)
