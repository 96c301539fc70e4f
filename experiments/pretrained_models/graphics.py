"""Draws graphics to train on beside photographs: flat colours, gradients, text, lines, shapes, icons, charts, line art, windows.

python experiments/pretrained_models/graphics.py OUT COUNT [SEED [KIND ...]]

Writes COUNT images of 192x192 pixels, PNG, into OUT: of all kinds, or of those that are named, such as `flat gradient`.
Photographs hold few saturated flat colours and few sharp edges; a network that has never seen any changes them. Half of the
images are antialiased. Fonts are those of matplotlib and of the system; the same fonts and the same seed give the same images.
"""

import math
import random
import string
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

SIZE = 192
Colour = tuple[int, int, int]
_NOT_TEXT = ('STIXSiz', 'STIXNonUni', 'cmex', 'cmsy', 'cmmi', 'Symbol', 'Emoji', 'D050000L', 'Icons', 'LastResort')


def fonts() -> list[str]:
    """Paths of the fonts that hold letters."""
    folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
    found = {str(path) for path in folder.glob('*.ttf')} | set(font_manager.findSystemFonts())
    return sorted(path for path in found if not any(part in path for part in _NOT_TEXT))


FONTS = fonts()


class Canvas:
    """An image to draw on, and the random numbers it is drawn from. Coordinates are pixels of the finished image.

    Args:
        source: Random numbers.
        smooth: Draw four times as large and average: antialiasing.
    """

    def __init__(self, source: random.Random, smooth: bool) -> None:
        self.source = source
        self.factor = 4 if smooth else 1
        self.palette = [self.new_colour() for _ in range(source.randint(2, 6))]
        self.paper = self.palette[0]
        self.image = Image.new('RGB', (SIZE * self.factor,) * 2, self.paper)
        self.draw = ImageDraw.Draw(self.image)
        self.draw.fontmode = 'L' if smooth or source.random() < 0.5 else '1'

    def new_colour(self) -> Colour:
        kind = self.source.random()
        if kind < 0.25:
            return tuple(self.source.choice((0, 255)) for _ in range(3))
        if kind < 0.45:
            return tuple(self.source.choice(range(0, 256, 51)) for _ in range(3))
        if kind < 0.6:
            return (self.source.choice((0, 16, 32, 51, 128, 200, 221, 238, 248, 255)),) * 3
        return tuple(self.source.randrange(256) for _ in range(3))

    def colour(self) -> Colour:
        """A colour to draw with, which is not the paper's."""
        return self.source.choice([colour for colour in self.palette if colour != self.paper] or [self.new_colour()])

    def place(self, margin: int = 0) -> tuple[float, float]:
        return tuple(self.source.uniform(-margin, SIZE + margin) for _ in range(2))

    def box(self, smallest: float, largest: float) -> tuple[float, float, float, float]:
        width, height = (self.source.uniform(smallest, largest) for _ in range(2))
        left, top = self.place(10)
        return left, top, left + width, top + height

    def scaled(self, *numbers: float) -> list[int]:
        return [round(number * self.factor) for number in numbers]

    def fill(self, box: tuple, colour: Colour | None = None) -> None:
        self.draw.rectangle(self.scaled(*box), fill=colour or self.colour())

    def line(self, points: list[tuple[float, float]], width: float, colour: Colour | None = None) -> None:
        flat = [tuple(self.scaled(*point)) for point in points]
        self.draw.line(flat, fill=colour or self.colour(), width=max(1, round(width * self.factor)), joint='curve')

    def text(self, place: tuple[float, float], size: float, colour: Colour | None = None, words: str | None = None) -> None:
        font = ImageFont.truetype(self.source.choice(FONTS), max(6, round(size * self.factor)))
        self.draw.text(self.scaled(*place), words or some_words(self.source), font=font, fill=colour or self.colour())

    def finish(self) -> Image.Image:
        return self.image.resize((SIZE, SIZE), Image.Resampling.BOX) if self.factor > 1 else self.image


def some_words(source: random.Random) -> str:
    """Letters, digits or numbers that look like the words of a page."""
    kind = source.random()
    if kind < 0.2:
        return f'{source.uniform(-1000, 10000):,.{source.randrange(4)}f}'
    if kind < 0.3:
        return ''.join(source.choice(string.punctuation + string.digits + string.ascii_letters) for _ in range(12))
    words = [''.join(source.choice('etaoinshrdlucmfwypvbgkjqxz') for _ in range(source.randint(1, 10)))
             for _ in range(source.randint(1, 8))]
    change = source.choice((str.lower, str.lower, str.capitalize, str.upper))
    return ' '.join(change(word) for word in words)


def flat(canvas: Canvas) -> None:
    for _ in range(canvas.source.choice((0, 0, 1, 3, 8))):
        canvas.fill(canvas.box(15, SIZE))


def gradient(canvas: Canvas) -> None:
    stops = np.array([canvas.new_colour() for _ in range(canvas.source.choice((2, 2, 2, 3)))], float)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1)
    if canvas.source.random() < 0.75:
        angle = canvas.source.choice((0, math.pi / 2, canvas.source.uniform(0, 2 * math.pi)))
        along = x * math.cos(angle) + y * math.sin(angle)
    else:
        centre = [canvas.source.random() for _ in range(2)]
        along = np.hypot(x - centre[0], y - centre[1])
    along = (along - along.min()) / (along.max() - along.min()) * canvas.source.choice((1, 1, 0.5, 0.2))
    places = np.linspace(0, 1, len(stops))
    planes = [np.interp(along, places, stops[:, channel]) for channel in range(3)]
    drawn = Image.fromarray(np.rint(np.stack(planes, 2)).astype(np.uint8))
    canvas.image.paste(drawn.resize(canvas.image.size, Image.Resampling.NEAREST))
    if canvas.source.random() < 0.3:
        canvas.text(canvas.place(), canvas.source.uniform(10, 40))


def text(canvas: Canvas) -> None:
    size = canvas.source.choice((7, 8, 9, 10, 11, 12, 14, 16, 18, 24, 32, 48, 64))
    ink, font = canvas.colour(), canvas.source.choice(FONTS)
    top = canvas.source.uniform(-size, size)
    face = ImageFont.truetype(font, size * canvas.factor)
    while top < SIZE:
        words = ' '.join(some_words(canvas.source) for _ in range(3))
        canvas.draw.text(canvas.scaled(canvas.source.uniform(-20, 10), top), words, font=face, fill=ink)
        top += size * canvas.source.choice((1.1, 1.3, 1.3, 1.6))
    if canvas.source.random() < 0.25:
        canvas.image = canvas.image.rotate(canvas.source.uniform(-90, 90), Image.Resampling.BICUBIC, fillcolor=canvas.colour())


def lines(canvas: Canvas) -> None:
    width = canvas.source.choice((1, 1, 1, 2, 3, 5, 8))
    kind = canvas.source.randrange(3)
    if kind == 0:
        for _ in range(canvas.source.randint(2, 40)):
            canvas.line([canvas.place(20), canvas.place(20)], width)
    elif kind == 1:  # a hatching
        step, angle = canvas.source.uniform(width + 1, 24), canvas.source.uniform(0, math.pi)
        x, y, ink = math.cos(angle), math.sin(angle), canvas.colour()
        for number in range(int(-1.5 * SIZE / step), int(1.5 * SIZE / step)):
            centre = SIZE / 2 - y * number * step, SIZE / 2 + x * number * step
            canvas.line([(centre[0] - 200 * x, centre[1] - 200 * y), (centre[0] + 200 * x, centre[1] + 200 * y)], width, ink)
    else:  # a grid
        step_x, step_y = (canvas.source.randint(width + 2, 32) for _ in range(2))
        ink = canvas.colour()
        for place in range(0, SIZE, step_x):
            canvas.line([(place, 0), (place, SIZE)], width, ink)
        for place in range(0, SIZE, step_y):
            canvas.line([(0, place), (SIZE, place)], width, ink)


def shapes(canvas: Canvas) -> None:
    for _ in range(canvas.source.randint(1, 12)):
        box = canvas.scaled(*canvas.box(6, 120))
        style = dict(fill=canvas.colour() if canvas.source.random() < 0.7 else None, outline=canvas.colour(),
                     width=canvas.source.choice((0, 1, 2, 4)) * canvas.factor)
        kind = canvas.source.randrange(4)
        if kind == 0:
            canvas.draw.ellipse(box, **style)
        elif kind == 1:
            canvas.draw.rounded_rectangle(box, canvas.source.uniform(0, 20) * canvas.factor, **style)
        elif kind == 2:
            corners = [tuple(canvas.scaled(*canvas.place(20))) for _ in range(canvas.source.randint(3, 6))]
            canvas.draw.polygon(corners, fill=canvas.colour(), outline=canvas.colour())
        else:
            sides = canvas.source.randint(3, 10)
            centre, radius = canvas.place(), canvas.source.uniform(8, 70)
            inner = canvas.source.choice((1, 0.4, 0.6))
            corners = [(centre[0] + radius * (inner if number % 2 else 1) * math.sin(math.pi * number / sides),
                        centre[1] + radius * (inner if number % 2 else 1) * math.cos(math.pi * number / sides))
                       for number in range(2 * sides)]
            canvas.draw.polygon([tuple(canvas.scaled(*corner)) for corner in corners], fill=canvas.colour())


def pixel_art(canvas: Canvas) -> None:
    cells = canvas.source.choice((12, 16, 24, 32, 48))
    indices = [[canvas.source.randrange(len(canvas.palette)) for _ in range(cells // 2)] for _ in range(cells)]
    grid = np.array(canvas.palette, np.uint8)[np.array(indices)]
    grid[np.array([[canvas.source.random() < 0.5 for _ in range(cells // 2)] for _ in range(cells)])] = canvas.palette[0]
    sprite = Image.fromarray(np.concatenate([grid, grid[:, ::-1]], axis=1))
    canvas.image = sprite.resize((SIZE, SIZE), Image.Resampling.NEAREST)
    canvas.factor = 1


def icons(canvas: Canvas) -> None:
    side = canvas.source.choice((32, 48, 64, 96))
    for top in range(canvas.source.randrange(side), SIZE, side + 8):
        for left in range(canvas.source.randrange(side), SIZE, side + 8):
            box = canvas.scaled(left, top, left + side - 1, top + side - 1)
            canvas.draw.rounded_rectangle(box, side * canvas.factor // 5, fill=canvas.colour())
            inner = canvas.scaled(left + side / 4, top + side / 4, left + side * 3 / 4, top + side * 3 / 4)
            kind = canvas.source.randrange(4)
            if kind == 0:
                canvas.draw.ellipse(inner, fill=canvas.colour())
            elif kind == 1:
                canvas.draw.pieslice(inner, canvas.source.uniform(0, 360), canvas.source.uniform(0, 360), fill=canvas.colour())
            elif kind == 2:
                canvas.text((left + side / 4, top + side / 8), side / 2, words=canvas.source.choice(string.ascii_uppercase))
            else:
                canvas.line([(left + side / 4, top + side / 2), (left + side * 3 / 4, top + side / 2)], side / 10)
                canvas.line([(left + side / 2, top + side / 4), (left + side / 2, top + side * 3 / 4)], side / 10)


def chart(canvas: Canvas) -> None:
    ink, count = canvas.colour(), canvas.source.randint(4, 24)
    values = [canvas.source.uniform(10, 150) for _ in range(count)]
    kind = canvas.source.randrange(3)
    if kind == 2:
        start, box = 0.0, canvas.scaled(20, 20, 172, 172)
        for value in values:
            angle = 360 * value / sum(values)
            canvas.draw.pieslice(box, start, start + angle, fill=canvas.new_colour(), outline=ink)
            start += angle
        return
    canvas.line([(20, 10), (20, 170), (185, 170)], canvas.source.choice((1, 2)), ink)
    step = 160 / count
    if kind == 0:
        for number, value in enumerate(values):
            canvas.fill((22 + number * step, 170 - value, 22 + (number + 0.7) * step, 169))
    else:
        for _ in range(canvas.source.randint(1, 4)):
            points = [(22 + number * step, 170 - canvas.source.uniform(10, 150)) for number in range(count)]
            canvas.line(points, canvas.source.choice((1, 1.5, 2, 3)))
    for number in range(4):
        canvas.text((1, 20 + 40 * number), 8, ink, str(canvas.source.randrange(100)))
        canvas.text((25 + 40 * number, 174), canvas.source.choice((7, 8, 10)), ink)


def line_art(canvas: Canvas) -> None:
    ink, width = canvas.colour(), canvas.source.choice((1, 1.5, 2, 3, 4))
    for _ in range(canvas.source.randint(2, 14)):
        corners = np.array([canvas.place(30) for _ in range(4)])
        t = np.linspace(0, 1, 40)[:, None]
        curve = ((1 - t)**3 * corners[0] + 3 * (1 - t)**2 * t * corners[1] + 3 * (1 - t) * t**2 * corners[2] + t**3 * corners[3])
        if canvas.source.random() < 0.2:
            canvas.draw.polygon([tuple(canvas.scaled(*point)) for point in curve], fill=canvas.colour())
        canvas.line([tuple(point) for point in curve], width, ink)


def window(canvas: Canvas) -> None:
    ink, paper = canvas.colour(), canvas.source.choice([canvas.colour(), (255, 255, 255), (32, 32, 32)])
    left, top = canvas.source.randint(-30, 40), canvas.source.randint(-30, 40)
    canvas.fill((left, top, left + 170, top + 150), paper)
    canvas.fill((left, top, left + 170, top + 18))
    canvas.text((left + 6, top + 3), 10)
    for number in range(canvas.source.randint(2, 8)):
        canvas.text((left + 8, top + 24 + 15 * number), canvas.source.choice((8, 9, 10, 11, 12)), ink)
    for number in range(canvas.source.randint(0, 3)):
        button = canvas.scaled(left + 10 + 55 * number, top + 125, left + 55 + 55 * number, top + 142)
        canvas.draw.rounded_rectangle(button, 4 * canvas.factor, fill=canvas.colour(), outline=ink, width=canvas.factor)
        canvas.text((left + 15 + 55 * number, top + 128), 9, words=canvas.source.choice(('OK', 'Cancel', 'Open', 'Save as...')))


def saturated(canvas: Canvas) -> None:
    """One flat colour, or four, on the faces and edges of the colour cube more often than within: networks change these most."""
    colours = [tuple(canvas.source.choice((0, 255, canvas.source.randrange(256), canvas.source.randrange(256))) for _ in range(3))
               for _ in range(canvas.source.choice((1, 4)))]
    for number, colour in enumerate(colours):
        left, top = number % 2 * SIZE // 2, number // 2 * SIZE // 2
        canvas.fill((left, top, left + SIZE, top + SIZE), colour)


# How often each is drawn; of those with 0, only those that are named.
KINDS: dict[Callable[[Canvas], None], int] = {
    flat: 2, gradient: 3, text: 5, lines: 2, shapes: 3, pixel_art: 1, icons: 2, chart: 2, line_art: 2, window: 3,
    saturated: 0}


def drawn(seed: str, kinds: dict[Callable[[Canvas], None], int] = KINDS) -> Image.Image:
    """A random graphic, 192x192, RGB; the same for the same seed and kinds."""
    source = random.Random(seed)
    kind = source.choices(list(kinds), list(kinds.values()))[0]
    canvas = Canvas(source, source.random() < 0.5)
    kind(canvas)
    return canvas.finish()


def main(out: Path, count: int, seed: int = 0, names: Sequence[str] = ()) -> None:
    kinds = {kind: max(share, 1) for kind, share in KINDS.items() if kind.__name__ in names} or KINDS
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        drawn(f'{seed} {number}', kinds).save(out / f'graphic_{number:05d}.png')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit('usage: python graphics.py OUT COUNT [SEED [KIND ...]]')
    main(Path(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4:])
