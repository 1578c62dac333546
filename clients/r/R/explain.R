# What a convnet looks at.

#' Show which parts of a picture count for a class (Grad-CAM)
#'
#' @param model A model from [bs_model()] that classifies pictures.
#' @param image One picture, as for [predict.bs_model()].
#' @param class Name of the class; by default the likeliest.
#' @param pixels As for [predict.bs_model()].
#' @return A list of class `bs_explanation`: `class`, `score`, `heatmap` (a matrix, numbers from 0 to 1), and `overlay`: the
#'   bytes of a PNG file with the heat map on top of the picture. `plot()` draws the overlay; it needs the package png.
#' @examples
#' \dontrun{
#' model <- bs_model(bs_connect(), "imagenet_classifier")
#' explanation <- bs_explain(model, "elephants.jpg", "African_elephant")
#' writeBin(explanation$overlay, "overlay.png")
#' }
#' @export
bs_explain <- function(model, image, class = NULL, pixels = c("auto", "0-1", "0-255")) {
  check_verb(model, "predict")
  rows <- rows_json(model, image, match.arg(pixels))
  if (length(rows) != 1 || is.na(rows)) invalid("expected one picture.", "Call bs_explain() for each.")
  json <- to_json(list(row = verbatim(rows), label = if (!is.null(class)) as.character(class), version = model$version))
  reply <- call_json(model$con, model_path(model$name, "/explain"), json)
  structure(
    list(class = reply$label, score = reply$score, heatmap = drop(stack_rows(list(reply$heatmap))[1, , ]),
         overlay = jsonlite::base64_dec(reply$overlay$b64)),
    class = "bs_explanation"
  )
}

#' @export
print.bs_explanation <- function(x, ...) {
  cat(sprintf("<bookserve explanation> %s (%.3f), heat map [%s]\n", x$class, x$score, paste(dim(x$heatmap), collapse = ", ")))
  invisible(x)
}

#' @param x What `bs_explain()` returned.
#' @param ... Not used.
#' @rdname bs_explain
#' @export
plot.bs_explanation <- function(x, ...) {
  if (!requireNamespace("png", quietly = TRUE)) {
    invalid("plot() of an explanation needs the package png.", "install.packages(\"png\")")
  }
  picture <- png::readPNG(x$overlay)
  old <- graphics::par(mar = rep(0, 4))
  on.exit(graphics::par(old))
  graphics::plot.new()
  graphics::plot.window(c(0, ncol(picture)), c(nrow(picture), 0), asp = 1)
  graphics::rasterImage(picture, 0, nrow(picture), ncol(picture), 0)
  invisible(x)
}
