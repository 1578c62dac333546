# Pictures that are changed; the models are made by tests/picture_bundles.py: "dreamer" makes what is bright brighter,
# "painter" copies the style picture.

grey <- function(value) array(value, c(80, 90, 3))

test_that("a picture is changed, returned and written", {
  skip_if_not_installed("png")
  model <- bs_model(picture_server(), "dreamer")
  file <- tempfile(fileext = ".png")
  bytes <- bs_transform(model, grey(200), iterations = 3, octaves = 1, output = file, progress = FALSE)
  expect_identical(bytes, readBin(file, "raw", 1e7))
  pixels <- 255 * png::readPNG(file)
  expect_equal(dim(pixels), c(80, 90, 3))
  expect_gt(mean(pixels), 201)
  again <- bs_transform(model, file, iterations = 1, octaves = 1, progress = FALSE)
  expect_equal(dim(png::readPNG(again)), c(80, 90, 3))
})

test_that("a picture gets the style of another", {
  skip_if_not_installed("png")
  model <- bs_model(picture_server(), "painter")
  bytes <- bs_transform(model, grey(50), style = grey(180), height = 80, progress = FALSE)
  expect_gt(mean(255 * png::readPNG(bytes)), 100)
})

test_that("what cannot be used is refused", {
  model <- bs_model(picture_server(), "dreamer")
  expect_error(bs_transform(model, grey(1), NULL, 3), "no names")
  expect_error(bs_transform(model, grey(1), iterations = 0, progress = FALSE), "iterations")
  expect_error(bs_transform(model, c("a.png", "b.png")), "a.png|one picture")
  expect_error(bs_transform(served("imdb_lstm"), grey(1)), "transform")
})
