# Prints the requests that the R package makes for the tiny bundles of the tests, as JSON: Rscript bodies.R > bodies.json
# in the repository's root. test_bodies.py sends them to the application.

for (file in list.files("clients/r/R", "[.]R$", full.names = TRUE)) source(file)

model <- function(name, ...) {
  inputs <- list(...)
  structure(list(name = name, verb = "predict", definition = list(inputs = lapply(inputs, list))), class = "bs_model")
}
numbers <- function(shape, dtype = "float32", columns = NULL) {
  list(step = "numbers", dtype = dtype, shape = as.list(shape), columns = columns)
}
affine <- model("affine", x = numbers(3))
pair <- model("pair", a = numbers(-1), b = numbers(NULL, "int64"))
digits <- model("digits", image = list(step = "image", height = 4, width = 4, channels = 1))
reviews <- model("reviews", tokens = list(step = "words"))
window <- model("window", x = numbers(c(2, 3), columns = c("T (degC)", "b", "c")))

cases <- list()
case <- function(name, path, body) {
  cases[[name]] <<- list(path = unbox(paste0("/api/models/", path)), body = unbox(body))
}
unbox <- jsonlite::unbox
rows <- function(name, model, data, ...) {
  case(name, paste0(model$name, "/predict"), sprintf('{"rows":[%s]}', paste(rows_json(model, data, ...), collapse = ",")))
}

# What the package sends.
rows("data frame", affine, data.frame(p = c(0, -1), q = c(TRUE, FALSE), r = c(2, 0.5)))
rows("matrix", affine, rbind(c(0, 1, 2), c(-1, 0, 0.5)))
rows("vector", affine, c(0, 1, 2))
pairs <- data.frame(b = c(5L, -1L))
pairs$a <- rbind(c(1, 2, 3), c(0.25, 0.25, 0))
rows("several inputs", pair, pairs)
rows("several inputs in lists", pair, list(a = list(c(1, 2, 3), c(7, 0, 0)), b = c(5, 6)))
rows("picture from 0 to 1", digits, matrix(c(rep(1, 15), 0.9), 4))
rows("pictures from 0 to 255", digits, array(rep(c(0L, 255L), 16), c(2, 4, 4, 1)))
rows("flat pictures", digits, rbind(rep(0L, 16), rep(255L, 16)))
rows("texts", reviews, factor(c("good good film", "bad film")))
rows("ids of words", reviews, list(c(4L, 4L, 1L, 1L, 1L, 1L), "bad film"))
rows("window", window, data.frame(c = 5:6, x = "left out", b = 3:4, T..degC. = 1:2))
rows("windows", window, aperm(array(1:12, c(3, 2, 2)), c(3, 2, 1)))
case("points", "plane/sample", to_json(list(latent = verbatim(array_json(rbind(c(0, 0), c(1, -1)))), seed = NULL)))
case("text", "writer/generate", to_json(list(prompt = "abc", length = 4, temperature = 0, n = 1, stop = I("zz"))))

# What people write by hand with httr2::req_body_json() and jsonlite.
by_hand <- function(name, path, value, ...) case(name, path, as.character(jsonlite::toJSON(value, ...)))
frame <- data.frame(p = c(0, -1), q = c(1, 0), r = c(2, 0.5), row.names = c("first", "second"))
by_hand("jsonlite: data frame", "affine/predict", list(rows = frame), auto_unbox = TRUE)
by_hand("jsonlite: columns", "affine/predict", frame, dataframe = "columns", auto_unbox = TRUE)
by_hand("jsonlite: matrix", "affine/predict", list(rows = as.matrix(unname(frame))), auto_unbox = TRUE)
by_hand("jsonlite: unboxed row", "affine/predict", list(rows = c(0, 1, 2)), auto_unbox = TRUE)
by_hand("jsonlite: unboxed text", "reviews/predict", list(rows = "good good film"), auto_unbox = TRUE)
by_hand("jsonlite: array", "digits/predict", list(rows = array(255L, c(1, 4, 4, 1))), auto_unbox = TRUE)
by_hand("jsonlite: array of window", "window/predict", list(rows = array(1:6, c(1, 2, 3))), auto_unbox = TRUE)

cat(jsonlite::toJSON(cases, pretty = 1), "\n", sep = "")
