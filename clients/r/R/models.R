# Which models a server has, and what one of them takes and answers.

#' List the models of a server
#'
#' @param con A connection from [bs_connect()].
#' @return A data frame with a row for each model: `name`, `version` (the newest), `verb` (`predict`, `generate`,
#'   `sample` or `transform`), `parameters`, `metric` and its `value`, and `summary`.
#' @examples
#' \dontrun{
#' bs_models(bs_connect())
#' }
#' @export
bs_models <- function(con = bs_connect()) {
  models <- call_json(con, "/api/models")$models
  column <- function(name, missing) {
    vapply(models, function(model) model[[name]] %||% missing, missing)
  }
  data.frame(
    name = column("name", ""), version = as.integer(column("version", 0)), verb = column("verb", ""),
    parameters = as.numeric(column("parameters", 0)), metric = column("metric", ""),
    value = vapply(models, function(model) as.numeric(model$metrics[[model$metric %||% ""]] %||% NA), 0),
    summary = column("summary", "")
  )
}

#' One model of a server
#'
#' @param con A connection from [bs_connect()], or the address of a server.
#' @param name Name of the model.
#' @param version Number of the version; by default the newest.
#' @return An object of class `bs_model`. `print()` shows what it takes and answers.
#' @examples
#' \dontrun{
#' model <- bs_model(bs_connect(), "imdb_lstm")
#' predict(model, "a wonderful film")
#' }
#' @export
bs_model <- function(con = bs_connect(), name, version = NULL) {
  if (is.character(con)) con <- bs_connect(con)
  if (!inherits(con, "bs_connection")) invalid("the first argument is no connection.", "Write bs_model(bs_connect(), name).")
  if (!is.character(name) || length(name) != 1) invalid("the name of a model is one text.", "bs_models() lists them.")
  description <- call_json(con, model_path(name))
  live <- vapply(description$versions, function(one) as.numeric(one$version), 0)
  if (!is.null(version) && !(version %in% live)) {
    stop_with("not_found", sprintf("the model '%s' has no version %s.", name, version),
              sprintf("It has %s.", paste(live, collapse = ", ")))
  }
  structure(
    list(con = con, name = name, version = version, newest = description$version, verb = description$verb,
         summary = description$summary, definition = description$definition, graphs = description$graphs),
    class = "bs_model"
  )
}

#' @export
print.bs_model <- function(x, ...) {
  cat(sprintf("<bookserve model> %s, version %s: %s\n", x$name, x$version %||% x$newest, x$summary))
  if (x$verb != "predict") {
    use <- c(generate = "bs_generate()", sample = "bs_sample()", transform = "bs_transform()")[x$verb]
    cat("  use: ", use, "\n", sep = "")
    return(invisible(x))
  }
  for (input in model_inputs(x)) cat(sprintf("  takes:   %s: %s\n", input$name, describe_input(input)))
  for (name in names(x$definition$outputs)) {
    labels <- output_labels(x, name)
    shown <- if (length(labels)) {
      paste(length(labels), "classes:", paste(c(utils::head(labels, 5), if (length(labels) > 5) "\u2026"), collapse = ", "))
    } else {
      shape <- unlist(x$graphs[[x$definition$graph]]$outputs[[name]]$shape)[-1]
      if (length(shape) == 0 || identical(as.character(shape), "1")) "a number" else paste(shape, collapse = " \u00d7 ")
    }
    cat(sprintf("  answers: %s: %s\n", name, shown))
  }
  invisible(x)
}

describe_input <- function(input) {
  switch(input$kind,
    image = "a picture: a file, or an array [height, width] or [height, width, channels]",
    text = "a text",
    numbers = paste0(
      if (input$dtype == "string") "texts" else "numbers",
      if (length(input$shape)) paste0(" [", paste(input$shape, collapse = ", "), "]"),
      if (length(input$columns)) paste0(", columns ", paste(input$columns, collapse = ", "))
    ),
    "what its first Step takes"
  )
}

model_path <- function(name, action = "") {
  paste0("/api/models/", utils::URLencode(enc2utf8(name), reserved = TRUE), action)
}

check_verb <- function(model, verb) {
  if (!inherits(model, "bs_model")) invalid("this is no model.", "Make one with bs_model(bs_connect(), name).")
  if (identical(model$verb, verb)) return(invisible())
  use <- c(predict = "predict()", generate = "bs_generate()", sample = "bs_sample()", transform = "bs_transform()")
  invalid(sprintf("the model '%s' cannot %s.", model$name, verb), sprintf("Use %s.", use[[model$verb]]))
}

# What each input takes: name, kind (image, text, numbers, other), and for numbers dtype, shape and columns.
model_inputs <- function(model) {
  inputs <- model$definition$inputs
  lapply(stats::setNames(names(inputs), names(inputs)), function(name) {
    first <- if (length(inputs[[name]])) inputs[[name]][[1]] else list(step = "")
    kind <- switch(first$step,
      image = , digitimage = "image", words = , characters = , ngrams = , hashed = "text", numbers = , shared = "numbers", "other"
    )
    pixels <- switch(first$step, digitimage = 784, image = first$height * first$width * (first$channels %||% 3))
    list(name = name, kind = kind, pixels = pixels, dtype = first$dtype %||% "float32", shape = as.numeric(unlist(first$shape)),
         columns = as.character(unlist(first$columns)))
  })
}

# The classes of an output, in the order of the network's units; none if it answers with numbers.
output_labels <- function(model, name) {
  steps <- model$definition$outputs[[name]]
  labels <- lapply(steps, function(step) unlist(step$labels))
  as.character(unlist(Filter(length, labels)))
}
