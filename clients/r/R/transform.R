# Long work: DeepDream and style transfer run as jobs on the server.

#' Change a picture: DeepDream, or the style of another picture
#'
#' @param model A model from [bs_model()] whose verb is `transform`.
#' @param image The picture: the name of a file, its bytes, or an array as for [predict.bs_model()] (that needs the package
#'   png).
#' @param style For style transfer the picture whose style the result gets.
#' @param ... Parameters of the model's method, by name, such as `iterations = 10`.
#' @param output Name of a PNG file to write.
#' @param progress Whether to show the progress; by default only in interactive sessions.
#' @return The bytes of a PNG file, invisibly if there is an `output`. If R is interrupted, the work on the server stops.
#' @examples
#' \dontrun{
#' bs_transform(bs_model(bs_connect(), "deep_dream"), "photo.jpg", iterations = 10, output = "dream.png")
#' }
#' @export
bs_transform <- function(model, image, style = NULL, ..., output = NULL, progress = interactive()) {
  check_verb(model, "transform")
  params <- list(...)
  if (length(params) && (is.null(names(params)) || !all(nzchar(names(params))))) {
    invalid("the parameters have no names.", "Write iterations = 10.")
  }
  images <- paste(c(picture_file(image), if (!is.null(style)) picture_file(style)), collapse = ",")
  json <- to_json(list(
    model = model$name, images = verbatim(paste0("[", images, "]")), params = if (length(params)) params,
    version = model$version
  ))
  job <- call_json(model$con, "/api/jobs", json, retry = FALSE)$job
  path <- paste0("/api/jobs/", job$id)
  ended <- FALSE
  on.exit(if (!ended) try(call_server(model$con, path, method = "DELETE"), silent = TRUE))
  while (job$state %in% c("queued", "running")) {
    Sys.sleep(0.2)
    job <- call_json(model$con, path)$job
    if (progress) cat(sprintf("\rstep %s of %s ", job$step, job$steps))
  }
  if (progress) cat("\n")
  ended <- TRUE
  bytes <- call_server(model$con, paste0(path, "/result"), accept = "image/png")$body
  if (is.null(output)) return(bytes)
  writeBin(bytes, output)
  invisible(bytes)
}

# A picture as the JSON of its file.
picture_file <- function(image) {
  if (is.numeric(image)) {
    if (!requireNamespace("png", quietly = TRUE)) {
      invalid("an array of pixels needs the package png.", "Pass the name of a file, or install.packages(\"png\").")
    }
    image <- png::writePNG(pixel_values(image, "auto") / 255)
  }
  rows <- image_rows(image, "auto")
  if (length(rows) != 1 || is.na(rows)) invalid("expected one picture.")
  rows
}
