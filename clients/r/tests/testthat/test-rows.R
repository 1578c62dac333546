# R's values as the JSON of rows, as the server must receive them. No server is needed.

iris_columns <- c("Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width")

test_that("a data frame is matched by name and other columns are left out", {
  model <- numbers_model(4, iris_columns)
  expect_equal(rows_json(model, iris[1:2, 1:4]), c("[5.0999999999999996,3.5,1.3999999999999999,0.20000000000000001]",
                                                  "[4.9000000000000004,3,1.3999999999999999,0.20000000000000001]"))
  expect_equal(rows_json(model, iris[1:2, 5:1]), rows_json(model, iris[1:2, 1:4]))
  expect_equal(rows_json(model, as.matrix(iris[1:2, 4:1])), rows_json(model, iris[1:2, 1:4]))
  expect_error(rows_json(model, iris[, c(1, 3, 5)]), "the columns 'Sepal.Width', 'Petal.Width' are missing",
               class = "bookserve_invalid_input")
})

test_that("names that read.csv() changed are found", {
  model <- numbers_model(2, c("T (degC)", "rh (%)"))
  expect_equal(rows_json(model, data.frame(rh.... = 80, T..degC. = 7, other = "x")), "[7,80]")
  expect_equal(rows_json(model, data.frame("rh (%)" = 80, "T (degC)" = 7, check.names = FALSE)), "[7,80]")
})

test_that("columns without names in the model are taken in their order, and must be all of them", {
  model <- numbers_model(3)
  expect_equal(rows_json(model, data.frame(a = 1:2, b = c(TRUE, FALSE), c = c(0.5, -1))), c("[1,1,0.5]", "[2,0,-1]"))
  expect_error(rows_json(model, data.frame(a = 1, b = 2)), "2 columns; the model takes 3")
  expect_equal(rows_json(model, c(1, 2, 3)), "[1,2,3]")
})

test_that("factors, texts and dates are refused where numbers are expected, by column", {
  model <- numbers_model(2)
  expect_error(rows_json(model, data.frame(a = 1, b = factor("x"))), "column 'b' is a factor with the levels 'x'")
  expect_error(rows_json(model, data.frame(a = 1, b = "x")), "column 'b' holds values of type 'character'")
  expect_error(rows_json(model, data.frame(a = 1, b = Sys.Date())), "'Date'")
  expect_equal(rows_json(numbers_model(2, dtype = "string"), data.frame(a = factor("x"), b = "y\"")), '["x","y\\""]')
})

test_that("rows with missing values are not sent", {
  model <- numbers_model(2)
  expect_equal(rows_json(model, data.frame(a = c(1, NA, 3), b = c(1L, 2L, NA))), c("[1,1]", NA, NA))
  expect_equal(rows_json(model, rbind(c(1, 2), c(NaN, 3))), c("[1,2]", NA))
  expect_equal(rows_json(numbers_model(NULL), c(1, NA)), c("1", NA))
})

test_that("arrays are nested with the first dimension outermost", {
  x <- array(1:24, c(2, 3, 4)) # x[i, j, k] is i + 2 (j - 1) + 6 (k - 1)
  expect_equal(rows_json(numbers_model(c(3, 4)), x),
               c("[[1,7,13,19],[3,9,15,21],[5,11,17,23]]", "[[2,8,14,20],[4,10,16,22],[6,12,18,24]]"))
  expect_equal(rows_json(numbers_model(c(2, 3, 4)), x), array_json(x))
  expect_equal(jsonlite::fromJSON(array_json(x)), x)
  expect_equal(rows_json(numbers_model(c(3, 2)), data.frame(a = 1:3, b = 4:6)), "[[1,4],[2,5],[3,6]]")
  expect_equal(rows_json(numbers_model(c(-1, 2)), array(1:4, c(1, 2, 2))), "[[1,3],[2,4]]")
})

test_that("numbers keep all digits", {
  expect_equal(rows_json(numbers_model(2), c(2^53 - 1, 1 / 3)), "[9007199254740991,0.33333333333333331]")
  expect_equal(number_text(c(Inf, -Inf, 1e-300)), c("Infinity", "-Infinity", "1e-300"))
})

test_that("several inputs are named", {
  model <- described(list(
    a = list(list(step = "numbers", dtype = "float32", shape = list(2))),
    "Sepal.Length" = list(list(step = "numbers", dtype = "float32", shape = list(1))),
    text = list(list(step = "words"))
  ))
  frame <- data.frame(text = c("x", NA), Sepal.Length = 1:2)
  frame$a <- rbind(c(1, 2), c(3, 4))
  expect_equal(rows_json(model, frame), c('{"a":[1,2],"Sepal.Length":[1],"text":"x"}', NA))
  expect_equal(rows_json(model, as.list(frame))[1], rows_json(model, frame)[1])
  expect_error(rows_json(model, frame[1:2]), "the column 'a' is missing")
  expect_error(rows_json(model, list(a = diag(2), Sepal.Length = 1:3, text = "x")), "differ in their number of rows")
  expect_error(rows_json(model, 1:3), "takes 3 inputs")
})

test_that("texts are texts, and word ids are lists of numbers", {
  model <- described(list(tokens = list(list(step = "words"))))
  expect_equal(rows_json(model, c("a \"b\"\n", "caf\u00e9", NA)), c('"a \\"b\\"\\n"', "\"caf\u00e9\"", NA))
  expect_equal(rows_json(model, factor(c("y", "x"))), c('"y"', '"x"'))
  expect_equal(rows_json(model, list(c(1L, 14L), "x", 7)), c("[1,14]", '"x"', "[7]"))
  expect_equal(rows_json(model, data.frame(review = "x")), '"x"')
  expect_error(rows_json(model, data.frame(a = "x", b = "y")), "takes one value, 'tokens'")
  latin <- "caf\xe9"
  Encoding(latin) <- "latin1"
  expect_equal(rows_json(model, latin), "\"caf\u00e9\"")
})

test_that("pictures are files, bytes or arrays from 0 to 1 or to 255", {
  model <- described(list(image = list(list(step = "image", height = 2, width = 2, channels = 3))))
  path <- tempfile(fileext = ".png")
  writeBin(as.raw(1:3), path)
  expect_equal(rows_json(model, c(path, NA)), c('{"b64":"AQID"}', NA))
  expect_equal(rows_json(model, as.raw(1:3)), '{"b64":"AQID"}')
  expect_equal(rows_json(model, list(as.raw(1:3), path)), rep('{"b64":"AQID"}', 2))
  expect_equal(rows_json(model, matrix(c(0, 1, 0.5, 0.2), 2)), "[[0,128],[255,51]]")
  expect_equal(rows_json(model, matrix(c(0, 255, 128, 51), 2)), "[[0,128],[255,51]]")
  expect_equal(rows_json(model, matrix(c(0L, 1L, 1L, 0L), 2)), "[[0,1],[1,0]]")
  expect_equal(rows_json(model, matrix(c(0, 1), 1), "0-255"), "[[0,1]]")
  picture <- array(c(0, 1, 0.2, 0.4, 0.6, 0.8), c(1, 2, 3)) # one row of two pixels
  expect_equal(rows_json(model, picture), "[[[0,51,153],[255,102,204]]]")
  expect_equal(rows_json(model, list(picture)), rows_json(model, picture))
  expect_equal(rows_json(model, array(0:7, c(2, 2, 2, 1))), c("[[[0],[4]],[[2],[6]]]", "[[[1],[5]],[[3],[7]]]"))
  expect_length(rows_json(model, array(0, c(5, 28, 28))), 5)
  expect_equal(rows_json(model, rbind(1:12, 2:13))[2], "[2,3,4,5,6,7,8,9,10,11,12,13]")
  expect_equal(rows_json(model, array(1:24, c(2, 12, 1))), array_json(array(1:24, c(2, 12, 1))))
  expect_error(rows_json(model, "no.png"), "no file 'no.png'")
  expect_error(rows_json(model, matrix(c(0, 300), 1)), "range from 0 to 300")
  expect_error(rows_json(model, matrix(c(-1, 1), 1)), "range from -1 to 1")
})

test_that("special classes are refused", {
  expect_error(rows_json(numbers_model(1), as.Date("2020-01-01")), "class 'Date'")
  expect_error(rows_json(numbers_model(1), structure(1, class = "integer64")), "class 'integer64'")
  expect_error(rows_json(numbers_model(1), 1i), "complex")
})

test_that("NumPy's files are read in R's order", {
  header <- "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"
  path <- tempfile()
  file <- file(path, "wb")
  writeBin(as.raw(c(0x93, utf8ToInt("NUMPY"), 1, 0, nchar(header), 0)), file)
  writeBin(charToRaw(header), file)
  writeBin(c(1, 2, 3, 4, 5, 6), file, 4, endian = "little")
  close(file)
  expect_equal(read_npy(path), rbind(1:3, 4:6))
})
