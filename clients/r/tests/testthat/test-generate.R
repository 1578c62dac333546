# Texts and pictures with a real server.

test_that("a text arrives in pieces and is the same whole", {
  model <- served("nietzsche_lstm")
  whole <- bs_generate(model, "the will to ", 300, seed = 4)
  expect_equal(nchar(whole), 300)
  pieces <- character()
  streamed <- bs_generate(model, "the will to ", 300, seed = 4, callback = function(piece) pieces <<- c(pieces, piece))
  expect_equal(streamed, whole)
  expect_equal(paste(pieces, collapse = ""), whole)
  expect_gt(length(pieces), 1)
  expect_output(bs_generate(model, "the will to ", 20, seed = 4, callback = cat), substr(whole, 1, 20), fixed = TRUE)
})

test_that("a callback that returns FALSE stops the text, and its error reaches the caller", {
  model <- served("nietzsche_lstm")
  expect_lt(nchar(bs_generate(model, "a", 50000, seed = 1, callback = function(piece) FALSE)), 1000)
  expect_error(bs_generate(model, "a", 100, callback = function(piece) stop("enough of this")), "enough of this")
})

test_that("several texts, and where they stop", {
  model <- served("nietzsche_lstm")
  texts <- bs_generate(model, "the ", 30, seed = 1, n = 2)
  expect_equal(texts, c(bs_generate(model, "the ", 30, seed = 1), bs_generate(model, "the ", 30, seed = 2)))
  expect_false(grepl("e", bs_generate(model, "the ", 100, seed = 1, stop = "e")))
  expect_error(bs_generate(model, "a", 10, n = 2, callback = cat), "one text")
})

test_that("errors of texts are the same with and without a callback", {
  model <- served("nietzsche_lstm")
  for (callback in list(NULL, cat)) {
    expect_error(bs_generate(model, "a", 1e7, callback = callback), "100000", class = "bookserve_invalid_input")
  }
  expect_error(predict(model, "a"), "Use bs_generate\\(\\)", class = "bookserve_invalid_input")
})

test_that("pictures of a plane, of points and of pictures", {
  model <- served("mnist_vae")
  samples <- bs_sample(model, grid = 3)
  expect_equal(dim(samples$images), c(9, 28, 28, 1))
  expect_equal(dim(samples$latent), c(9, 2))
  again <- bs_sample(model, latent = samples$latent)
  expect_equal(again$images, samples$images, tolerance = 1 / 255)
  expect_equal(bs_sample(model, 4, seed = 7), bs_sample(model, 4, seed = 7))
  expect_equal(dim(bs_sample(model, images = samples$images[1:2, , , ])$latent), c(2, 2))
  expect_true(all(samples$images >= 0 & samples$images <= 1))
  grDevices::pdf(NULL)
  expect_invisible(plot(samples))
  grDevices::dev.off()
  expect_output(print(samples), "9 pictures")
})
