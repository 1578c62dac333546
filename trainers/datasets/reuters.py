"""Load Reuters: 11,228 newswires of 1986 on 46 topics.

The sample is generated: newswires of words of their topic, words of other topics and common words. As in the real data,
some topics are much more frequent than others.
Source: Reuters-21578 (Lewis), as published by Keras.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np

from bookserve.steps.vocabulary import Vocabulary
from trainers.datasets.dataset import KERAS_DATASETS_URL, DataSet, Kind, Split, cached_file, report_unreadable
from trainers.datasets.imdb import RESERVED

_SHA256 = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
_WORDS_MD5 = "md5:4d44cc38712099c9e383dc6e5f11a921"

_NAMES = (
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton carcass "
    "crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock retail ipi "
    "iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead"
)
#: The names of the topics, in the order of the labels 0–45.
TOPICS = tuple(_NAMES.split())


def load(kind: Kind, size: int = 10_000) -> DataSet:
    """Newswires and labels int64 [n] (topics 0–45); the vocabulary has ``size`` entries, including the reserved ones.

    Real rows are lists of ids as from ``keras.datasets.reuters.load_data``, but with rare words; sample rows are texts.
    The Step ``Words`` takes both.
    """
    return _real(size) if kind == "real" else _sample(size)


def _real(size: int) -> DataSet:
    # The rows are arrays of Python lists, which NumPy stores as pickles. Keras's reader refuses any other pickled type.
    from keras.src.datasets.npz_utils import load_npz

    path = cached_file("reuters.npz", f"{KERAS_DATASETS_URL}reuters.npz", _SHA256)
    index = cached_file("reuters_word_index.json", f"{KERAS_DATASETS_URL}reuters_word_index.json", _WORDS_MD5)
    with report_unreadable(path):
        arrays = load_npz(path)
    with report_unreadable(index):
        words: dict[str, int] = json.loads(index.read_text("utf-8"))
    order = np.arange(len(arrays["x"]))
    np.random.RandomState(113).shuffle(order)  # as Keras does: shuffle all rows; the last fifth is for testing
    ids = [np.concatenate([[1], np.array(row, np.int32) + 3], dtype=np.int32) for row in arrays["x"][order]]
    labels = arrays["y"][order].astype(np.int64)
    cut = int(len(ids) * 0.8)
    ranked = (*RESERVED, *sorted(words, key=words.__getitem__))
    texts = np.array([" ".join(ranked[index] for index in row[1:]) for row in ids[cut : cut + 16]])
    about = f"Reuters: {cut:,} newswires, and {len(ids) - cut:,} to test"
    return DataSet(
        about, Split(ids[:cut], labels[:cut]), Split(ids[cut:], labels[cut:]), texts, Vocabulary("words", ranked[:size])
    )


_PLAIN = "the,of,said,and,mln,to,a,in,for,dlrs,it,is,on,its,from,year,at,be,by,was,company,will,market,has,tonnes"
_STEMS = "price,output,export,import,stock,quota,board,mine,crop,rate,plant,trader,index,yield,cargo,demand"


def _sample(size: int) -> DataSet:
    rng = np.random.default_rng(0)
    shares = 1 / (1 + np.arange(46.0))
    # Every topic occurs at least once in the training rows.
    labels = np.concatenate([np.arange(46), rng.choice(46, 2954, p=shares / shares.sum())])
    rows = [_wire(int(label), rng) for label in labels]
    counts = Counter(word for row in rows[:2500] for word in row.split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = Vocabulary("words", (*RESERVED, *ranked[: size - len(RESERVED)]))
    order = np.concatenate([rng.permutation(2500), np.arange(2500, 3000)])
    rows, labels = [rows[index] for index in order], labels[order]
    train, test = Split(rows[:2500], labels[:2500]), Split(rows[2500:], labels[2500:])
    return DataSet("2,500 generated newswires, and 500 to test", train, test, np.array(rows[2500:2516]), vocabulary)


def _wire(topic: int, rng: np.random.Generator) -> str:
    """Fifteen to forty words: a third are about the topic, a tenth about a random topic, the others are common."""
    stems, plain = _STEMS.split(","), _PLAIN.split(",")
    words = []
    for chance in rng.random(rng.integers(15, 41)):
        if chance < 0.43:
            about = topic if chance < 0.33 else int(rng.integers(46))
            words.append(f"{TOPICS[about].replace('-', '')}{stems[rng.integers(len(stems))]}")
        else:
            words.append(plain[rng.integers(len(plain))])
    return " ".join(words)
