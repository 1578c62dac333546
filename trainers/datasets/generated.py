"""Generate small data sets for tasks for which the book has only random arrays. Models can learn each of them.

Every function returns rows in the form in which users send them, and labels. ``kind`` only decides how many.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trainers.datasets.dataset import Kind


class GeneratedData(NamedTuple):
    """Rows (an array, texts, or dictionaries by input name) and labels (an array, or a dictionary by output name)."""

    about: str
    rows: Any
    labels: Any


def _row_count(kind: Kind, sample: int) -> int:
    return sample * 4 if kind == "real" else sample


PEOPLE = ("mary", "john", "anna", "peter")
THINGS = ("lamp", "ball", "book", "apple", "chair", "clock")
PLACES = ("kitchen", "garden", "office", "cellar", "attic", "hall")
ANSWERS = (*PEOPLE, *THINGS, *PLACES)
_QUESTIONS = {PEOPLE: "who was it?", THINGS: "what was taken?", PLACES: "where to?"}
_ASIDES = ("it was late", "nobody saw it", "the rain had stopped", "there was time")


def question_stories(kind: Kind) -> GeneratedData:
    """Texts on who takes what where, with a question about one of the three; labels int64 [n]: index in ``ANSWERS``."""
    rng = np.random.default_rng(0)
    rows, labels = [], []
    for _ in range(_row_count(kind, 2000)):
        who, what, where = (str(rng.choice(words)) for words in _QUESTIONS)
        sentences = [
            f"{who} {rng.choice(['took', 'carried', 'brought'])} the {what} to the {where}",
            str(rng.choice(_ASIDES)),
        ]
        question, answer = list(zip(_QUESTIONS.values(), (who, what, where), strict=True))[rng.integers(3)]
        rows.append({"text": ". ".join(rng.permutation(sentences)), "question": question})
        labels.append(ANSWERS.index(answer))
    return GeneratedData(f"{len(rows):,} generated stories of who takes what where", rows, np.array(labels, np.int64))


_WORDS = "today we have been at home and then out again with some of the others it was a long day so much to do"
_DECADES = ("homework", "campus", "flatmate", "promotion", "mortgage", "teenagers", "grandchild", "retirement")
_WEALTH = ("bus", "rent", "bicycle", "savings", "holiday", "garage", "terrace", "sailing", "antiques", "yacht")
_WOMAN, _MAN = ["sister", "skirt", "choir", "earrings"], ["brother", "beard", "tie", "razor"]


def profile_posts(kind: Kind) -> GeneratedData:
    """A person's posts as one text; labels ``age`` (years), ``income`` (class 0–9), ``gender`` (1: a man), [n] each."""
    rng = np.random.default_rng(0)
    count = _row_count(kind, 1200)
    ages, incomes, genders = rng.uniform(10, 90, count), rng.integers(0, 10, count), rng.integers(0, 2, count)
    rows = []
    for age, income, gender in zip(ages, incomes, genders, strict=True):
        words = list(rng.choice(_WORDS.split(), 30))
        words += [_DECADES[int(age // 10) - 1]] * 3 + [_WEALTH[income]] * 3
        words += list(rng.choice(_MAN if gender else _WOMAN, 3))
        rows.append(" ".join(rng.permutation(words)))
    labels = {"age": ages.astype(np.float32), "income": incomes.astype(np.int64), "gender": genders.astype(np.int64)}
    return GeneratedData(f"the generated posts of {count:,} people", rows, labels)


def sentence_pairs(kind: Kind) -> GeneratedData:
    """Pairs of sentences as word vectors float32 [9, 128]; labels int64 [n]: 1 if both are about topic 0.

    The book's model applies a sigmoid to two concatenated states, which adds up one term for each sentence. So it can
    learn "both are about topic 0", but not "both are about the same topic".
    """
    rng = np.random.default_rng(0)
    topics, plain = rng.normal(0, 1, (3, 6, 128)), rng.normal(0, 1, (12, 128))
    count = _row_count(kind, 1500)
    labels = rng.integers(0, 2, count)

    def sentence(topic: int) -> np.ndarray:
        """Three words of the topic and six common words, in random order."""
        words = np.concatenate([topics[topic, rng.choice(6, 3)], plain[rng.choice(12, 6)]])
        drawn: np.ndarray = rng.permutation(words) + rng.normal(0, 0.1, (9, 128))
        return drawn.astype(np.float32)

    rows = []
    for both in labels:
        others = ((0, 1), (1, 0), (1, 2), (2, 0), (0, 2))
        left, right = (0, 0) if both else others[rng.integers(len(others))]
        rows.append({"left": sentence(left), "right": sentence(right)})
    return GeneratedData(f"{count:,} generated pairs of sentences", rows, labels.astype(np.int64))


SHAPES = ("disc", "ring", "square", "frame", "triangle", "cross", "bar", "pole", "dots", "diamond")


def drawn_shapes(kind: Kind, size: int = 64) -> GeneratedData:
    """Pictures uint8 [n, size, size, 3] of a shape on a background; labels int64 [n]: index in ``SHAPES``."""
    rng = np.random.default_rng(0)
    labels = np.arange(_row_count(kind, 1500)) % len(SHAPES)
    rows = np.stack(
        [_draw_shape(SHAPES[label], size, rng, rng.uniform(24, 40, 2), rng.uniform(15, 22)) for label in labels]
    )
    return GeneratedData(f"{len(rows):,} drawn shapes of ten kinds", rows, labels)


def stereo_views(kind: Kind, size: int) -> GeneratedData:
    """Pictures of an object from two cameras, uint8 [size, size, 3] each; label 1: it is nearer to the right camera."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, _row_count(kind, 160))
    rows = []
    for nearer in labels:
        shape, far, near = str(rng.choice(["disc", "square"])), rng.uniform(6, 10), rng.uniform(20, 28)
        colours = rng.integers(0, 2**31)  # a seed, so that both cameras see the same colours
        sides = [
            _draw_shape(shape, size, np.random.default_rng(colours), rng.uniform(28, 36, 2), radius)
            for radius in ((far, near) if nearer else (near, far))
        ]
        rows.append(dict(zip(("left", "right"), sides, strict=True)))
    return GeneratedData(f"{len(rows):,} drawn pairs of views", rows, labels.astype(np.int64))


def _draw_shape(shape: str, size: int, rng: np.random.Generator, centre: np.ndarray, r: float) -> np.ndarray:
    """Draw a bright shape on a dark background; ``centre`` and ``r`` are in pixels of a 64×64 picture."""
    from PIL import Image, ImageDraw

    ground, colour = (tuple(int(value) for value in rng.integers(low, low + 90, 3)) for low in (0, 140))
    picture = Image.new("RGB", (64, 64), ground)
    draw = ImageDraw.Draw(picture)
    x, y = centre
    box, thick = (x - r, y - r, x + r, y + r), max(2, int(r / 3))
    match shape:
        case "disc":
            draw.ellipse(box, colour)
        case "ring":
            draw.ellipse(box, outline=colour, width=thick)
        case "square":
            draw.rectangle(box, colour)
        case "frame":
            draw.rectangle(box, outline=colour, width=thick)
        case "triangle":
            draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], colour)
        case "cross":
            draw.line([(x - r, y), (x + r, y)], colour, thick)
            draw.line([(x, y - r), (x, y + r)], colour, thick)
        case "bar":
            draw.rectangle((x - r, y - thick, x + r, y + thick), colour)
        case "pole":
            draw.rectangle((x - thick, y - r, x + thick, y + r), colour)
        case "dots":
            for side in (-1, 1):
                draw.ellipse((x + side * r - thick, y - thick, x + side * r + thick, y + thick), colour)
        case _:
            draw.polygon([(x, y - r), (x - r, y), (x, y + r), (x + r, y)], colour)
    if size != 64:
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    noisy = np.asarray(picture, np.int16) + rng.integers(-10, 11, (size, size, 3), np.int16)
    clipped: np.ndarray = np.clip(noisy, 0, 255)
    return clipped.astype(np.uint8)


def clusters(kind: Kind, classes: int, *, several: bool = False) -> GeneratedData:
    """Rows float32 [n, 16] around one of ``classes`` centres; labels int64 [n]: the index of the centre.

    With ``several``, each row is around the sum of two centres, and labels are multi-hot: int64 [n, classes].
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (classes, 16))
    first, second = rng.integers(0, classes, (2, _row_count(kind, 1500)))
    rows = centres[first] + (centres[second] if several else 0) + rng.normal(0, 0.7, (len(first), 16))
    about = f"{len(first):,} generated rows of 16 numbers"
    if not several:
        return GeneratedData(about, rows.astype(np.float32), first)
    hot = np.zeros((len(first), classes), np.int64)
    hot[np.arange(len(first)), first] = hot[np.arange(len(first)), second] = 1
    return GeneratedData(about, rows.astype(np.float32), hot)


def regression_rows(kind: Kind) -> GeneratedData:
    """Rows float32 [n, 16]; labels float32 [n, 2]: one linear and one non-linear function of the row, with noise."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (_row_count(kind, 1500), 16)).astype(np.float32)
    answers = np.stack([rows[:, :4].sum(axis=1), 2 * np.abs(rows[:, 4]) + rows[:, 5]], axis=1)
    return GeneratedData(
        f"{len(rows):,} generated rows of 16 numbers", rows, answers + rng.normal(0, 0.1, answers.shape)
    )


def rhythm_sequences(kind: Kind, classes: int) -> GeneratedData:
    """Sequences float32 [n, 20, 4]; labels int64 [n, classes] (multi-hot): which sine waves a sequence contains."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (_row_count(kind, 1500), classes))
    beats = np.sin(2 * np.pi * np.arange(20)[:, None] * (1 + 2 * np.arange(classes)) / 20)  # [time, classes]
    mixing = rng.normal(0, 1, (classes, 4))
    rows = np.einsum("nc,tc,cf->ntf", labels, beats, mixing) + rng.normal(0, 0.3, (len(labels), 20, 4))
    return GeneratedData(f"{len(rows):,} generated sequences of 20 × 4 numbers", rows.astype(np.float32), labels)
