# Pictures from points of a latent space.

#' Let a model draw pictures
#'
#' @param model A model from [bs_model()] whose verb is `sample`.
#' @param n Number of pictures of random points; 16 if no other argument says what to draw.
#' @param latent Matrix with a point of the latent space in each row, or a vector: one point.
#' @param grid Draw `grid` x `grid` pictures of points that cover a latent plane.
#' @param images Pictures as for [predict.bs_model()], which are encoded to points and drawn again.
#' @param seed Number from which the random points follow.
#' @param truncation Random points are at most so many standard deviations from the centre.
#' @param walk Number of pictures from each point to the next.
#' @param interpolate How a walk goes: `"linear"` or `"slerp"` (on a sphere).
#' @param pixels As for [predict.bs_model()].
#' @return A list of class `bs_samples`: `latent`, a matrix with a point in each row, and `images`, an array
#'   `[pictures, height, width, channels]` of numbers from 0 to 1, as `png::writePNG()` takes a picture. `plot()` draws them.
#' @examples
#' \dontrun{
#' model <- bs_model(bs_connect(), "mnist_vae")
#' plot(bs_sample(model, grid = 10))
#' }
#' @export
bs_sample <- function(model, n = NULL, latent = NULL, grid = NULL, images = NULL, seed = NULL, truncation = NULL,
                      walk = NULL, interpolate = c("linear", "slerp"), pixels = c("auto", "0-1", "0-255")) {
  check_verb(model, "sample")
  if (is.data.frame(latent)) latent <- as.matrix(latent)
  if (!is.null(latent)) {
    if (is.null(dim(latent))) latent <- matrix(latent, 1)
    if (!is.numeric(latent) || anyNA(latent)) invalid("the points in 'latent' are not all numbers.")
    latent <- verbatim(array_json(unname(latent)))
  }
  if (!is.null(images)) {
    images <- verbatim(paste0("[", paste(image_rows(images, match.arg(pixels)), collapse = ","), "]"))
  }
  json <- to_json(list(
    n = n, latent = latent, grid = grid, images = images, seed = seed, truncation = truncation, walk = walk,
    interpolate = match.arg(interpolate), version = model$version
  ))
  reply <- call_server(model$con, model_path(model$name, "/sample"), json, accept = "application/x-npz")
  arrays <- read_npz(reply$body)
  structure(list(latent = arrays$latent, images = arrays$images / 255, grid = grid), class = "bs_samples")
}

#' @export
print.bs_samples <- function(x, ...) {
  dims <- dim(x$images)
  cat(sprintf("<bookserve samples> %d pictures [%s], from points of %d dimensions\n", dims[1],
              paste(dims[-1], collapse = ", "), ncol(x$latent)))
  invisible(x)
}

#' @param x What `bs_sample()` returned.
#' @param columns Number of pictures side by side.
#' @param ... Not used.
#' @rdname bs_sample
#' @export
plot.bs_samples <- function(x, columns = NULL, ...) {
  dims <- dim(x$images)
  columns <- columns %||% x$grid %||% ceiling(sqrt(dims[1]))
  rows <- ceiling(dims[1] / columns)
  old <- graphics::par(mar = rep(0, 4))
  on.exit(graphics::par(old))
  graphics::plot.new()
  graphics::plot.window(c(0, columns * dims[3]), c(rows * dims[2], 0), asp = 1)
  for (index in seq_len(dims[1])) {
    picture <- array(x$images[index, , , ], dims[-1])
    picture <- if (dims[4] == 1) matrix(picture, dims[2]) else picture
    left <- (index - 1) %% columns * dims[3]
    top <- (index - 1) %/% columns * dims[2]
    graphics::rasterImage(grDevices::as.raster(picture), left, top + dims[2], left + dims[3], top, interpolate = FALSE)
  }
  invisible(x)
}
