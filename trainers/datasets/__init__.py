"""The data sets of the book as raw rows: the real ones, or small samples.

Each data set is a module with a function ``load(kind, …)``, whose docstring says what it returns; ``dataset.py`` has
the types. ``glove.py`` and ``imagenet.py`` provide pretrained vectors and weights, ``generated.py`` generated rows;
``arrays.py`` holds the encoded arrays that models are trained on.
"""
