# A real server for the tests: BOOKSERVE_COMMAND names the command `bookserve`, BOOKSERVE_MODELS the directory of models
# to serve (pretrained/ of the repository). Without them, as on CRAN's machines, tests that need a server are skipped.

started <- new.env()

start_server <- function(..., models = Sys.getenv("BOOKSERVE_MODELS")) {
  command <- Sys.getenv("BOOKSERVE_COMMAND")
  skip_if(command == "" || models == "", "BOOKSERVE_COMMAND and BOOKSERVE_MODELS name no server")
  log <- tempfile("server")
  process <- processx::process$new(
    command, c("serve", models, "--json", "--http-port", "0", "--grpc-port", "0", ...),
    stdout = "|", stderr = log, cleanup = TRUE, cleanup_tree = TRUE,
    env = c("current", LD_LIBRARY_PATH = "") # R's own libraries are not Python's
  )
  process$poll_io(120000)
  line <- process$read_output_lines(1)
  if (!length(line)) stop("the server did not start:\n", paste(readLines(log), collapse = "\n"))
  list(url = jsonlite::fromJSON(line)$http, process = process)
}

# One server for all tests.
server <- function() {
  if (is.null(started$server)) started$server <- start_server()
  bs_connect(started$server$url)
}

# A server of models that change pictures: BOOKSERVE_PICTURES names their directory.
picture_server <- function() {
  if (is.null(started$pictures)) started$pictures <- start_server(models = Sys.getenv("BOOKSERVE_PICTURES"))
  bs_connect(started$pictures$url)
}

served <- function(name) bs_model(server(), name)

# The answers to a body that the test wrote itself.
raw_answers <- function(name, json) {
  request <- httr2::request(paste0(server()$url, "/api/models/", name, "/predict"))
  request <- httr2::req_body_raw(request, charToRaw(json), "application/json")
  jsonlite::fromJSON(httr2::resp_body_string(httr2::req_perform(request)))$answers
}

# A model as the server describes it, for tests of rows that need no server.
described <- function(inputs, outputs = list(y = list()), ...) {
  structure(
    list(con = NULL, name = "mine", newest = 1, verb = "predict", summary = "a model",
         definition = list(inputs = inputs, outputs = outputs, graph = "serving_default"), graphs = list()),
    class = "bs_model"
  )
}

numbers_model <- function(shape, columns = NULL, dtype = "float32") {
  described(list(x = list(list(step = "numbers", dtype = dtype, shape = as.list(shape), columns = as.list(columns)))))
}
