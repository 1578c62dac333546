# From what R users have (data frames, matrices, arrays, lists, files, texts) to the rows of a request.
#
# A row is JSON text; a row with missing values is NA: it is not sent, and its answer is NA.

rows_json <- function(model, newdata, pixels = "auto") {
  inputs <- model_inputs(model)
  if (length(inputs) == 1) {
    input <- inputs[[1]]
    named <- is.list(newdata) && !is.data.frame(newdata) && identical(names(newdata), input$name)
    return(input_rows(input, if (named) newdata[[1]] else newdata, pixels))
  }
  if (!is.list(newdata) || is.null(names(newdata))) {
    invalid(
      sprintf("the model takes %d inputs; expected a data frame or a list with the names %s.", length(inputs),
              listed(names(inputs))),
      "Each is a column, or an array whose first dimension counts the rows."
    )
  }
  missing <- setdiff(names(inputs), names(newdata))
  if (length(missing)) {
    invalid(sprintf("%s missing; the model takes %s.", are(missing), listed(names(inputs))))
  }
  columns <- lapply(inputs, function(input) {
    column <- newdata[[input$name]]
    # The entries of a column are rows, of whatever size a row may be.
    if (is.data.frame(newdata) && is.numeric(column) && is.null(dim(column))) column <- as.list(column)
    tryCatch(input_rows(input, column, pixels), bookserve_invalid_input = function(error) {
      invalid(sprintf("the input '%s': %s", input$name, conditionMessage(error)))
    })
  })
  counts <- lengths(columns)
  if (length(unique(counts)) > 1) {
    invalid(sprintf("the inputs differ in their number of rows: %s.",
                    paste0("'", names(columns), "' has ", counts, collapse = ", ")))
  }
  absent <- Reduce(`|`, lapply(columns, is.na))
  parts <- Map(function(name, column) paste0(quoted(name), ":", column), names(columns), columns)
  rows <- paste0("{", do.call(paste, c(unname(parts), sep = ",")), "}")
  rows[absent] <- NA
  rows
}

input_rows <- function(input, data, pixels) {
  if (is.factor(data)) data <- as.character(data)
  refuse_special(data, "newdata")
  switch(input$kind,
    image = image_rows(data, pixels, input$pixels),
    text = text_rows(data, input),
    numbers = number_rows(data, input),
    other_rows(data)
  )
}

# Texts ------------------------------------------------------------------------------------------------------------

text_rows <- function(data, input) {
  if (is.data.frame(data)) {
    data <- one_column(data, input$name)
    if (is.factor(data)) data <- as.character(data)
  }
  if (is.character(data)) {
    rows <- quoted(data)
    rows[is.na(data)] <- NA
    return(rows)
  }
  if (is.matrix(data) && is.numeric(data)) return(array_rows_json(data)) # ids of words, padded
  if (is.list(data)) return(unlist(lapply(data, one_text)))
  if (is.numeric(data)) return(array_json(as.vector(data))) # the ids of one text
  invalid(sprintf("the data are of type '%s'; expected texts.", class(data)[1]))
}

# One text, or the numbers of its words.
one_text <- function(item) {
  if (is.character(item) && length(item) == 1) return(if (is.na(item)) NA_character_ else quoted(item))
  if (is.numeric(item)) return(if (anyNA(item)) NA_character_ else array_json(as.vector(item)))
  invalid(sprintf("an entry of the list is of type '%s'; expected one text.", class(item)[1]))
}

one_column <- function(data, name) {
  if (ncol(data) == 1) return(data[[1]])
  if (name %in% names(data)) return(data[[name]])
  invalid(
    sprintf("the data frame has the columns %s; the model takes one value, '%s'.", listed(names(data)), name),
    "Pass that column alone: predict(model, data$column)."
  )
}

# Numbers ----------------------------------------------------------------------------------------------------------

number_rows <- function(data, input) {
  wanted <- input$shape
  if (is.data.frame(data)) {
    if (length(wanted) < 2) return(record_rows(number_columns(data, input), wanted))
    data <- as_numbers(number_columns(data, input)) # the lines of one series, as for jena_gru
  }
  if (is.list(data)) {
    return(unlist(lapply(data, function(item) {
      if (is.data.frame(item)) item <- as_numbers(number_columns(item, input))
      if (anyNA(item)) NA_character_ else array_json(item)
    })))
  }
  if (length(wanted) == 1 && is.matrix(data) && length(input$columns) && !is.null(colnames(data))) {
    data <- data[, matched(colnames(data), input$columns), drop = FALSE]
  }
  if (is.null(dim(data)) || length(dim(data)) == 1) data <- vector_as_rows(as.vector(data), wanted)
  # An array without the dimension of rows is one row.
  if (length(wanted) && length(dim(data)) == length(wanted) && fits(dim(data), wanted)) {
    data <- array(data, c(1, dim(data)))
  }
  rows <- array_rows_json(fill_missing(data))
  rows[missing_rows(data)] <- NA
  rows
}

# A vector is one row where the model takes as many numbers, else a row for each entry.
vector_as_rows <- function(data, wanted) {
  whole <- if (all(wanted >= 0)) length(data) == prod(wanted) && length(data) > 1 else length(wanted) == 1
  if (length(wanted) && whole) return(array(data, c(1, length(data))))
  if (!length(wanted)) return(data)
  array(data, c(length(data), 1))
}

fits <- function(dims, wanted) all(wanted < 0 | dims == wanted)

# The columns of a data frame that the model takes, in its order, as numbers (or texts where it takes texts).
number_columns <- function(data, input) {
  if (length(input$columns)) {
    data <- data[matched(names(data), input$columns)]
    names(data) <- input$columns
  }
  for (name in names(data)) {
    column <- data[[name]]
    what <- sprintf("column '%s'", name)
    refuse_special(column, what)
    if (input$dtype == "string") {
      data[[name]] <- as.character(column)
    } else if (is.factor(column)) {
      invalid(
        sprintf("%s is a factor with the levels %s; the model takes numbers.", what, listed(levels(column))),
        "Turn it into the numbers that the model was trained on, such as as.integer(x) - 1 or model.matrix(~ x)."
      )
    } else if (!is.numeric(column) && !is.logical(column)) {
      invalid(sprintf("%s holds values of type '%s'; the model takes numbers.", what, class(column)[1]))
    }
  }
  data
}

record_rows <- function(data, wanted) {
  if (!ncol(data)) invalid("the data frame has no columns.")
  if (length(wanted) == 1 && wanted >= 0 && sum(vapply(data, NCOL, 0L)) != wanted) {
    invalid(
      sprintf("the data frame has %d columns; the model takes %d numbers.", ncol(data), wanted),
      "The model does not know the names of its columns; pass them alone and in the order of the training data."
    )
  }
  absent <- !stats::complete.cases(data)
  texts <- lapply(data, function(column) {
    if (is.matrix(column)) return(do.call(paste, c(asplit(matrix(number_text(column), nrow(column)), 2), sep = ",")))
    number_text(column)
  })
  rows <- do.call(paste, c(unname(texts), sep = ","))
  if (length(wanted)) rows <- paste0("[", rows, "]")
  rows[absent] <- NA
  rows
}

as_numbers <- function(data) {
  matrix <- as.matrix(data)
  unname(matrix)
}

# Where the model's columns are among `names`: by name, or as read.csv() changes names ("T (degC)" to "T..degC.").
matched <- function(names, columns) {
  found <- match(columns, names)
  changed <- match(make.names(columns, unique = TRUE), names)
  found <- ifelse(is.na(found), changed, found)
  if (anyNA(found)) {
    invalid(
      sprintf("%s missing in the data; the model takes the columns %s.", are(columns[is.na(found)]), listed(columns)),
      "Columns are matched by name, and others are left out."
    )
  }
  found
}

missing_rows <- function(data) {
  if (!anyNA(data)) return(FALSE)
  if (length(dim(data)) < 2) return(as.vector(is.na(data)))
  rowSums(is.na(matrix(data, nrow(data)))) > 0
}

fill_missing <- function(data) {
  data[is.na(data)] <- if (is.character(data)) "" else 0L
  data
}

# Other models -----------------------------------------------------------------------------------------------------

other_rows <- function(data) {
  if (is.data.frame(data)) return(record_rows(number_columns(data, list(dtype = "float64")), numeric()))
  if (is.list(data)) return(unlist(lapply(data, other_row)))
  if (is.raw(data)) return(bytes_json(data))
  if (is.numeric(data) && is.null(dim(data)) && length(data) > 1) return(array_json(data)) # one row
  rows <- if (length(dim(data)) > 1) array_rows_json(fill_missing(data)) else number_text(fill_missing(data))
  rows[missing_rows(data)] <- NA
  rows
}

other_row <- function(item) {
  if (is.raw(item)) bytes_json(item) else if (length(item) == 1) number_text(item) else array_json(item)
}

# What R stores as numbers but means something else.
refuse_special <- function(data, what) {
  kind <- intersect(c("integer64", "Date", "POSIXt", "difftime", "nativeRaster"), class(data))
  if (length(kind)) {
    invalid(
      sprintf("%s is of class '%s'; expected plain numbers or texts.", what, kind[1]),
      if (kind[1] == "nativeRaster") "Read the picture with native = FALSE." else "Convert it, as with as.numeric()."
    )
  }
  if (is.complex(data)) invalid(sprintf("%s holds complex numbers; expected real ones.", what))
}

listed <- function(names, most = 20) {
  shown <- paste0("'", utils::head(names, most), "'", collapse = ", ")
  if (length(names) > most) paste(shown, "and", length(names) - most, "more") else shown
}

are <- function(names) paste(if (length(names) > 1) "the columns" else "the column", listed(names), if (length(names) > 1) "are" else "is")
