# predict() with a real server.

digits <- function() bs_sample(served("mnist_vae"), grid = 6)$images

test_that("the models of a server", {
  models <- bs_models(server())
  expect_true(all(c("imdb_lstm", "mnist_convnet", "mnist_vae") %in% models$name))
  expect_equal(models$verb[models$name == "mnist_vae"], "sample")
  expect_output(print(served("jena_gru")), "T \\(degC\\)")
  expect_output(print(served("mnist_convnet")), "10 classes: 0, 1")
})

test_that("numbers: matrix, data frame, vector, names of rows and missing values", {
  model <- served("boston_housing")
  x <- rbind(a = c(1.2, 0, 8, 0, .5, 6, 60, 4, 5, 300, 18, 390, 10), b = c(.1, 20, 3, 1, .4, 8, 20, 6, 2, 250, 15, 395, 3),
             c = NA)
  expected <- raw_answers("boston_housing", jsonlite::toJSON(list(rows = unname(x[1:2, ])), digits = NA))$price
  expect_equal(predict(model, x), c(unlist(expected), NA))
  frame <- stats::setNames(as.data.frame(x), model_inputs(model)$features$columns)
  expect_equal(predict(model, frame), c(a = expected[[1]], b = expected[[2]], c = NA))
  expect_equal(predict(model, x[2, ]), expected[[2]])
  expect_equal(predict(model, frame, na.action = na.omit), c(a = expected[[1]], b = expected[[2]]))
  expect_error(predict(model, frame, na.action = na.fail), "missing values")
  expect_error(predict(model, as.data.frame(x)), "columns 'CRIM', .* are missing")
  expect_gt(expected[[2]] - expected[[1]], 5)
  expect_error(predict(model, x, type = "class"), "no classes")
})

test_that("many rows go in several requests and keep their order", {
  model <- served("boston_housing")
  x <- matrix(rep(c(1.2, 0, 8, 0, .5, 6, 60, 4, 5, 300, 18, 390, 10), each = 2500), 2500)
  x[, 6] <- seq(5, 9, length.out = 2500)
  x[2000, 1] <- NA
  prices <- predict(model, x)
  expect_length(prices, 2500)
  expect_equal(which(is.na(prices)), 2000)
  expect_equal(prices[c(1, 1025, 2500)], predict(model, x[c(1, 1025, 2500), ]), tolerance = 1e-5)
})

test_that("a series keeps its order in time and of columns", {
  model <- served("jena_gru")
  columns <- model_inputs(model)$weather$columns
  x <- matrix(seq(0, 30, length.out = 240), 240, 12)
  x <- x + matrix(rep(1:12, each = 240), 240)
  expected <- raw_answers("jena_gru", paste0('{"rows":[', jsonlite::toJSON(x, digits = NA), "]}"))$temperature[[1]]
  expect_equal(predict(model, x), expected)
  expect_equal(predict(model, array(x, c(1, 240, 12))), expected)
  frame <- stats::setNames(as.data.frame(x), make.names(columns))
  expect_equal(predict(model, cbind(time = "now", frame[12:1])), expected)
  expect_equal(predict(model, list(frame, frame[240:1, ]))[1], expected)
  expect_gt(abs(diff(predict(model, list(frame, frame[240:1, ])))), 0.1)
})

test_that("texts: factor, scores, missing values", {
  model <- served("imdb_lstm")
  reviews <- c("a wonderful film", NA, "a dull waste of time")
  expect_equal(predict(model, reviews, "class"), factor(c("positive", NA, "negative"), c("negative", "positive")))
  expect_equal(as.integer(predict(model, reviews, "class")), c(2, NA, 1))
  best <- predict(model, reviews)
  expect_equal(names(best), c("class", "score"))
  scores <- predict(model, data.frame(review = reviews), "prob")
  expect_equal(colnames(scores), c("negative", "positive"))
  expect_equal(rowSums(scores), c(1, NA, 1), tolerance = 1e-6)
  expect_equal(scores[1, "positive"], best$score[1], ignore_attr = TRUE)
  expect_equal(nrow(predict(model, reviews[-2], "top")), 4)
  ids <- predict(model, list(c(1L, 14L, 22L)), "list")[[1]]$probability
  expect_equal(sort(vapply(ids, `[[`, "", "label")), c("negative", "positive"))
})

test_that("pictures: file, bytes, arrays of both ranges, lists", {
  skip_if_not_installed("png")
  model <- served("mnist_convnet")
  images <- digits()
  files <- vapply(1:3, function(index) {
    path <- tempfile(fileext = ".png")
    png::writePNG(images[index, , , 1], path)
    path
  }, "")
  expected <- predict(model, files)
  expect_gt(min(expected$score), 0.5)
  expect_equal(levels(expected$class), as.character(0:9))
  expect_equal(predict(model, images[1:3, , , ]), expected)
  expect_equal(predict(model, images[1:3, , , , drop = FALSE]), expected)
  expect_equal(predict(model, round(images[1:3, , , ] * 255)), expected)
  expect_equal(predict(model, lapply(files, png::readPNG)), expected)
  expect_equal(predict(model, readBin(files[2], "raw", 1e5))$class, expected$class[2])
  expect_equal(predict(model, t(apply(images[1:3, , , 1], 1, function(x) as.vector(t(x))))), expected)
})

test_that("a photo in colour is not turned round", {
  skip_if_not_installed("png")
  model <- served("imagenet_classifier")
  photo <- array(0, c(40, 60, 3))
  photo[1:20, , 1] <- 1
  photo[, 1:30, 2] <- seq(0, 1, length.out = 40)
  path <- tempfile(fileext = ".png")
  png::writePNG(photo, path)
  expect_equal(predict(model, photo, "top"), predict(model, path, "top"))
  expect_false(isTRUE(all.equal(predict(model, aperm(photo, c(2, 1, 3)), "top"), predict(model, path, "top"))))
})

test_that("Grad-CAM", {
  explanation <- bs_explain(served("mnist_convnet"), digits()[1, , , 1])
  expect_true(explanation$class %in% 0:9)
  expect_length(dim(explanation$heatmap), 2)
  expect_equal(explanation$overlay[2:4], charToRaw("PNG"))
  skip_if_not_installed("png")
  grDevices::pdf(NULL)
  expect_invisible(plot(explanation))
  grDevices::dev.off()
})

test_that("another version is named in the error", {
  expect_error(bs_model(server(), "imdb_lstm", version = 7), "no version 7. It has 1", class = "bookserve_not_found")
  expect_equal(predict(bs_model(server(), "imdb_lstm", version = 1), "good", "class"), predict(served("imdb_lstm"), "good", "class"))
})
