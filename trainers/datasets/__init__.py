"""The data sets of the book as raw rows: the real ones, or small samples.

Each data set is a module with a function ``load(kind, …)``, whose docstring says what it returns.
"""
