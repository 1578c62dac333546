"""Tests of the files of Keras 1 and 2, and of HDF5."""
