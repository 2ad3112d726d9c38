"""Draws the built-in sample set: eight animals that differ in shape, colour and texture, no two pictures alike.

Each picture has a pose, a light and a background of its own. Colours overlap between the animals, so that none can be
told by its colour alone.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from whippet_training.errors import TrainingError

SPLIT_SIZES = {"train": 56, "valid": 12, "test": 12}
"""Pictures of each class in each split."""

_SIDE = 256
_CANVAS = 400
"""Animals are drawn on a square of this many pixels with its origin in the middle, then posed on the picture."""

STAMP = ".whippet-sample"
_SEED = "whippet-sample-1"

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Pen:
    """Draws on a transparent canvas whose origin is its middle and whose unit is a pixel.

    Args:
        draw: Of one animal.
    """

    def __init__(self, draw: random.Random) -> None:
        self.random = draw
        self.image = Image.new("RGBA", (_CANVAS, _CANVAS))
        self._draw = ImageDraw.Draw(self.image)

    def colour(self, hue: tuple[float, float], saturation: float = 0.7, value: float = 0.85) -> Colour:
        """Picks a colour with a hue in a range of degrees, and a saturation and value near the given ones."""
        jitter = self.random.uniform
        red, green, blue = colorsys.hsv_to_rgb(
            (jitter(*hue) % 360) / 360, _clip(saturation + jitter(-0.15, 0.15)), _clip(value + jitter(-0.12, 0.12))
        )
        return round(red * 255), round(green * 255), round(blue * 255)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """Fills an ellipse around (x, y)."""
        c = _CANVAS / 2
        self._draw.ellipse((c + x - rx, c + y - ry, c + x + rx, c + y + ry), fill=fill)

    def polygon(self, points: list[Point], fill: Colour) -> None:
        """Fills a polygon."""
        self._draw.polygon([(_CANVAS / 2 + x, _CANVAS / 2 + y) for x, y in points], fill=fill)

    def line(self, points: list[Point], fill: Colour, width: int) -> None:
        """Draws a line with rounded corners."""
        self._draw.line([(_CANVAS / 2 + x, _CANVAS / 2 + y) for x, y in points], fill=fill, width=width, joint="curve")

    def petal(self, x: float, y: float, length: float, width: float, angle: float, fill: Colour) -> None:
        """Fills an ellipse that starts at (x, y) and points towards ``angle`` degrees."""
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        points = []
        for step in range(40):
            turn = math.tau * step / 40
            along, across = length / 2 * (1 + math.cos(turn)), width / 2 * math.sin(turn)
            points.append((x + along * cos - across * sin, y + along * sin + across * cos))
        self.polygon(points, fill)

    def eye(self, x: float, y: float, radius: float, iris: Colour = (25, 22, 20)) -> None:
        """Draws an eye with a glint."""
        self.ellipse(x, y, radius, radius, (250, 250, 246))
        self.ellipse(x + radius * 0.1, y + radius * 0.1, radius * 0.68, radius * 0.68, iris)
        self.ellipse(x - radius * 0.2, y - radius * 0.25, radius * 0.24, radius * 0.24, (255, 255, 255))


def _ladybird(pen: Pen) -> None:
    shell, dark = pen.colour((-15, 50), 0.85, 0.85), pen.colour((0, 360), 0.2, 0.14)
    for side in (-1, 1):
        for y in (-40, 10, 60):
            pen.line([(side * 70, y), (side * 128, y + pen.random.uniform(-25, 25))], dark, 11)
        pen.line([(side * 18, -120), (side * pen.random.uniform(40, 62), -165)], dark, 7)
    pen.ellipse(0, -92, 58, 46, dark)
    pen.ellipse(0, 12, 112, 122, shell)
    pen.ellipse(-30, -92, 12, 12, (245, 245, 235))
    pen.ellipse(30, -92, 12, 12, (245, 245, 235))
    pen.line([(0, -106), (0, 134)], dark, 7)
    size = pen.random.uniform(17, 25)
    for x, y in ((42, -50), (66, 14), (38, 74), (32, 10))[: pen.random.choice((3, 4))]:
        for side in (-1, 1):
            pen.ellipse(side * x, y, size, size, dark)


def _bee(pen: Pen) -> None:
    fur, dark = pen.colour((28, 62), 0.85, 0.92), pen.colour((10, 40), 0.4, 0.16)
    wing = pen.colour((180, 260), 0.18, 0.95)
    for side in (-1, 1):
        pen.petal(side * 20, -30, 140, 66, -90 + side * pen.random.uniform(38, 56), wing)
        pen.petal(side * 20, -10, 105, 50, -90 + side * pen.random.uniform(72, 90), wing)
    pen.polygon([(-12, 128), (12, 128), (0, 170)], dark)
    stripes = pen.random.choice((3, 4))
    for y in range(-70, 140):
        half = 70 * math.sqrt(max(0.0, 1 - ((y - 34) / 106) ** 2))
        dark_here = y > -30 and int((y + 30) / (165 / (2 * stripes))) % 2 == 0
        pen.line([(-half, y), (half, y)], dark if dark_here else fur, 2)
    pen.ellipse(0, -82, 46, 42, dark)
    for side in (-1, 1):
        pen.line([(side * 14, -115), (side * 34, -158)], dark, 6)
        pen.eye(side * 22, -88, 14)


def _butterfly(pen: Pen) -> None:
    wing, inner = pen.colour((0, 360), 0.7, 0.85), pen.colour((0, 360), 0.6, 0.9)
    dark = pen.colour((0, 360), 0.3, 0.18)
    spread = pen.random.uniform(26, 44)
    for side in (-1, 1):
        base = -90 + side * 90
        for length, width, angle in ((185, 122, -spread), (140, 104, spread + 12)):
            turn = base + side * angle
            pen.petal(0, 0, length, width, turn, dark)
            pen.petal(6 * side, 0, length * 0.9, width * 0.82, turn, wing)
            pen.petal(30 * side, 0, length * 0.45, width * 0.45, turn, inner)
            cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            for reach, size in ((0.74, 0.14), (0.9, 0.07)):
                pen.ellipse(length * reach * cos, length * reach * sin, length * size * 0.8, length * size * 0.8, inner)
        pen.line([(0, -60), (side * 22, -110), (side * 46, -132)], dark, 6)
    pen.ellipse(0, 6, 14, 82, dark)
    pen.ellipse(0, -72, 18, 18, dark)


def _fish(pen: Pen) -> None:
    body, fin = pen.colour((0, 360), 0.75, 0.85), pen.colour((0, 360), 0.7, 0.75)
    light = pen.colour((30, 220), 0.25, 0.95)
    tail = pen.random.uniform(60, 86)
    pen.polygon([(70, 0), (160, -tail), (138, 0), (160, tail)], fin)
    pen.polygon([(-50, -60), (20, -128), (70, -40)], fin)
    pen.polygon([(-30, 60), (20, 112), (50, 40)], fin)
    for layer, colour in ((0, body), (1, light)):
        pen.ellipse(-20, 24 * layer, 126 - 26 * layer, 78 - 26 * layer, colour)
    scale = pen.random.uniform(20, 26)
    for row in range(-3, 3):
        for column in range(7):
            x, y = -66 + column * scale + (row % 2) * scale / 2, row * scale * 0.8
            if ((x + 20) / 112) ** 2 + (y / 62) ** 2 < 0.8:
                pen.ellipse(x, y, scale * 0.48, scale * 0.48, fin)
                pen.ellipse(x + 4, y, scale * 0.44, scale * 0.44, body)
    pen.eye(-98, -18, 20)
    pen.line([(-146, 14), (-128, 22), (-112, 20)], (60, 40, 40), 6)


def _owl(pen: Pen) -> None:
    coat, belly = pen.colour((10, 50), 0.5, 0.55), pen.colour((25, 60), 0.3, 0.9)
    if pen.random.random() < 0.35:
        coat = pen.colour((190, 290), 0.35, 0.6)
    beak, iris = pen.colour((25, 50), 0.85, 0.95), pen.colour((20, 60), 0.9, 0.35)
    ears = pen.random.uniform(150, 178)
    for side in (-1, 1):
        pen.polygon([(side * 30, -110), (side * 88, -ears), (side * 96, -70)], coat)
        pen.petal(side * 70, -20, 150, 64, 90 + side * pen.random.uniform(-24, 4), tuple(c * 3 // 4 for c in coat))  # type: ignore[arg-type]
        for toe in (-12, 4, 20):
            pen.line([(side * 38 + toe - 4, 134), (side * 38 + toe - 4, 158)], beak, 9)
    pen.ellipse(0, 30, 98, 116, coat)
    pen.ellipse(0, -62, 104, 82, coat)
    pen.ellipse(0, 60, 66, 78, belly)
    for row in range(4):
        for column in range(-2 + row // 2, 3 - row // 2):
            x, y = column * 26 + (row % 2) * 13, 12 + row * 30
            pen.line([(x - 9, y), (x, y + 10), (x + 9, y)], coat, 5)
    for side in (-1, 1):
        pen.ellipse(side * 44, -64, 50, 50, belly)
        pen.eye(side * 42, -64, 36, iris)
        pen.ellipse(side * 45, -61, 13, 13, (15, 12, 12))
    pen.polygon([(-14, -44), (14, -44), (0, -12)], beak)


def _cat(pen: Pen) -> None:
    coat = pen.random.choice((pen.colour((15, 40), 0.65, 0.8), pen.colour((0, 360), 0.08, 0.6)))
    stripe: Colour = (coat[0] * 5 // 9, coat[1] * 5 // 9, coat[2] * 5 // 9)
    pink, iris = pen.colour((340, 370), 0.35, 0.92), pen.colour((60, 200), 0.6, 0.7)
    tilt = pen.random.uniform(-14, 14)
    for side in (-1, 1):
        pen.polygon([(side * 128, -20), (side * 112 + tilt, -160), (side * 22, -98)], coat)
        pen.polygon([(side * 108, -50), (side * 102 + tilt, -128), (side * 50, -92)], pink)
    pen.ellipse(0, 10, 140, 118, coat)
    for x in (-34, 0, 34):
        pen.line([(x, -100 + abs(x) / 4), (x * 0.7, -56)], stripe, 13)
    for side in (-1, 1):
        for y in (6, 34):
            pen.line([(side * 136, y), (side * 96, y + 6)], stripe, 12)
    pen.ellipse(0, 62, 62, 46, (246, 240, 232))
    for side in (-1, 1):
        pen.ellipse(side * 56, -8, 31, 27, iris)
        pen.ellipse(side * 56, -8, pen.random.uniform(8, 14), 25, (18, 18, 18))
        pen.ellipse(side * 56 - 8, -18, 6, 6, (255, 255, 255))
        for drop in (-14, 6, 26):
            pen.line([(side * 44, 58 + drop / 3), (side * 165, 44 + drop * 1.4)], (250, 250, 250), 4)
    pen.polygon([(-18, 34), (18, 34), (0, 56)], pink)
    pen.line([(-26, 76), (0, 66), (26, 76)], stripe, 6)
    pen.line([(0, 52), (0, 68)], stripe, 6)


def _snail(pen: Pen) -> None:
    body, shell = pen.colour((20, 100), 0.4, 0.75), pen.colour((0, 360), 0.5, 0.75)
    swirl: Colour = (shell[0] // 2, shell[1] // 2, shell[2] // 2)
    pen.ellipse(-10, 104, 150, 28, body)
    pen.polygon([(120, 112), (172, 128), (60, 128)], body)
    pen.line([(-118, 100), (-126, 20), (-118, -20)], body, 52)
    pen.ellipse(-118, -18, 34, 32, body)
    lean = pen.random.uniform(-18, 14)
    for x in (-134, -102):
        pen.line([(x, -34), (x + lean, -96)], body, 10)
        pen.eye(x + lean, -100, 15)
    pen.line([(-144, -2), (-132, 6), (-118, 4)], swirl, 5)
    pen.ellipse(26, 10, 108, 104, shell)
    turns = pen.random.uniform(2.4, 3.2)
    spiral = []
    for step in range(140):
        angle, radius = math.tau * turns * step / 140 + 0.6, 100 * (1 - step / 140)
        spiral.append((26 + radius * math.cos(angle), 10 + radius * math.sin(angle)))
    pen.line(spiral, swirl, 12)


def _turtle(pen: Pen) -> None:
    skin, shell = pen.colour((60, 170), 0.5, 0.65), pen.colour((20, 150), 0.55, 0.5)
    plate: Colour = (min(255, shell[0] * 3 // 2), min(255, shell[1] * 3 // 2), min(255, shell[2] * 3 // 2))
    swing = pen.random.uniform(-16, 16)
    for side in (-1, 1):
        pen.petal(side * 50, -60, 125, 56, -90 + side * (52 + swing), skin)
        pen.petal(side * 50, 60, 95, 48, 90 - side * (40 + swing), skin)
    pen.polygon([(-14, 110), (14, 110), (0, 160)], skin)
    pen.ellipse(pen.random.uniform(-12, 12), -128, 40, 46, skin)
    for side in (-1, 1):
        pen.ellipse(side * 20, -142, 8, 8, (20, 20, 18))
    pen.ellipse(0, 6, 106, 122, shell)
    size = pen.random.uniform(33, 38)
    for x, y in ((0, 6), *((68 * math.cos(a), 6 + 74 * math.sin(a)) for a in (math.tau * k / 6 for k in range(6)))):
        pen.polygon(
            [(x + size * math.cos(math.tau * k / 6), y + size * math.sin(math.tau * k / 6)) for k in range(6)], plate
        )
        pen.ellipse(x, y, size * 0.4, size * 0.4, shell)


ANIMALS: dict[str, Callable[[Pen], None]] = {
    "bee": _bee,
    "butterfly": _butterfly,
    "cat": _cat,
    "fish": _fish,
    "ladybird": _ladybird,
    "owl": _owl,
    "snail": _snail,
    "turtle": _turtle,
}


@dataclass(frozen=True)
class Picture:
    """Which picture of the set."""

    split: str
    animal: str
    number: int

    @property
    def file(self) -> str:
        """Path in the set."""
        return f"{self.split}/{self.animal}/{self.animal}-{self.number:03}.jpg"


def pictures() -> list[Picture]:
    """Lists the whole set."""
    return [
        Picture(split, animal, number)
        for split, count in SPLIT_SIZES.items()
        for animal in ANIMALS
        for number in range(count)
    ]


def draw(picture: Picture) -> bytes:
    """Draws a picture and encodes it as JPEG: always the same bytes from the same Pillow."""
    pick = random.Random(f"{_SEED}/{picture.file}")  # noqa: S311 (drawing, not secrets)
    noise = np.random.default_rng(int.from_bytes(hashlib.sha256(picture.file.encode()).digest()[:8], "big"))
    pen = Pen(pick)
    ANIMALS[picture.animal](pen)
    scene = _background(pick, noise)
    animal = pen.image
    if pick.random() < 0.5:
        animal = animal.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = pick.gauss(0, 22)
    side = round(_SIDE * pick.uniform(0.55, 1.0))
    animal = animal.resize((round(side * pick.uniform(0.85, 1.15)), side), Image.Resampling.BICUBIC)
    animal = animal.rotate(angle, Image.Resampling.BICUBIC)
    room = (_SIDE - animal.width, _SIDE - animal.height)
    place = (
        round(room[0] / 2 + pick.uniform(-0.12, 0.12) * _SIDE),
        round(room[1] / 2 + pick.uniform(-0.12, 0.12) * _SIDE),
    )
    shadow = animal.getchannel("A").point(lambda alpha: alpha * 2 // 5).filter(ImageFilter.GaussianBlur(5))
    drop = (place[0] + pick.randint(-9, 9), place[1] + pick.randint(4, 12))
    scene.paste((0, 0, 0), (*drop, drop[0] + shadow.width, drop[1] + shadow.height), shadow)
    scene.paste(animal, place, animal)
    encoded = io.BytesIO()
    _light(scene, pick, noise).save(encoded, "JPEG", quality=88)
    return encoded.getvalue()


def _background(pick: random.Random, noise: np.random.Generator) -> Image.Image:
    """Paints soft blobs, stripes or bokeh in colours that say nothing about the animal."""
    first, second = (
        np.array(
            colorsys.hsv_to_rgb(pick.random(), pick.uniform(0.1, 0.55), pick.uniform(0.35, 0.95)), dtype=np.float32
        )
        for _ in range(2)
    )
    kind = pick.choice(("blobs", "stripes", "bokeh", "grain"))
    rows, columns = _grid()
    turn = pick.uniform(0, math.tau)
    ramp = (rows - 0.5) * math.sin(turn) + (columns - 0.5) * math.cos(turn) + 0.5
    if kind == "stripes":
        mix = 0.5 + 0.5 * np.sin(ramp * math.tau * pick.uniform(2, 9))
    elif kind == "blobs" or kind == "grain":
        cells = pick.randint(3, 6) if kind == "blobs" else pick.randint(20, 60)
        small = Image.fromarray((noise.random((cells, cells)) * 255).astype(np.uint8))
        mix = np.asarray(small.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)) / 255
    else:
        mix = ramp
    picture = Image.fromarray(((first + (second - first) * mix[..., np.newaxis].clip(0, 1)) * 255).astype(np.uint8))
    if kind == "bokeh":
        pen = ImageDraw.Draw(picture, "RGBA")
        for _ in range(pick.randint(8, 18)):
            x, y, radius = pick.uniform(0, _SIDE), pick.uniform(0, _SIDE), pick.uniform(8, 38)
            shade = tuple(round(255 * pick.uniform(0.5, 1)) for _ in range(3))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*shade, 90))
        picture = picture.filter(ImageFilter.GaussianBlur(2))
    return picture


@cache
def _grid() -> npt.NDArray[np.float32]:
    """Rows and columns of a picture's pixels, from 0 to 1: float32 [2, side, side]."""
    return (np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE).astype(np.float32)


def _light(scene: Image.Image, pick: random.Random, noise: np.random.Generator) -> Image.Image:
    """Lights a scene from one side, in a warm or cold tone, and adds a camera's blur and noise."""
    rows, columns = _grid() - 0.5
    turn, strength = pick.uniform(0, math.tau), pick.uniform(0, 0.55)
    light = pick.uniform(0.7, 1.15) + strength * (rows * math.sin(turn) + columns * math.cos(turn))
    warmth = pick.uniform(-0.12, 0.12)
    if pick.random() < 0.4:
        scene = scene.filter(ImageFilter.GaussianBlur(pick.uniform(0.4, 1.4)))
    pixels = np.asarray(scene, dtype=np.float32) * np.asarray(light[..., np.newaxis], dtype=np.float32)
    pixels *= np.array([1 + warmth, 1.0, 1 - warmth], dtype=np.float32)
    pixels += noise.standard_normal(pixels.shape, dtype=np.float32) * np.float32(pick.uniform(1, 9))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_sample(folder: Path, advance: Callable[[], None] = lambda: None) -> bool:
    """Draws the sample set into a folder that does not exist or is empty; it appears there whole or not at all.

    Args:
        folder: Receives SPLIT/CLASS/*.jpg.
        advance: Called for every picture drawn.

    Returns:
        False if the set was already there, and nothing was drawn.

    Raises:
        TrainingError: If something else is in the way.
    """
    stamp = folder / STAMP
    wanted = f"{_SEED} {len(pictures())}\n"
    if stamp.is_file() and stamp.read_text() == wanted and all((folder / each.file).is_file() for each in pictures()):
        return False
    if folder.exists() and not stamp.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TrainingError(f"{folder} is not empty and not a sample set; name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as workplace:
        unfinished = Path(workplace, "new")
        everything = pictures()
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for picture, encoded in zip(everything, pool.map(draw, everything), strict=True):
                path = unfinished / picture.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded)
                advance()
        (unfinished / STAMP).write_text(wanted)
        if folder.exists():
            folder.rename(Path(workplace, "old"))
        shutil.move(unfinished, folder)
    return True


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
