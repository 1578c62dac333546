# Requests over HTTP: time limit, retries, errors, and events that arrive in pieces.

# The response to a request whose body is JSON text: a list with status, headers and body (raw).
call_server <- function(con, path, json = NULL, accept = "application/json", method = NULL, query = NULL,
                        rows = NULL, retry = TRUE) {
  with_retries(con, retry, function(left) {
    request <- prepare(con, path, json, accept, method, query)
    request <- httr2::req_timeout(request, max(left, 0.001))
    answer <- reach(con, httr2::req_perform(request))
    response <- list(
      status = httr2::resp_status(answer), headers = lower_names(httr2::resp_headers(answer)),
      body = if (length(answer$body)) httr2::resp_body_raw(answer) else raw()
    )
    if (response$status >= 300) stop_for_response(response, rows)
    response
  })
}

call_json <- function(...) {
  jsonlite::fromJSON(body_text(call_server(...)), simplifyVector = FALSE)
}

# Calls on_event(fields) for each server-sent event until it returns FALSE. Only a call without any event is tried again.
call_events <- function(con, path, json, on_event) {
  with_retries(con, TRUE, function(left) {
    pending <- raw()
    feed <- function(bytes) {
      pending <<- c(pending, bytes)
      if (!any(bytes == as.raw(10L))) return(TRUE)
      end <- max(which(pending == as.raw(10L)))
      lines <- rawToChar(pending[seq_len(end)])
      Encoding(lines) <- "UTF-8"
      pending <<- pending[-seq_len(end)]
      for (line in strsplit(lines, "\n", fixed = TRUE)[[1]]) {
        if (!startsWith(line, "data:")) next
        if (!isTRUE(on_event(jsonlite::fromJSON(substring(line, 6), simplifyVector = FALSE)))) return(FALSE)
      }
      TRUE
    }
    request <- prepare(con, path, json, "text/event-stream")
    request <- httr2::req_options(request, connecttimeout_ms = as.integer(max(1, min(left, 2e6) * 1000)))
    response <- stream(con, request, feed)
    if (response$status >= 300) stop_for_response(c(response, list(body = pending)))
    invisible()
  })
}

# Performs a request and calls feed(bytes) with the body as it arrives, until feed returns FALSE.
stream <- function(con, request, feed) {
  if ("req_perform_connection" %in% getNamespaceExports("httr2")) { # httr2 1.0.2 and later
    perform <- getExportedValue("httr2", "req_perform_connection")
    answer <- reach(con, perform(request, blocking = FALSE))
    on.exit(close(answer))
    read <- getExportedValue("httr2", "resp_stream_raw")
    complete <- getExportedValue("httr2", "resp_stream_is_complete")
    repeat {
      done <- complete(answer)
      bytes <- reach(con, read(answer))
      if (length(bytes) && !feed(bytes)) break
      if (done && !length(bytes)) break
      if (!length(bytes)) Sys.sleep(0.01)
    }
  } else { # reads until its buffer is full, so the buffer holds one byte
    failure <- NULL
    answer <- reach(con, httr2::req_stream(request, function(bytes) {
      # What the callback raises is no error of the connection.
      tryCatch(feed(bytes), error = function(error) {
        failure <<- error
        FALSE
      })
    }, buffer_kb = 1 / 1024))
    if (!is.null(failure)) stop(failure)
  }
  list(status = httr2::resp_status(answer), headers = lower_names(httr2::resp_headers(answer)))
}

prepare <- function(con, path, json, accept, method = NULL, query = NULL) {
  request <- httr2::request(paste0(con$base, path))
  request <- httr2::req_user_agent(request, paste0("bookserve-r/", utils::packageVersion("bookserve")))
  request <- httr2::req_error(request, is_error = function(response) FALSE)
  # A key must not follow a redirect to another machine.
  request <- do.call(httr2::req_options, c(list(request, followlocation = FALSE), con$options))
  headers <- c(list(Accept = accept), as.list(con$headers))
  if (length(con$api_key)) headers$Authorization <- paste("Bearer", con$api_key)
  request <- do.call(httr2::req_headers, c(list(request), headers))
  if (length(query)) request <- do.call(httr2::req_url_query, c(list(request), query))
  if (!is.null(json)) request <- httr2::req_body_raw(request, charToRaw(enc2utf8(json)), "application/json")
  if (is.null(method)) request else httr2::req_method(request, method)
}

# The value of an expression that connects; a connection that fails becomes an error of this package.
reach <- function(con, expression) {
  tryCatch(expression, error = function(error) {
    if (inherits(error, "bookserve_error")) stop(error)
    reason <- conditionMessage(if (inherits(error$parent, "error")) error$parent else error)
    stop_with(
      "not_ready", sprintf("no server answers at %s: %s", con$url, sub("[.]?$", ".", reason)),
      "Start one with `bookserve serve models`, or name another address in bs_connect().",
      retry = TRUE
    )
  })
}

# The result of attempt(seconds left), tried again where that may help.
with_retries <- function(con, retry, attempt) {
  end <- now() + con$timeout
  tries <- if (retry) con$retries else 0
  for (tried in seq(0, tries)) {
    result <- tryCatch(list(attempt(end - now())), bookserve_error = identity)
    if (!inherits(result, "bookserve_error")) return(result[[1]])
    # Between half and the whole pause, so that clients that failed together do not return together.
    pause <- max(min(0.1 * 2^tried, 10) * (0.5 + fraction() / 2), result$after %|NA|% 0)
    if (!isTRUE(result$retry) || tried == tries || now() + pause >= end) stop(result)
    Sys.sleep(pause)
  }
}

now <- function() as.numeric(Sys.time())

# A number from 0 to 1 that leaves R's random generator, and so the user's seed, alone.
fraction <- function() (now() * 1e6) %% 1000 / 1000

`%|NA|%` <- function(a, b) if (length(a) != 1 || is.na(a)) b else a

lower_names <- function(headers) {
  headers <- as.list(headers)
  names(headers) <- tolower(names(headers))
  headers
}

body_text <- function(response) {
  text <- rawToChar(response$body)
  Encoding(text) <- "UTF-8"
  text
}

to_json <- function(fields) {
  fields <- Filter(Negate(is.null), fields)
  as.character(jsonlite::toJSON(fields, auto_unbox = TRUE, digits = NA, json_verbatim = TRUE, null = "null"))
}

verbatim <- function(json) structure(json, class = "json")
