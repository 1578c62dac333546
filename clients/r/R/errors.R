# Errors as R conditions: class, message, hint and HTTP status.

stop_with <- function(code, message, hint = "", status = NA_integer_, call = NULL, ...) {
  hint <- if (is.character(hint) && length(hint) == 1) hint else ""
  condition <- structure(
    class = c(paste0("bookserve_", code), "bookserve_error", "error", "condition"),
    list(message = trimws(paste(message, hint)), hint = hint, status = status, call = call, ...)
  )
  stop(condition)
}

invalid <- function(message, hint = "") stop_with("invalid_input", message, hint)

# The error in a response. `rows`: the numbers that the caller gave to the rows of the request, counted from 1.
stop_for_response <- function(response, rows = NULL) {
  status <- response$status
  fields <- tryCatch(jsonlite::fromJSON(body_text(response), simplifyVector = FALSE)$error, error = function(e) NULL)
  if (!is.list(fields)) {
    fields <- list(
      code = NULL, message = sprintf("the server answered with HTTP status %d.", status),
      hint = if (status %in% 300:399) {
        paste("It points to", response$headers$location %||% "another address", "- connect to that one.")
      } else {
        "Is this the address of a bookserve server?"
      }
    )
  }
  code <- if (status == 401) "unauthorized" else fields$code %||% code_of_status(status)
  again <- status %in% c(429, 503)
  stop_with(code, count_from_one(fields$message, rows), fields$hint %||% "", status, retry = again,
            after = suppressWarnings(as.numeric(response$headers[["retry-after"]] %||% 0)))
}

code_of_status <- function(status) {
  if (status == 404) return("not_found")
  if (status %in% c(429)) return("overloaded")
  if (status %in% c(502, 503, 504)) return("not_ready")
  if (status < 500) "invalid_input" else "failed"
}

# The server counts the rows of a request from 0. `rows` says which of the caller's rows they are.
count_from_one <- function(message, rows) {
  if (is.null(rows)) return(message)
  found <- regmatches(message, regexec("^row ([0-9]+)\\b(.*)$", message))[[1]]
  if (!length(found)) return(if (length(rows) == 1 && rows > 1) sprintf("row %d: %s", rows, message) else message)
  paste0("row ", rows[as.integer(found[2]) + 1], found[3])
}

`%||%` <- function(a, b) if (is.null(a)) b else a
