library(testthat)
library(bookserve)

test_check("bookserve")
