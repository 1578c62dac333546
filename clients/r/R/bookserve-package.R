#' Call models on a bookserve server
#'
#' [bs_connect()] names a server, [bs_models()] lists its models, and [bs_model()] is one of them. What can be done with
#' it depends on its verb: `predict()` ([predict.bs_model()]), [bs_generate()] for texts, [bs_sample()] for pictures,
#' [bs_transform()] for DeepDream and style transfer. [bs_explain()] shows what a picture classifier looks at.
#'
#' @section Errors:
#' All errors are R conditions of the class `bookserve_error`, with the fields `message` and `hint` (what to try), and
#' `status` (of HTTP, or `NA`). Each also has one of the classes `bookserve_not_found`, `bookserve_invalid_input`,
#' `bookserve_not_ready` (no server answers, or a model is not loaded), `bookserve_overloaded`, `bookserve_failed` and
#' `bookserve_unauthorized` (no API key, or a wrong one).
#'
#' @examples
#' # No server listens here, so the error handler runs:
#' nobody <- bs_connect("http://127.0.0.1:9", retries = 0)
#' tryCatch(bs_models(nobody), bookserve_not_ready = function(error) error$hint)
#' @keywords internal
"_PACKAGE"
