# Which server is called, and how.

#' Name a server
#'
#' Nothing is sent yet: the first call of a model connects.
#'
#' @param url Address of the server: `http://HOST:PORT`, `https://HOST`, or `unix:PATH` for a Unix socket.
#' @param api_key The API key, if the server wants one. It is sent as `Authorization: Bearer KEY`.
#' @param headers Named character vector of more HTTP headers.
#' @param timeout Seconds for one answer, retries included. A text that arrives in pieces may take longer.
#' @param retries How often to try again when the server cannot be reached or is busy (HTTP 429 and 503), after a
#'   growing pause of random length.
#' @param ca File of CA certificates to trust instead of the system's (PEM). On Windows, R's curl uses Windows' own
#'   certificates; to use this file there, set the environment variable `CURL_SSL_BACKEND=openssl` before R starts.
#' @param cert,key Files of the client's certificate and its private key, for servers that want one.
#' @return An object of class `bs_connection`. Printing it does not show the API key.
#'
#' The defaults come from the environment variables of bookserve's command line: `BOOKSERVE_URL`, `BOOKSERVE_API_KEY`,
#' `BOOKSERVE_TIMEOUT`, `BOOKSERVE_RETRIES`, `BOOKSERVE_CA`, `BOOKSERVE_CERT`, `BOOKSERVE_KEY`. Put them into
#' `~/.Renviron`, so that keys are not in scripts.
#' @examples
#' bs_connect()
#' bs_connect("https://models.example.org", api_key = "secret", timeout = 30)
#' @export
bs_connect <- function(url = setting("URL", "http://127.0.0.1:8501"), api_key = setting("API_KEY"), headers = NULL,
                       timeout = setting("TIMEOUT", 120), retries = setting("RETRIES", 2), ca = setting("CA"),
                       cert = setting("CERT"), key = setting("KEY")) {
  if (!is.character(url) || length(url) != 1 || is.na(url) || !grepl("^(https?://.|unix:.)", url)) {
    invalid(
      sprintf("the address '%s' cannot be used; expected http://, https:// or unix:PATH.", paste(url, collapse = " ")),
      "From R a server is reached over HTTP; its port is 8501 by default."
    )
  }
  if (length(headers) && (is.null(names(headers)) || !all(nzchar(names(headers))))) {
    invalid("the headers have no names; expected a named character vector.", "Write c(\"X-Team\" = \"vision\").")
  }
  for (file in c(ca, cert, key)) {
    if (!file.exists(file)) invalid(sprintf("there is no file '%s'.", file))
  }
  options <- list(cainfo = ca, sslcert = cert, sslkey = key)
  if (startsWith(url, "unix:")) {
    options$unix_socket_path <- sub("^unix:(//)?", "", url)
  }
  structure(
    list(
      url = sub("/+$", "", url),
      base = if (startsWith(url, "unix:")) "http://localhost" else sub("/+$", "", url),
      api_key = api_key, headers = headers, options = Filter(Negate(is.null), options),
      timeout = seconds(timeout), retries = count(retries)
    ),
    class = "bs_connection"
  )
}

#' @export
print.bs_connection <- function(x, ...) {
  cat("<bookserve server>", x$url, if (length(x$api_key)) "(with an API key)", "\n")
  invisible(x)
}

# An environment variable of bookserve's command line; empty ones count as missing.
setting <- function(name, default = NULL) {
  value <- Sys.getenv(paste0("BOOKSERVE_", name))
  if (nzchar(value)) value else default
}

seconds <- function(timeout) {
  number <- suppressWarnings(as.numeric(timeout))
  if (length(number) != 1 || is.na(number) || number <= 0) {
    invalid(sprintf("the timeout '%s' is not a number of seconds above 0.", paste(timeout, collapse = " ")))
  }
  number
}

count <- function(retries) {
  number <- suppressWarnings(as.numeric(retries))
  if (length(number) != 1 || is.na(number) || number < 0 || number != round(number)) {
    invalid(sprintf("the number of retries '%s' is not 0, 1, 2, \u2026", paste(retries, collapse = " ")))
  }
  number
}
