// Code for what was just typed: the same request in curl, Python, R, TensorFlow Serving's REST and Open Inference.
import {attempt, hasKey, modelPath, post} from "./api.js"
import {announce, el, settled} from "./dom.js"

const TABS = ["curl", "Python", "R", "TensorFlow Serving", "Open Inference"]
const TYPES = {float32: "FP32", float64: "FP64", float16: "FP16", int32: "INT32", int64: "INT64", int8: "INT8", int16: "INT16", uint8: "UINT8", uint16: "UINT16", uint32: "UINT32", uint64: "UINT64", bool: "BOOL", string: "BYTES"}

const here = () => location.origin
const shell = text => `'${text.replaceAll("'", "'\\''")}'`
const key = hasKey
const keyHeader = () => key() ? ` -H "Authorization: Bearer $KEY"` : ""
/** Files that were dropped are named in the code; what they hold is too long to show. */
const isFile = row => row && typeof row === "object" && row.b64 !== undefined

function python(value, depth = 0) {
  if (value === null) return "None"
  if (value === true) return "True"
  if (value === false) return "False"
  if (Array.isArray(value)) return `[${value.map(item => python(item, depth + 1)).join(", ")}]`
  if (isFile(value)) return 'Path("picture.png").read_bytes()'
  if (typeof value === "object") return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${python(item, depth + 1)}`).join(", ")}}`
  return JSON.stringify(value)
}

/** A value in R; lists of numbers are vectors. */
function r(value) {
  if (value === null || value === undefined) return "NA"
  if (value === true) return "TRUE"
  if (value === false) return "FALSE"
  if (isFile(value)) return '"picture.png"'
  if (Array.isArray(value)) return rArray(value)
  if (typeof value === "object") return `list(${named(value, r)})`
  return JSON.stringify(value)
}

const rName = name => /^[A-Za-z][\w.]*$/.test(name) ? name : `\`${name}\``
const named = (values, write) => Object.entries(values).map(([name, item]) => `${rName(name)} = ${write(item)}`).join(", ")
const vector = items => `c(${items.map(r).join(", ")})`

/** An array as R indexes it: its first index counts fastest. */
function rArray(value) {
  const shape = []
  for (let part = value; Array.isArray(part); [part] = part) shape.push(part.length)
  if (shape.length === 1) return vector(value)
  if (shape.length === 2) return `rbind(${value.map(vector).join(", ")})`
  let all = [[]]
  for (const size of shape.toReversed()) all = all.flatMap(rest => Array.from({length: size}, (_, index) => [index, ...rest]))
  return `array(c(${all.map(place => r(place.reduce((part, index) => part[index], value))).join(", ")}), c(${shape.join(", ")}))`
}

/** Rows as R's users have them: a data frame where columns have names, a vector of texts or files, a list of arrays. */
function rRows(model, rows) {
  const [first] = rows
  if (first && typeof first === "object" && !Array.isArray(first) && !isFile(first)) return `list(${Object.keys(first).map(name => `${rName(name)} = list(${rows.map(row => r(row[name])).join(", ")})`).join(", ")})`
  if (Array.isArray(first) && !Array.isArray(first[0])) {
    const names = Object.values(model.definition.inputs ?? {}).flat().find(step => step.columns)?.columns
    if (names?.length !== first.length) return rows.length === 1 ? r(first) : r(rows)
    const column = index => rows.length === 1 ? r(first[index]) : vector(rows.map(row => row[index]))
    return `data.frame(${names.map((name, index) => `${rName(name)} = ${column(index)}`).join(", ")}${names.some(name => rName(name) !== name) ? ", check.names = FALSE" : ""})`
  }
  if (rows.length === 1) return r(first)
  return Array.isArray(first) ? `list(${rows.map(r).join(", ")})` : vector(rows)
}

/** Calls of the R package (clients/r). */
function rCode(model, verb, {rows, row, images, params = {}, prompt, stream, model: _, ...rest}) {
  const head = `library(bookserve)\n\nserver <- bs_connect("${here()}"${hasKey() ? ', api_key = Sys.getenv("KEY")' : ""})\nmodel <- bs_model(server, ${r(model.name)})\n`
  const options = Object.keys(rest).length ? `, ${named(rest, r)}` : ""
  if (verb === "predict") return `${head}predict(model, ${rRows(model, rows)})`
  if (verb === "explain") return `${head}plot(bs_explain(model, ${r(row)}${rest.label ? `, class = ${r(rest.label)}` : ""}))`
  if (verb === "generate") return `${head}bs_generate(model, ${r(prompt ?? "")}${options}, callback = cat)`
  if (verb === "sample") return `${head}plot(bs_sample(model${images ? ', images = "picture.png"' : ""}${options}))`
  return `${head}bs_transform(model, "picture.png"${images.length > 1 ? ', style = "painting.png"' : ""}, ${named(params, r)}, output = "changed.png")`
}

const hasFile = value => isFile(value) || value && typeof value === "object" && Object.values(value).some(hasFile)

function curl(path, body, accept) {
  const header = accept ? ` -H 'Accept: ${accept}' -o picture.png` : ""
  if (!hasFile(body)) return `curl${keyHeader()}${header} -d ${shell(JSON.stringify(body))} \\\n  ${here()}${path}`
  if (path.endsWith("/predict")) return `curl${keyHeader()} -H 'Content-Type: image/png' --data-binary @picture.png \\\n  ${here()}${path}`
  const [before, ...after] = JSON.stringify(body, (_, value) => isFile(value) ? "@picture" : value).split('"@picture"')
  return `picture=$(base64 < picture.png | tr -d '\\n')\ncurl${keyHeader()}${header} -d @- ${here()}${path} <<END\n${before}${after.map(part => `{"b64": "$picture"}${part}`).join("")}\nEND`
}

/** Code of the first three tabs. `request`: {verb, body}; `verb` is a route of the model, or "jobs". */
function native(tab, model, {verb, body}) {
  const path = verb === "jobs" ? "/api/jobs" : modelPath(model.name, verb), accept = verb === "sample" ? "image/png" : ""
  const file = hasFile(body) ? "from pathlib import Path\n\n" : ""
  if (tab === "curl") return curl(path, body, accept) + (verb === "jobs" ? `\ncurl -N ${here()}/api/jobs/ID/events\ncurl -o changed.png ${here()}/api/jobs/ID/result` : "")
  if (tab === "R") return rCode(model, verb, body)
  const {rows, row, stream, ...rest} = body
  const options = Object.entries(rest).map(([name, value]) => `, ${name}=${python(value)}`).join("")
  const name = JSON.stringify(model.name), connect = `connect("${here()}"${key() ? ', api_key=os.environ["KEY"]' : ""})`
  const head = `${key() ? "import os\n" : ""}${file}from bookserve import connect\n\nwith ${connect} as client:\n`
  if (verb === "predict") return `${head}    print(client.predict(${name}, ${python(rows)}))`
  if (verb === "explain") return `${head}    print(client.explain(${name}, ${python(row)}${options}).label)`
  if (verb === "generate") return `${head}    for piece in client.generate(${name}${options}):\n        print(piece, end="", flush=True)`
  if (verb === "sample") return `${head}    pictures = client.sample(${name}${options})`
  return `${head}    picture = client.transform(${name}, ${python(body.images)}, ${python(body.params ?? {})})`
}

/** Requests with tensors, as other servers take them: the Steps are done by this server first. */
async function tensors(tab, model, {verb, body}) {
  const serving = tab === "TensorFlow Serving"
  const v1 = `${here()}/v1/models/${encodeURIComponent(model.name)}:predict`, v2 = `${here()}/v2/models/${encodeURIComponent(model.name)}`
  const send = (url, document) => `curl${keyHeader()} -d ${shell(JSON.stringify(document))} \\\n  ${url}`
  if (verb === "generate") {
    const {prompt = "", length, temperature, seed} = body
    if (serving) return `# TensorFlow Serving has no route that writes texts. OpenAI's is closest:\n${send(`${here()}/openai/v1/completions`, {model: model.name, prompt, max_tokens: length, temperature, seed})}`
    return send(`${v2}/generate`, {text_input: prompt, parameters: {max_tokens: length, temperature, seed}})
  }
  if (verb === "sample" && body.latent) {
    const [input] = Object.keys(model.graphs[model.definition.decode].inputs)
    if (serving) return send(v1, {instances: body.latent})
    return send(`${v2}/infer`, {inputs: [{name: input, shape: [body.latent.length, model.definition.latent], datatype: "FP32", data: body.latent.flat()}]})
  }
  if (verb === "sample") return "# This protocol takes points of the latent space: choose one on the page."
  if (verb === "jobs") return "# Neither TensorFlow Serving nor Triton has jobs. Use one of the other tabs."
  const rows = body.rows ?? [body.row]
  const {inputs} = await post(modelPath(model.name, "tensors"), {rows: rows.slice(0, 8)})
  const [only, ...more] = Object.values(inputs)
  if (serving) return send(v1, more.length ? {inputs: Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.data]))} : {instances: only.data})
  return send(`${v2}/infer`, {inputs: Object.entries(inputs).map(([name, tensor]) => ({name, shape: tensor.shape, datatype: TYPES[tensor.dtype], data: tensor.data.flat(9)}))})
}

/** Long lists of numbers are cut where they are shown; the copy has all of them. */
const cut = text => text.length < 2400 ? text : `${text.slice(0, 1500)} … ${text.slice(-160)}\n\n# ${text.length.toLocaleString("en")} characters, cut here. “Copy” copies all of them.`

/** A panel with code for the newest request. Returns {node, follow}. */
export function codePanel(model) {
  let tab = TABS[0], request = null, full = ""
  const shown = el("code"), problem = el("div")
  const pre = el("pre", {tabindex: "0", role: "tabpanel", id: "code-shown", "aria-label": "Code"}, shown)
  const copy = el("button", {type: "button", class: "plain small", onclick: async () => {
    try {
      await navigator.clipboard.writeText(full)
      copy.textContent = "Copied"
      announce("The code is copied.")
    } catch {
      getSelection().selectAllChildren(shown)
      copy.textContent = "Press Ctrl+C"
    }
    setTimeout(() => { copy.textContent = "Copy" }, 1800)
  }}, "Copy")
  const write = settled(() => attempt(problem, async () => {
    if (!request) return
    const wanted = tab
    const text = TABS.indexOf(tab) < 3 ? native(tab, model, request) : await tensors(tab, model, request)
    if (wanted !== tab) return
    full = text
    shown.textContent = cut(text)
  }), 120)
  const tabs = TABS.map(name => el("button", {type: "button", class: "plain small", role: "tab", "aria-selected": String(name === tab), "aria-controls": "code-shown", tabindex: name === tab ? "0" : "-1", onclick: () => choose(name)}, name))
  function choose(name) {
    tab = name
    tabs.forEach(button => { button.setAttribute("aria-selected", String(button.textContent === name)); button.tabIndex = button.textContent === name ? 0 : -1 })
    write()
  }
  const list = el("div", {class: "tabs", role: "tablist", "aria-label": "Language or protocol", onkeydown: event => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key]
    if (!step) return
    const next = tabs[(TABS.indexOf(tab) + step + TABS.length) % TABS.length]
    next.focus()
    choose(next.textContent)
  }}, tabs)
  const node = el("section", {class: "panel", "aria-labelledby": "code"}, el("h2", {id: "code"}, "The same in code"), el("p", {class: "quiet"}, "It follows what you do above. The last two send tensors, as every server of these protocols takes them."), list, el("div", {class: "code"}, pre, copy), problem)
  return {node, follow(next) { request = next; write() }}
}
