"""What Dask's workers compute: one tile of a picture of the Julia set.

It is a module of its own, because they import it. In pure Python it keeps a processor busy, as real work does.
"""

from __future__ import annotations

import runcue

C = complex(-0.8, 0.156)
ITERATIONS = 255
# What is seen of the plane, from its top left corner.
LEFT, TOP, WIDTH = -1.6, 1.0, 3.2


def tile(work: runcue.Work, row: int, column: int, size: int, columns: int) -> None:
    """Compute a tile, and leave it as its work unit has declared.

    Args:
        work: Of this a worker has the id, the params, where the output is, and little more.
        row: See `compute`.
        column: See `compute`.
        size: See `compute`.
        columns: See `compute`.
    """
    with work.write(work.outputs[0], "wb") as file:
        file.write(compute(row, column, size, columns))


def compute(row: int, column: int, size: int, columns: int) -> bytes:
    """The points of a tile, a byte of grey for each.

    Args:
        row: Of the tile.
        column: Of the tile.
        size: How many points it has on each side.
        columns: How many tiles the picture has beside each other.
    """
    step = WIDTH / (columns * size)
    grey = bytearray()
    for y in range(row * size, (row + 1) * size):
        for x in range(column * size, (column + 1) * size):
            z = complex(LEFT + x * step, TOP - y * step)
            iterations = 0
            while iterations < ITERATIONS and z.real * z.real + z.imag * z.imag < 4:
                z = z * z + C
                iterations += 1
            grey.append(ITERATIONS - iterations)
    return bytes(grey)
