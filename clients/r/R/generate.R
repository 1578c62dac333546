# Texts, whole or piece by piece.

#' Let a model write a text
#'
#' @param model A model from [bs_model()] whose verb is `generate`.
#' @param prompt The text that is continued; by default the model's own.
#' @param length Number of characters to write.
#' @param temperature 0 always takes the likeliest character; higher numbers surprise more.
#' @param seed Number from which the random numbers follow: the same seed gives the same text.
#' @param n Number of texts. With a seed, text `i` is that of the seed `seed + i - 1`.
#' @param top_k,top_p Choose only among the likeliest characters: so many, or so many that their probabilities add up to
#'   `top_p`.
#' @param stop Character vector; the text ends before the first of these.
#' @param callback A function that gets each piece of the text as soon as it arrives, such as `cat`. If it returns
#'   `FALSE`, the server stops writing.
#' @return The text, or `n` of them; invisibly if there is a `callback`.
#' @examples
#' \dontrun{
#' model <- bs_model(bs_connect(), "nietzsche_lstm")
#' bs_generate(model, "the will to ", length = 200, callback = cat)
#' }
#' @export
bs_generate <- function(model, prompt = "", length = 400, temperature = 0.5, seed = NULL, n = 1, top_k = NULL,
                        top_p = 1, stop = NULL, callback = NULL) {
  check_verb(model, "generate")
  if (!is.character(prompt) || base::length(prompt) != 1 || is.na(prompt)) {
    invalid("the prompt is not one text.", "For several prompts call bs_generate() for each, as with vapply().")
  }
  json <- to_json(list(
    prompt = enc2utf8(prompt), length = length, temperature = temperature, seed = seed, n = n, top_k = top_k, top_p = top_p,
    stop = if (!is.null(stop)) I(stop), stream = if (!is.null(callback)) TRUE, version = model$version
  ))
  path <- model_path(model$name, "/generate")
  if (is.null(callback)) {
    reply <- call_json(model$con, path, json)
    return(if (n == 1) reply$text else vapply(reply$texts, `[[`, "", "text"))
  }
  if (n != 1) invalid("a callback gets the pieces of one text, and n is not 1.")
  callback <- match.fun(callback)
  pieces <- character()
  call_events(model$con, path, json, function(event) {
    if (!is.null(event$error)) stop_with(event$error$code %||% "failed", event$error$message, event$error$hint %||% "")
    if (is.null(event$text) || !nzchar(event$text)) return(TRUE)
    pieces <<- c(pieces, event$text)
    !identical(callback(event$text), FALSE)
  })
  invisible(paste(pieces, collapse = ""))
}
