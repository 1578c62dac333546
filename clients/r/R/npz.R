# NumPy's files: NPZ is a ZIP archive of NPY files.

read_npz <- function(bytes) {
  folder <- tempfile("npz")
  dir.create(folder)
  on.exit(unlink(folder, recursive = TRUE))
  archive <- file.path(folder, "arrays.zip")
  writeBin(bytes, archive)
  files <- utils::unzip(archive, exdir = folder)
  arrays <- lapply(files, read_npy)
  names(arrays) <- tools::file_path_sans_ext(basename(files))
  arrays
}

# An array of float32, float64, uint8, int32 or int64 in NumPy's order, as R's array.
read_npy <- function(path) {
  file <- file(path, "rb")
  on.exit(close(file))
  magic <- readBin(file, "raw", 8)
  size <- if (magic[7] == as.raw(1)) 2 else 4
  length <- readBin(file, "integer", 1, size, signed = size == 4, endian = "little")
  header <- rawToChar(readBin(file, "raw", length))
  found <- regmatches(header, regexec("'descr': '([^']+)', 'fortran_order': False, 'shape': \\(([^)]*)\\)", header))[[1]]
  kinds <- list("<f4" = list("numeric", 4), "<f8" = list("numeric", 8), "|u1" = list("integer", 1), "<i4" = list("integer", 4))
  kind <- if (length(found)) kinds[[found[2]]]
  if (is.null(kind)) stop_with("failed", sprintf("the server sent an array that R cannot read: %s", trimws(header)))
  dims <- as.integer(strsplit(found[3], ",\\s*")[[1]])
  values <- readBin(file, kind[[1]], prod(dims), kind[[2]], signed = kind[[2]] != 1, endian = "little")
  aperm(array(values, rev(dims)))
}
