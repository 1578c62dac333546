"""The book's data sets as raw rows, real or generated samples."""
