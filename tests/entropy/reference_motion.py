"""A reader of merged motion in plain Python, written from docs/FORMAT.md alone (sections 2.6 and 2.7)."""

from collections.abc import Callable
from itertools import accumulate

Read = Callable[[list[int]], list[int]]  # symbols of a list from their table rows
Place = tuple[int, int]
Block = tuple[int, int, int]  # dy, dx and the third byte
Step = list[tuple[Place, list[Place | None]]]  # blocks and their neighbours

U = (
    (40, 125, 395, 385, 378, 400, 460, 580, 208, 275, 445, 378, 450, 442, 505, 575),
    (40, 125, 265, 250, 280, 298, 335, 320, 208, 275, 265, 272, 368, 380, 372, 420),
)
V = (
    (100, 100, 22, 33, 40, 44, 44, 45, 100, 100, 34, 35, 38, 44, 50, 54),
    (100, 100, 36, 50, 48, 43, 41, 42, 100, 100, 47, 69, 58, 60, 61, 64),
)
K = (21, 65, 90, 116, 141)
N = ((280, 290, 225, 205), (95, 205, 360, 340))
Z = (449, 1, 593, 451, 528, 303, 1, 329, 336, 396, 239, 1, 193, 260, 240, 166, 1, 117, 154, 180)
W = (48, 64, 8, 8, 128, 12, 16, 4, 12, 48, 32, 48, 16, 24, 48, 256, 256, 48, 48, 256)
X = (90, 290, 540, 780, 987, 220, 370, 570, 770, 970)
G = (0, 0, 1, 1, 1, 2, 2, 3)


def table() -> list[tuple[list[int], int]]:
    """Cumulative frequencies and offset of every row."""
    rows = [(_choices(r, a, n), 0) for r in range(16) for a in range(2) for n in range(5)]
    rows += [(_differences(z, w), -127) for z, w in zip(Z, W, strict=True)]
    return rows + [([0, 65536 - 65536 * x // 1000, 65535, 65536], 0) for x in X]


def _choices(r: int, a: int, n: int) -> list[int]:
    s = 65536 * U[a][r] * K[n] // 100000
    o = s * V[a][r] // 100
    neighbours = [1 + (s - o) * share // 1000 for share in N[a]]
    return list(accumulate([65536 - sum(neighbours) - o - 1, *neighbours, o, 1], initial=0))


def _differences(z: int, w: int) -> list[int]:
    weights = [2**60 // (w + 4 * d) ** 3 for d in range(1, 128)]
    f = [1 + 65280 * (1000 - z) // 2000 * weight // sum(weights) for weight in weights]
    return list(accumulate([*f[::-1], 65535 - 2 * sum(f), *f, 1], initial=0))


def decode(height: int, width: int, read: Read) -> list[list[Block]]:
    """Rows of blocks."""
    field: dict[Place, Block] = {}
    choices: dict[Place, int] = {}
    for blocks, far in _steps(height, width):
        if blocks:
            _read_step(blocks, far, read, field, choices)
    return [[field[y, x] for x in range(width)] for y in range(height)]


def _steps(height: int, width: int) -> list[tuple[Step, int]]:
    """Blocks of every step, and 1 in step 1 and where s > 1."""
    s = 1
    while s < max(height, width):
        s *= 2
    steps: list[tuple[Step, int]] = [([((0, 0), [None] * 4)], 1)]
    while s > 1:
        s //= 2
        for y0, x0, offsets in (
            (s, s, ((-s, -s), (-s, s), (s, -s), (s, s))),
            (0, s, ((0, -s), (0, s), (-s, 0), (s, 0))),
            (s, 0, ((-s, 0), (s, 0), (0, -s), (0, s))),
        ):
            places = [(y, x) for y in range(y0, height, 2 * s) for x in range(x0, width, 2 * s)]
            steps.append(([(place, _neighbours(place, offsets, height, width)) for place in places], int(s > 1)))
    return steps


def _neighbours(place: Place, offsets: tuple[Place, ...], height: int, width: int) -> list[Place | None]:
    places = [(place[0] + dy, place[1] + dx) for dy, dx in offsets]
    return [(y, x) if 0 <= y < height and 0 <= x < width else places[0] for y, x in places]


def _read_step(blocks: Step, far: int, read: Read, field: dict[Place, Block], choices: dict[Place, int]) -> None:
    around = [[field[p] if p else (0, 0, 0) for p in neighbours] for _, neighbours in blocks]
    surprises = [sum(p is not None and choices[p] != 0 for p in neighbours) for _, neighbours in blocks]
    expected = [_expected(near) for near in around]
    r = [_row(near) + 8 * far for near in around]
    rows = []
    for near, e, row, n in zip(around, expected, r, surprises, strict=True):
        a = sum(vector[:2] == e for vector in near) >= 3
        rows += [10 * row + 5 * a + n, 180 + sum(third != 0 for *_, third in near) + 5 * far]
    symbols = read(rows)
    chosen, thirds = symbols[::2], symbols[1::2]
    another = [i for i, choice in enumerate(chosen) if choice not in range(5)]
    differences = {}
    if another:
        dy = read([160 + 5 * G[r[i] % 8] for i in another])
        dx = read([161 + 5 * G[r[i] % 8] + min(abs(d), 3) for i, d in zip(another, dy, strict=True)])
        differences = dict(zip(another, zip(dy, dx, strict=True), strict=True))
    for i, (place, _) in enumerate(blocks):
        if i in differences:
            vector = tuple((e + d + 128) % 256 - 128 for e, d in zip(expected[i], differences[i], strict=True))
        else:
            vector = [expected[i], *(near[:2] for near in around[i])][chosen[i]]
        field[place], choices[place] = (vector[0], vector[1], thirds[i]), chosen[i]


def _expected(near: list[Block]) -> Place:
    (_, y2, y3, _), (_, x2, x3, _) = (sorted(vector[k] for vector in near) for k in range(2))
    return (y2 + y3) // 2, (x2 + x3) // 2


def _row(near: list[Block]) -> int:
    if all(vector[:2] == (0, 0) for vector in near):
        return 0
    (y1, *_, y4), (x1, *_, x4) = (sorted(vector[k] for vector in near) for k in range(2))
    spread = y4 - y1 + x4 - x1
    return 1 + sum(spread >= limit for limit in (1, 2, 4, 8, 16, 32))
