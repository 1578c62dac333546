# predict(): rows out, answers back in R's own forms.

# Rows, and characters of JSON, of one request at most.
BATCH <- 1024
BATCH_SIZE <- 8 * 2^20

#' Predict with a model on a server
#'
#' @param object A model from [bs_model()].
#' @param newdata What to predict; see *Rows*.
#' @param type What to return; see *Answers*.
#' @param pixels Whether the pixels of arrays range from 0 to 1 or from 0 to 255. With `"auto"` an array of doubles
#'   of which none is above 1 ranges from 0 to 1, as from `png::readPNG()` and `jpeg::readJPEG()`. It matters only for
#'   models that take pictures.
#' @param na.action What to do with missing values in data frames and matrices: `na.pass` (answers are `NA`), `na.omit`
#'   (these rows are left out) or `na.fail` (an error).
#' @param ... Not used.
#'
#' @section Rows:
#' What a model takes is shown by `print(object)`.
#' * **Numbers**: a data frame or matrix with a row for each answer. Where the model knows the names of its columns,
#'   columns are matched by name (also in the form of `read.csv()`, `T..degC.` for `T (degC)`), and other columns are
#'   left out; otherwise the columns must be those of the training data in their order. Logical values are 0 and 1.
#'   Factors are refused where the model takes numbers, and are texts where it takes texts. A vector with as many
#'   numbers as the model takes is one row.
#' * **Series and other arrays**: an array whose first dimension counts the rows, as for Keras in R, or the array, data
#'   frame or matrix of a single row. Arrays are sent in R's own order: `x[i, j, k]` is what Keras in R sees.
#' * **Pictures**: names of files, raw bytes of files, an array `[height, width]` or `[height, width, channels]`
#'   (at most 4 channels), arrays `[pictures, height, width]` or `[pictures, height, width, channels]`, a matrix with the
#'   pixels of one picture in each row (784 for MNIST; write a picture of that width as `[height, width, 1]`), or a list of
#'   these.
#'   A model that was exported without Steps for pictures takes numbers: then an array is sent as it is.
#' * **Texts**: a character vector or factor; never names of files. A list of numeric vectors is taken for ids of words,
#'   as in `dataset_imdb()`.
#' * **Several inputs**: a data frame or list that names each input.
#'
#' @section Answers:
#' * `"response"`: for a classifier a data frame with the likeliest `class` (a factor) and its `score`; for other models
#'   a numeric vector, or a matrix or array whose first dimension counts the rows.
#' * `"class"`: a factor whose levels are the model's classes in the order of the network's units. So `as.integer()` of
#'   it counts classes from 1, as R does; Keras counts from 0. For a model without names of classes: an integer vector that
#'   counts from 1.
#' * `"prob"`: a matrix with a column for each class; `NA` where the model answers only with its likeliest classes.
#' * `"top"`: a data frame with a line for each class that the model names: `row`, `rank`, `class`, `score`.
#' * `"list"`: the server's answers as lists.
#'
#' Of a model with several outputs the result is a named list with one entry for each output. Many rows are sent in
#' requests of at most 1,024. Rows are counted from 1, in errors too.
#' @return See *Answers*.
#' @examples
#' \dontrun{
#' server <- bs_connect()
#' predict(bs_model(server, "imdb_lstm"), c("a wonderful film", "a waste of time"))
#' predict(bs_model(server, "mnist_convnet"), "digit.png", type = "class")
#' }
#' @export
predict.bs_model <- function(object, newdata, type = c("response", "class", "prob", "top", "list"),
                             pixels = c("auto", "0-1", "0-255"), na.action = stats::na.pass, ...) {
  check_verb(object, "predict")
  type <- match.arg(type)
  pixels <- match.arg(pixels)
  if (missing(newdata)) invalid("there are no rows to predict: 'newdata' is missing.")
  if (is.data.frame(newdata) || is.matrix(newdata)) newdata <- match.fun(na.action)(newdata)
  rows <- rows_json(object, newdata, pixels)
  if (!length(rows)) invalid("there are no rows to predict.")
  answers <- ask(object, rows)
  names <- if (is.data.frame(newdata) && is.character(attr(newdata, "row.names"))) row.names(newdata)
  if (length(names) != length(rows)) names <- NULL
  shape_answers(object, answers, type, names)
}

# The server's answers to rows of JSON; NULL for those that are NA.
ask <- function(model, rows) {
  answers <- vector("list", length(rows))
  present <- which(!is.na(rows))
  if (!length(present)) return(answers)
  part <- cumsum(as.numeric(nchar(rows[present], "bytes"))) %/% BATCH_SIZE
  part <- paste(part, (seq_along(present) - 1) %/% BATCH)
  for (places in split(present, factor(part, unique(part)))) {
    json <- paste0('{"rows":[', paste(rows[places], collapse = ","), "]", version_field(model), "}")
    reply <- call_json(model$con, model_path(model$name, "/predict"), json, rows = places)
    answers[places] <- reply$answers
  }
  answers
}

version_field <- function(model) if (is.null(model$version)) "" else sprintf(',"version":%d', as.integer(model$version))

shape_answers <- function(model, answers, type, names) {
  if (type == "list") return(answers)
  outputs <- names(model$definition$outputs)
  given <- Filter(Negate(is.null), answers)
  if (length(given)) outputs <- names(given[[1]])
  results <- lapply(stats::setNames(outputs, outputs), function(output) {
    column <- lapply(answers, `[[`, output)
    labels <- output_labels(model, output)
    if (length(labels)) classes(column, labels, type, names) else numbers(column, type, names)
  })
  if (length(results) == 1) results[[1]] else results
}

# Classifiers ------------------------------------------------------------------------------------------------------

classes <- function(column, labels, type, names) {
  best <- lapply(column, function(top) if (length(top)) top[[which.max(vapply(top, `[[`, 0, "score"))]])
  class <- factor(vapply(best, function(one) one$label %||% NA_character_, ""), unique(labels))
  switch(type,
    class = stats::setNames(class, names),
    response = data.frame(class = class, score = vapply(best, function(one) as.numeric(one$score %||% NA), 0),
                          row.names = names),
    prob = {
      scores <- matrix(NA_real_, length(column), length(labels), dimnames = list(names, labels))
      for (row in seq_along(column)) {
        for (one in column[[row]]) scores[row, match(one$label, labels)] <- one$score
      }
      scores
    },
    top = {
      counts <- lengths(column)
      all <- unlist(column, recursive = FALSE)
      data.frame(
        row = rep(seq_along(column), counts), rank = sequence(counts),
        class = factor(vapply(all, `[[`, "", "label"), unique(labels)), score = vapply(all, `[[`, 0, "score")
      )
    }
  )
}

# Numbers ----------------------------------------------------------------------------------------------------------

numbers <- function(column, type, names) {
  result <- stack_rows(column)
  if (type == "response" || (type == "prob" && is.matrix(result))) return(with_names(result, names))
  if (type == "class" && is.matrix(result) && is.numeric(result)) {
    best <- max.col(replace(result, is.na(result), -Inf), ties.method = "first")
    best[is.na(result[, 1])] <- NA
    return(stats::setNames(best, names))
  }
  invalid(sprintf("the model has no classes, so type = \"%s\" is not possible.", type), "Use type = \"response\".")
}

# Nested lists of numbers, one for each row, as one array; a vector where each row is a single number.
stack_rows <- function(column) {
  present <- !vapply(column, is.null, TRUE)
  given <- lapply(column[present], without_null)
  if (!length(given)) return(rep(NA_real_, length(column)))
  dims <- nested_dims(given[[1]])
  flat <- unlist(given)
  if (length(flat) != length(given) * prod(dims)) return(column) # rows that differ in shape stay a list
  if (prod(dims) == 1 && length(dims) < 2) {
    result <- rep(flat[NA_integer_], length(column))
    result[present] <- flat
    return(result)
  }
  stacked <- aperm(array(flat, c(rev(dims), length(given))))
  place <- replace(rep(NA_integer_, length(column)), present, seq_along(given))
  if (all(present)) return(stacked)
  do.call(`[`, c(list(stacked, place), rep(list(TRUE), length(dims)), drop = FALSE))
}

nested_dims <- function(x) {
  dims <- integer()
  while (is.list(x)) {
    dims <- c(dims, length(x))
    x <- if (length(x)) x[[1]]
  }
  dims
}

# JSON has null for NaN.
without_null <- function(x) if (is.null(x)) NaN else if (is.list(x)) lapply(x, without_null) else x

with_names <- function(result, names) {
  if (is.null(names)) return(result)
  if (is.null(dim(result))) names(result) <- names else dimnames(result)[[1]] <- names
  result
}
