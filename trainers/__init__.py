"""The trainers: one file for each model of the book, one training loop, the data sets."""
