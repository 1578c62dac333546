# Connections: addresses, keys, retries, and errors as conditions.

test_that("addresses and settings", {
  expect_error(bs_connect("grpc://127.0.0.1:8500"), "over HTTP", class = "bookserve_invalid_input")
  expect_error(bs_connect(timeout = -1), "timeout '-1'")
  expect_error(bs_connect(headers = "x"), "no names")
  expect_error(bs_connect(ca = "no.pem"), "no file 'no.pem'")
  expect_false(any(grepl("secret", capture.output(print(bs_connect(api_key = "secret"))))))
  old <- Sys.getenv("BOOKSERVE_URL")
  Sys.setenv(BOOKSERVE_URL = "http://127.0.0.1:9")
  expect_equal(bs_connect()$url, "http://127.0.0.1:9")
  Sys.setenv(BOOKSERVE_URL = old)
})

test_that("no server", {
  condition <- tryCatch(bs_models(bs_connect("http://127.0.0.1:9", retries = 1)), error = identity)
  expect_s3_class(condition, c("bookserve_not_ready", "bookserve_error"), exact = FALSE)
  expect_match(condition$hint, "bookserve serve models")
})

test_that("calls are tried again where that may help, and the user's random numbers are left alone", {
  calls <- 0
  busy <- function(left) {
    calls <<- calls + 1
    if (calls < 3) stop_with("overloaded", "busy", retry = TRUE)
    "done"
  }
  set.seed(1)
  before <- .Random.seed
  expect_equal(with_retries(bs_connect(retries = 2), TRUE, busy), "done")
  expect_equal(c(calls, .Random.seed), c(3, before))
  calls <- 0
  expect_error(with_retries(bs_connect(retries = 1), TRUE, busy), class = "bookserve_overloaded")
  expect_equal(calls, 2)
  calls <- 0
  expect_error(with_retries(bs_connect(), FALSE, busy), "busy")
  expect_error(with_retries(bs_connect(timeout = 0.01), TRUE, function(left) stop_with("overloaded", "b", retry = TRUE, after = 9)), "b")
})

test_that("errors have the server's message and hint, and count rows from 1", {
  condition <- tryCatch(bs_model(server(), "nix"), bookserve_not_found = identity)
  expect_match(condition$message, "no model 'nix'")
  expect_match(condition$hint, "imdb_lstm")
  expect_equal(condition$status, 404L)
  expect_error(predict(served("imagenet_classifier"), list(matrix(0, 9, 9), as.raw(1:9))), "^row 2: ",
               class = "bookserve_invalid_input")
  expect_equal(count_from_one("row 0: wrong", 5:6), "row 5: wrong")
  expect_equal(count_from_one("row 1 is wrong", 5:6), "row 6 is wrong")
  expect_error(bs_models(bs_connect(paste0(server()$url, "/elsewhere"))), class = "bookserve_not_found")
})

test_that("an API key is asked for and sent", {
  keys <- tempfile()
  writeLines("secret-key-1234567890", keys)
  guarded <- start_server("--api-key-file", keys)
  expect_error(bs_models(bs_connect(guarded$url)), class = "bookserve_unauthorized")
  expect_gt(nrow(bs_models(bs_connect(guarded$url, api_key = "secret-key-1234567890"))), 3)
  expect_gt(nrow(bs_models(bs_connect(guarded$url, headers = c("X-API-Key" = "secret-key-1234567890")))), 3)
  guarded$process$kill_tree()
})
