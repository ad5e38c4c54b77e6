"""Where each image token lies in the image it came from: the geometry between pixels and a projector's output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_NOTHING = 1e-9  # of an image's side: left of a box by rounding


@dataclass(frozen=True)
class TokenMap:
    """The tokens that a projector puts out for one image, in order.

    boxes (T, 4): x0, y0, x1, y1 of the pixels that each token was cut from, as shares of the image's width and height,
    0 to 1 from the upper left corner; attention lets it know of others too.
    kinds: "patch" of the image or its crop, "padding" around it, whose box is empty, "tile" for a patch of one of
    several enlarged tiles, "thumbnail" for one of the whole image made small beside them, "query" for a learned vector
    (a query, a tile's class token) that read all of the image. The tokens of tiles and of the thumbnail overlap.
    grid: (rows, columns) of the leading tokens, which lie row by row over the image or its crop; None if none do.
    order: the place of each token among those of the model, if that has them in another order; None if it has not.
    """

    boxes: np.ndarray
    kinds: tuple[str, ...]
    grid: tuple[int, int] | None
    order: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return len(self.kinds)

    @property
    def within(self) -> Box:
        """What the grid covers of the image."""
        rows, columns = self.grid or (0, 0)
        first, last = self.boxes[0], self.boxes[rows * columns - 1]
        return float(first[0]), float(first[1]), float(last[2]), float(last[3])

    def only(self, kinds: Sequence[str]) -> np.ndarray:
        """Indices of the tokens of these kinds: the layers of a heatmap, one for tiles and one for the thumbnail."""
        return np.flatnonzero(np.isin(self.kinds, list(kinds)))


def boxes(rows: int, columns: int, within: Box = WHOLE) -> np.ndarray:
    """(rows·columns, 4): the boxes of a grid laid over `within`, row by row."""
    x0, y0, x1, y1 = within
    xs, ys = np.linspace(x0, x1, columns + 1), np.linspace(y0, y1, rows + 1)
    left, top = np.meshgrid(xs[:-1], ys[:-1])
    right, bottom = np.meshgrid(xs[1:], ys[1:])
    return np.stack([left, top, right, bottom], axis=-1).reshape(-1, 4)


def one_grid(rows: int, columns: int, within: Box = WHOLE) -> TokenMap:
    """A single grid over the image or its crop."""
    return TokenMap(boxes(rows, columns, within), ("patch",) * (rows * columns), (rows, columns))


def centre_crop(size: tuple[int, int]) -> Box:
    """The box of the largest central square of an image of `size` (width, height), as CLIP's preprocessing takes it."""
    width, height = size
    side = min(size)
    x, y = (width - side) / 2 / width, (height - side) / 2 / height
    return x, y, 1 - x, 1 - y


def queries(count: int) -> TokenMap:
    """Learned queries, each of which read the whole image: they lie on no grid."""
    return TokenMap(np.tile(WHOLE, (count, 1)), ("query",) * count, None)


def centred(scaled: tuple[int, int], canvas: tuple[int, int]) -> Box:
    """What a canvas (width, height, px) covers of the image that lies in its middle, scaled to `scaled` px: more than
    all of it, where there is padding.
    """
    (width, height), (wide, high) = scaled, canvas
    left, top = (wide - width) // 2, (high - height) // 2
    return -left / width, -top / height, (wide - left) / width, (high - top) / height


def padded(rows: int, columns: int, over: Box) -> TokenMap:
    """A grid over an image and the padding around it, row by row; those of the image are put first."""
    cut = boxes(rows, columns, over).clip(0, 1)
    wide, high = (cut[:, 2:] - cut[:, :2] > _NOTHING).T
    image, rest = np.flatnonzero(wide & high), np.flatnonzero(~(wide & high))
    grid = (int(high.sum()) // columns, int(wide.sum()) // rows)
    order = np.concatenate([image, rest])
    return TokenMap(cut[order], ("patch",) * len(image) + ("padding",) * len(rest), grid, order)


def tiles(rows: int, columns: int, side: int, thumbnail: bool, first: bool = False, within: Box = WHOLE) -> TokenMap:
    """rows × columns tiles that fill the image, row by row, each of side × side tokens over `within` of it; the
    thumbnail, of as many, comes last or `first`.
    """
    patches = boxes(side, side, within).clip(0, 1)
    if rows == columns == 1 and not thumbnail:
        return TokenMap(patches, ("patch",) * len(patches), (side, side))
    scale = [1 / columns, 1 / rows] * 2
    cut = [np.concatenate([box[:2], box[:2]]) + patches * scale for box in boxes(rows, columns)]
    parts = [(each, "tile") for each in cut] + [(patches, "thumbnail")] * thumbnail
    parts = parts[-1:] + parts[:-1] if thumbnail and first else parts
    kinds = tuple(kind for _, kind in parts for _ in range(len(patches)))
    return TokenMap(np.concatenate([each for each, _ in parts]), kinds, None)


def tiled_canvas(rows: int, columns: int, side: int, over: Box) -> TokenMap:
    """rows × columns tiles of side × side tokens, each behind its class token, over an image and the padding around it.

    The image's are put first, row by row across the tiles, then padding, then the class tokens.
    """
    index = np.arange(rows * columns * (1 + side * side)).reshape(rows, columns, 1 + side * side)
    across = index[:, :, 1:].reshape(rows, columns, side, side).swapaxes(1, 2).ravel()
    canvas, classes = padded(rows * side, columns * side, over), queries(rows * columns)
    patch = "patch" if rows == columns == 1 else "tile"
    kinds = tuple(patch if kind == "patch" else kind for kind in canvas.kinds) + classes.kinds
    order = np.concatenate([across[canvas.order], index[:, :, 0].ravel()])
    return TokenMap(np.concatenate([canvas.boxes, classes.boxes]), kinds, canvas.grid, order)


def tiles_with_padding(rows: int, columns: int, side: int, over: Box) -> TokenMap:
    """rows × columns tiles of side × side tokens over an image in their upper left corner and the padding around it,
    and a thumbnail of it last; one tile alone has none.
    """
    if rows == columns == 1:
        return padded(side, side, over)
    cut = np.concatenate([boxes(side, side, box) for box in boxes(rows, columns, over)]).clip(0, 1)
    kinds = ["tile" if min(box[2:] - box[:2]) > _NOTHING else "padding" for box in cut]
    whole = boxes(side, side)
    return TokenMap(np.concatenate([cut, whole]), (*kinds, *("thumbnail",) * len(whole)), None)


def in_reading_order(layout: TokenMap) -> TokenMap:
    """The same tokens, those of all tiles row by row over the whole image, padding and the thumbnail's after them.

    A model has its tiles one after the other; read across them they are one fine grid.
    """
    if layout.grid or "tile" not in layout.kinds:
        return layout
    fine, rest = layout.only(["tile"]), layout.only(["thumbnail", "padding"])
    corners = layout.boxes[fine].round(6)  # edges shared by two tiles are computed twice
    fine = fine[np.lexsort((corners[:, 0], corners[:, 1]))]
    rows, columns = (len(np.unique(corners[:, axis])) for axis in (1, 0))
    order = np.concatenate([fine, rest])
    grid = (rows, columns) if rows * columns == len(fine) else None
    return TokenMap(layout.boxes[order], tuple(layout.kinds[i] for i in order), grid, order)
