# R's httr2 as its documentation uses it: Rscript httr2_client.R http://HOST:PORT
# jsonlite writes a value of length one as a scalar, and a data frame as a list of objects.
library(httr2)

server <- commandArgs(TRUE)[1]
calls <- 0
same <- function(found, expected) {
  calls <<- calls + 1
  if (!isTRUE(all.equal(found, expected))) {
    stop(sprintf("call %d: %s is not %s", calls, deparse(found), deparse(expected)))
  }
}
ask <- function(path, body, ...) {
  reply <- request(server) |> req_url_path(path) |> req_body_json(body, ...) |> req_perform()
  resp_body_json(reply, simplifyVector = TRUE)
}
numbers <- function(reply) unlist(reply$answers)

x <- matrix(c(0, 1, 2, 3, 4, 5), 2, byrow = TRUE)
y <- 2 * x + 1

# bookserve's own API: a matrix, a list, a data frame, one row that is not in a list
same(ask("/api/models/affine/predict", list(rows = x))$answers$y, list(y[1, ], y[2, ]))
same(numbers(ask("/api/models/affine/predict", list(rows = list(x[1, ])))), setNames(y[1, ], c("y1", "y2", "y3")))
same(ask("/api/models/affine/predict", data.frame(a = x[, 1], b = x[, 2], c = x[, 3]))$answers$y, list(y[1, ], y[2, ]))
same(ask("/api/models/reviews/predict", list(rows = "good film"))$answers$score[[1]]$label[1], "negative")
same(ask("/api/models/reviews/predict", list(rows = c("good", "bad")), auto_unbox = TRUE)$model, "reviews")
same(nchar(ask("/api/models/writer/generate", list(prompt = "abc", length = 4, temperature = 0))$text), 4L)

# a picture as its bytes and as a form
png <- tempfile(fileext = ".png")
grDevices::png(png, 40, 40)
graphics::par(mar = rep(0, 4)); graphics::plot.new(); graphics::rect(-1, -1, 2, 2, col = "white")
invisible(grDevices::dev.off())
label <- function(reply) resp_body_json(reply)$answers[[1]][[1]][[1]]$label
picture <- request(server) |> req_url_path("/api/models/digits/predict")
same(label(picture |> req_body_file(png, "image/png") |> req_perform()), "bright")
same(label(picture |> req_body_multipart(file = curl::form_file(png)) |> req_perform()), "bright")
same(label(picture |> req_body_file(png) |> req_perform()), "bright")

# CSV and text
csv <- tempfile(fileext = ".csv")
write.csv(data.frame(a = x[, 1], b = x[, 2], c = x[, 3]), csv)
reply <- request(server) |> req_url_path("/api/models/affine/predict") |> req_body_file(csv, "text/csv") |> req_perform()
same(resp_body_json(reply, simplifyVector = TRUE)$answers$y, list(y[1, ], y[2, ]))
reply <- request(server) |> req_url_path("/api/models/reviews/predict") |>
  req_body_raw("bad film", "text/plain") |> req_perform()
same(resp_body_json(reply)$answers[[1]][[1]][[1]]$label, "negative")

# TensorFlow Serving's and Open Inference's protocols
same(ask("/v1/models/affine:predict", list(instances = x))$predictions, y)
same(ask("/v1/models/half:predict", list(instances = c(1, 2, 5)))$predictions, c(2.5, 3, 4.5))
tensor <- list(name = "x", datatype = "FP32", shape = c(2L, 3L), data = x)
same(ask("/v2/models/affine/infer", list(inputs = list(tensor)))$outputs$data[[1]], as.numeric(t(y)))
same(ask("/v1/completions", list(model = "writer", prompt = "abc", temperature = 0, max_tokens = 4))$choices$text, "deab")

# errors
reply <- request(server) |> req_url_path("/api/models/affine/predict") |> req_body_json(list(rows = "text")) |>
  req_error(is_error = function(reply) FALSE) |> req_perform()
same(resp_status(reply), 400L)
same(nchar(resp_body_json(reply)$error$message) > 20, TRUE)

cat(calls, "calls\n")
