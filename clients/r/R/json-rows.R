# R's values as the JSON text of rows. R stores arrays with the first index fastest, JSON nests them with the last.

# The JSON of an array: nested lists, the first dimension outermost.
array_json <- function(x) {
  dims <- dim(x) %||% length(x)
  text <- number_text(if (length(dims) > 1) aperm(x, rev(seq_along(dims))) else x)
  for (size in rev(dims)) text <- nest(text, size)
  text
}

# For each index of the first dimension the JSON of what is below it.
array_rows_json <- function(x) {
  dims <- dim(x) %||% length(x)
  text <- number_text(if (length(dims) > 1) aperm(x, rev(seq_along(dims))) else x)
  for (size in rev(dims[-1])) text <- nest(text, size)
  text
}

# Joins each `size` neighbours to a list.
nest <- function(text, size) {
  if (!size) return("[]")
  table <- matrix(text, nrow = size)
  paste0("[", do.call(paste, c(lapply(seq_len(size), function(row) table[row, ]), sep = ",")), "]")
}

# Numbers with all their digits; texts quoted. NA has no text here: callers treat it before.
number_text <- function(x) {
  if (is.logical(x)) return(ifelse(x, "1", "0"))
  if (is.character(x)) return(quoted(x))
  if (is.integer(x)) return(sprintf("%d", x))
  if (!is.numeric(x)) invalid(sprintf("the values are of type '%s'; expected numbers.", typeof(x)))
  text <- sprintf("%.17g", x)
  special <- !is.finite(x)
  if (any(special)) text[special] <- c("NaN", "Infinity", "-Infinity")[match(text[special], c("NaN", "Inf", "-Inf"))]
  text
}

quoted <- function(text) {
  vapply(enc2utf8(as.vector(text)), function(one) as.character(jsonlite::toJSON(one, auto_unbox = TRUE)), "",
         USE.NAMES = FALSE)
}

bytes_json <- function(bytes) {
  sprintf('{"b64":"%s"}', gsub("[\r\n]", "", jsonlite::base64_enc(bytes)))
}
