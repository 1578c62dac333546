// Every route of the OpenAPI document, to read and to try; the examples are made for the models that are loaded.
import {attempt, call, get, hasKey, modelPath, post} from "./lib/api.js"
import {el} from "./lib/dom.js"
import {watchServer} from "./lib/page.js"

const main = document.querySelector("#main")
const quoted = text => `'${text.replaceAll("'", "'\\''")}'`  // for a shell
const TYPES = {float32: "FP32", float64: "FP64", float16: "FP16", int32: "INT32", int64: "INT64", uint8: "UINT8", bool: "BOOL", string: "BYTES"}
const follow = (api, part) => part?.$ref ? part.$ref.slice(2).split("/").reduce((found, key) => found[key], api) : part

/** A schema with one line a field, some levels deep: enough to write a request by. */
function outline(api, schema, depth = 0) {
  schema = follow(api, schema) ?? {}
  if (schema.enum) return schema.enum.map(value => JSON.stringify(value)).join(" | ")
  if ("const" in schema) return JSON.stringify(schema.const)
  if (schema.properties && depth < 4) {
    const needed = schema.required ?? [], pad = "  ".repeat(depth + 1)
    return `{\n${Object.entries(schema.properties).map(([name, value]) => `${pad}${name}${needed.includes(name) ? "" : "?"}: ${outline(api, value, depth + 1)}`).join("\n")}\n${"  ".repeat(depth)}}`
  }
  if (schema.items) return `[${outline(api, schema.items, depth)}, …]`
  return [schema.type ?? "any value"].flat().join(" | ")
}

/** Requests that work for the models of this server. Each is made when its route is opened. */
function makeExamples(models) {
  const details = {}, rows = {}
  const described = name => details[name] ??= get(modelPath(name))
  const of = verb => models.filter(model => model.verb === verb)
  // The smallest row makes the shortest example.
  const smallest = once(async () => {
    const found = await Promise.all(of("predict").slice(0, 30).map(async ({name}) => ({name, row: (await (rows[name] ??= get(modelPath(name, "examples")))).rows[0]})))
    return found.filter(({row}) => row !== undefined).sort((a, b) => JSON.stringify(a.row).length - JSON.stringify(b.row).length)[0]
  })
  const tensors = once(async () => {
    const chosen = await smallest()
    return chosen && {...await post(modelPath(chosen.name, "tensors"), {rows: [chosen.row]})}
  })
  const convnet = once(async () => {
    for (const {name, graphs} of of("predict")) {
      if (!graphs.includes("head")) continue
      const row = (await get(modelPath(name, "examples"))).rows[0]
      if (row) return {model: name, body: {row}}
    }
    return null
  })
  const first = verb => of(verb)[0]?.name
  const writer = body => ({model: first("generate"), body})
  const predicted = async () => { const chosen = await smallest(); return chosen && {model: chosen.name, body: {rows: [chosen.row]}} }
  const tfs = async () => {
    const found = await tensors()
    if (!found) return null
    const names = Object.keys(found.inputs)
    return {model: found.model, version: found.version, body: names.length > 1 ? {inputs: Object.fromEntries(names.map(name => [name, found.inputs[name].data]))} : {instances: found.inputs[names[0]].data}}
  }
  const infer = async () => {
    const found = await tensors()
    return found && {model: found.model, version: found.version, body: {inputs: Object.entries(found.inputs).map(([name, {shape, dtype, data}]) => ({name, shape, datatype: TYPES[dtype], data: data.flat(9)}))}}
  }
  const anyModel = {model: models[0]?.name, version: models[0]?.version}
  return async (path, method) => {
    if (/\/(answer|predict|tensors)$/.test(path) && path.startsWith("/api")) return predicted()
    if (/^\/api.*\/generate$/.test(path)) return writer({prompt: "the will to ", length: 60, temperature: 0.5})
    if (/\/v2\/.*\/generate(_stream)?$/.test(path)) return writer({text_input: "the will to ", parameters: {max_tokens: 60, temperature: 0.5}})
    if (/completions$/.test(path) && !path.includes("chat")) return {body: {model: first("generate"), prompt: "the will to ", max_tokens: 60, temperature: 0.5}}
    if (/^\/openai\/v1\/models\/\{/.test(path)) return writer()
    if (/\/sample$/.test(path)) return {model: first("sample"), body: {n: 2, seed: 1}}
    if (/\/(explain|activations)$/.test(path)) return convnet()
    if (/\/filters$/.test(path)) return {model: (await convnet())?.model}
    if (/\/files\//.test(path)) return {...anyModel, path: "README.md"}
    if (/:predict$/.test(path)) return tfs()
    if (/\/infer$/.test(path)) return infer()
    if (/:(classify|regress)$/.test(path)) {
      const found = await tensors()
      return found && {model: found.model, version: found.version, body: {examples: [Object.fromEntries(Object.entries(found.inputs).map(([name, {data}]) => [name, data.flat(9)]))]}}
    }
    if (/\/api\/jobs$/.test(path) && method === "post") return {body: {model: first("transform") ?? "deepdream", images: [{b64: ""}], params: {}}}
    if (/\/repository\/index$/.test(path)) return {body: {}}
    return path.includes("{model}") ? anyModel : {}
  }
}

const once = make => { let made; return () => made ??= make() }

async function reply(response) {
  const kind = response.headers.get("content-type") ?? ""
  if (kind.startsWith("image/")) return el("img", {src: URL.createObjectURL(await response.blob()), alt: "The picture in the answer"})
  let text = await response.text()
  try { text = JSON.stringify(JSON.parse(text), null, 2) } catch { /* not JSON */ }
  return el("pre", {tabindex: "0", "aria-label": "Answer"}, text.length > 100000 ? `${text.slice(0, 100000)}\n…` : text)
}

function operation(api, examples, path, shared, method, described) {
  const parameters = [...shared ?? [], ...described.parameters ?? []].map(item => follow(api, item))
  const content = Object.entries(described.requestBody?.content ?? {}).find(([kind]) => kind.includes("json"))
  const inputs = Object.fromEntries(parameters.map(item => [item.name, el("input", {placeholder: item.description ?? "", required: Boolean(item.required), name: item.name})]))
  inputs.model?.setAttribute("list", "models")
  const body = content ? el("textarea", {rows: 4}) : null, line = el("pre", {tabindex: "0", "aria-label": "As a curl command"}), output = el("div", {"aria-live": "polite"}), button = el("button", {}, "Send")
  const request = () => ({
    url: path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(inputs[name].value).replaceAll("%2F", "/")) + query(),
    options: {method: method.toUpperCase(), headers: Object.fromEntries(parameters.filter(item => item.in === "header" && inputs[item.name].value).map(item => [item.name, inputs[item.name].value])), ...body ? {body: body.value} : {}},
  })
  const query = () => {
    const given = parameters.filter(item => item.in === "query" && inputs[item.name].value).map(item => `${item.name}=${encodeURIComponent(inputs[item.name].value)}`)
    return given.length ? `?${given.join("&")}` : ""
  }
  const tell = () => {
    const {url, options} = request()
    const text = ["curl", hasKey() ? '-H "Authorization: Bearer $KEY"' : "", ["GET", "POST"].includes(options.method) && (options.method === "GET" || body) ? "" : `-X ${options.method}`, ...Object.entries(options.headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`), body ? `-d ${quoted(body.value)}` : "", quoted(location.origin + url)].filter(Boolean).join(" ")
    line.textContent = text.length > 3000 ? `${text.slice(0, 2500)} … ${text.slice(-120)}` : text
  }
  const form = el("form", {oninput: tell, onsubmit: event => {
    event.preventDefault()
    attempt(output, async () => {
      button.disabled = true
      try {
        const {url, options} = request()
        const response = await call(url, options)
        output.replaceChildren(el("p", {}, `${response.status} ${response.statusText}`), await reply(response))
      } finally { button.disabled = false }
    })
  }}, Object.entries(inputs).map(([name, input]) => el("label", {}, name, input)), body && el("label", {}, "Body", body), el("p", {}, button))
  const answers = el("table", {}, el("tbody", {}, Object.entries(described.responses).map(([code, response]) => el("tr", {}, el("th", {scope: "row"}, code), el("td", {}, follow(api, response).description)))))
  const good = follow(api, described.responses["200"])?.content?.["application/json"]?.schema
  let filled = false
  const fill = async () => {
    if (filled) return
    filled = true
    await attempt(output, async () => {
      const example = await examples(path, method) ?? {}
      for (const [name, input] of Object.entries(inputs)) if (example[name] !== undefined) input.value = example[name]
      if (body) body.value = JSON.stringify(example.body ?? Object.values(content[1].examples ?? {})[0]?.value ?? content[1].example ?? {})
      if (path.includes("{model}") && !example.model) output.replaceChildren(el("p", {class: "note"}, "No model of this server takes this request."))
    })
    tell()
  }
  const details = el("details", {class: "call", id: described.operationId, ontoggle: () => details.open && fill()},
    el("summary", {}, el("span", {class: "method"}, method.toUpperCase()), el("code", {}, path), el("span", {class: "quiet"}, described.summary)),
    described.description && el("p", {}, described.description), described.requestBody?.description && el("p", {class: "quiet"}, described.requestBody.description),
    content && el("h3", {}, "Request"), content && el("pre", {tabindex: "0", "aria-label": "Form of the request"}, outline(api, content[1].schema)),
    el("h3", {}, "Answers"), answers, good && el("pre", {tabindex: "0", "aria-label": "Form of the answer"}, outline(api, good)), el("h3", {}, "Try it"), form, line, output)
  if (location.hash === `#${described.operationId}`) details.open = true
  return details
}

async function show() {
  const api = await get("/openapi.json")
  const {models} = await get("/api/models")
  const examples = makeExamples([...new Map(models.map(model => [model.name, model])).values()])
  const groups = api.tags.map(tag => el("section", {"aria-label": tag.name}, el("h2", {}, tag.name), tag.description && el("p", {class: "quiet"}, tag.description),
    Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).filter(([, described]) => described.tags?.[0] === tag.name).map(([method, described]) => operation(api, examples, path, item.parameters, method, described)))))
  const search = el("input", {type: "search", placeholder: "predict, v2, stats …", oninput: () => {
    for (const node of main.querySelectorAll(".call")) node.hidden = !node.firstElementChild.textContent.toLowerCase().includes(search.value.toLowerCase().trim())
  }})
  main.replaceChildren(el("h1", {}, "The HTTP interface"), el("p", {class: "lead"}, api.info.summary),
    el("p", {class: "quiet"}, "Open a route: its form is filled with a request that works for a model of this server. Everything is read from /openapi.json (OpenAPI 3.1). gRPC clients find the services by reflection."),
    el("label", {}, "Search the routes", search), ...groups, el("datalist", {id: "models"}, models.map(({name}) => el("option", {value: name}))))
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView()
}

watchServer()
attempt(main, show)
