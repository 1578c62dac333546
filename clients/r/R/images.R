# Pictures as rows: files, bytes, and arrays of pixels.

# `flat` is the number of pixels of the model's pictures: a matrix with so many columns has a picture in each row.
image_rows <- function(data, pixels, flat = NULL) {
  if (is.data.frame(data)) {
    if (ncol(data) != 1) {
      data <- as.matrix(data) # a line of pixels for each picture, as MNIST in CSV files
      if (!is.numeric(data)) invalid("the data frame does not hold pixels.", "Pass the column of files alone.")
      return(pixel_rows(data, pixels))
    }
    data <- data[[1]]
    if (is.factor(data)) data <- as.character(data)
  }
  if (is.raw(data)) return(bytes_json(data))
  if (is.character(data)) return(vapply(data, file_row, "", USE.NAMES = FALSE))
  if (is.list(data)) return(unlist(lapply(data, one_image, pixels = pixels)))
  if (!is.numeric(data)) invalid(sprintf("the data are of type '%s'; expected pictures.", class(data)[1]))
  dims <- dim(data)
  if (length(dims) == 2 && identical(as.numeric(dims[2]), flat)) return(pixel_rows(data, pixels))
  if (length(dims) == 2 || (length(dims) == 3 && dims[3] <= 4)) return(one_image(data, pixels))
  if (is.null(dims) || length(dims) == 1) return(pixel_rows(array(data, c(1, length(data))), pixels))
  pixel_rows(data, pixels) # [pictures, height, width] or [pictures, height, width, channels]
}

one_image <- function(item, pixels) {
  if (is.raw(item)) return(bytes_json(item))
  if (is.character(item) && length(item) == 1) return(file_row(item))
  refuse_special(item, "a picture")
  if (!is.numeric(item)) invalid(sprintf("an entry is of type '%s'; expected a picture.", class(item)[1]))
  array_json(pixel_values(item, pixels))
}

pixel_rows <- function(data, pixels) array_rows_json(pixel_values(data, pixels))

file_row <- function(path) {
  if (is.na(path)) return(NA_character_)
  if (!file.exists(path) || dir.exists(path)) {
    invalid(sprintf("there is no file '%s'; a text for a model of pictures is the name of a file.", path))
  }
  bytes_json(readBin(path, "raw", file.size(path)))
}

# Pixels as whole numbers from 0 to 255. readPNG() and readJPEG() give doubles from 0 to 1.
pixel_values <- function(data, pixels) {
  if (anyNA(data)) invalid("a picture has pixels that are NA.")
  limits <- range(data)
  unit <- switch(pixels,
    "auto" = is.double(data) && limits[2] <= 1,
    "0-1" = TRUE,
    "0-255" = FALSE
  )
  top <- if (unit) 1 else 255
  if (limits[1] < 0 || limits[2] > top) {
    invalid(
      sprintf("the pixels range from %g to %g; expected 0 to %g.", limits[1], limits[2], top),
      "Pictures are sent as they are: the server prepares them as in training."
    )
  }
  values <- round(if (unit) data * 255 else data)
  dims <- dim(values)
  values <- as.integer(values)
  dim(values) <- dims
  values
}
