// What is known of a model: figures beside the book's, training curve, layers, inputs and outputs, versions and files.
import {attempt, call, modelPath} from "./lib/api.js"
import {legend, plot} from "./lib/charts.js"
import {bytes, download, el, number, shapeText} from "./lib/dom.js"
import {chapter} from "./lib/page.js"

const section = (title, id, ...children) => el("section", {class: "panel", "aria-labelledby": id}, el("h2", {id}, title), children)
const table = (head, rows, className = "") => el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": head.join(", ")}, el("table", {class: className}, el("thead", {}, el("tr", {}, head.map(text => el("th", {scope: "col"}, text)))), el("tbody", {}, rows.map(row => el("tr", {}, row.map(cell => el("td", {}, cell)))))))

/** All sections of what is known of a model. */
export const about = (model, card) => [figures(model, card), architecture(model, card), tensors(model), versions(model, card)]

function figures(model, card) {
  const book = card.origin?.book ?? {}
  const names = [...new Set([model.metric, ...Object.keys(book), ...Object.keys(model.metrics)])].filter(Boolean)
  const rows = names.filter(name => name in model.metrics || name in book).map(name => [name === model.metric ? el("strong", {}, name.replaceAll("_", " ")) : name.replaceAll("_", " "), name in model.metrics ? number(model.metrics[name]) : "–", name in book ? number(book[name]) : "–"])
  const licence = /^Licence of .*$/m.exec(card.card)?.[0]
  return section("What it is", "what",
    card.origin ? el("p", {}, `Section ${card.origin.section} of the book. `, el("span", {class: "quiet"}, chapter(card.origin.section))) : el("p", {}, "This model was made elsewhere and exported to bookserve."),
    card.origin && el("p", {}, card.origin.data === "sample" ? "Trained on a small sample of made-up or cut data, so that it can be tried at once: " : "Trained on: ", card.origin.dataset, "."),
    licence && el("p", {class: "quiet"}, licence),
    el("div", {class: "split"}, rows.length ? table(["Figure", "This model", "The book"], rows) : null, curve(card)),
    el("p", {class: "quiet"}, [`${number(model.parameters)} parameters`, bytes(model.bytes), card.created && `exported ${card.created.slice(0, 10)}`, card.variants.length && `variants: ${card.variants.join(", ")}`].filter(Boolean).join(" · ")))
}

function curve({history}) {
  const names = Object.keys(history)
  const of = ["accuracy", "mae", "loss"].find(name => history[name]?.length > 1) ?? names.find(name => name !== "epoch" && history[name].length > 1)
  if (!of) return el("p", {class: "quiet"}, "There is no training curve: the bundle was exported without one, or its weights were trained elsewhere.")
  const lines = [of, `val_${of}`].filter(name => name in history).map(name => ({name, values: history[name]}))
  return el("figure", {}, plot(lines, {label: `${of} by epoch: from ${number(lines[0].values[0])} to ${number(lines[0].values.at(-1))}`, xTitle: "epoch", yTitle: of, xText: value => String(value + 1)}), legend(lines.map(line => line.name.startsWith("val_") ? "validation" : "training")))
}

function architecture(model, card) {
  const graphs = Object.entries(card.layers)
  if (!graphs.length) return section("Architecture", "layers", el("p", {class: "quiet"}, "The layers of this model cannot be read from its files."))
  return section("Architecture", "layers", el("p", {class: "quiet"}, "As the file that is run holds it: an operator with its activation and its output. Batch stands for the number of rows."), el("div", {class: graphs.length > 1 ? "split" : ""}, graphs.map(([name, layers]) => drawing(model.graphs[name], layers, graphs.length > 1 ? name : ""))))
}

function drawing(graph, layers, title) {
  const box = (kind, name, shape, weights) => el("div", {class: `layer ${kind}`, role: "listitem"}, el("strong", {}, name), el("span", {class: "shape"}, shape), weights !== undefined && el("span", {class: "quiet"}, weights))
  const ends = specs => Object.entries(specs).map(([name, spec]) => box("io", name, shapeText(spec.shape)))
  const inner = layers.map(layer => box(layer.parameters ? "" : "still", [layer.kind, layer.detail, layer.activation && `+ ${layer.activation}`].filter(Boolean).join(" "), layer.shape?.length ? shapeText(layer.shape) : "", layer.parameters ? `${number(layer.parameters)} weights · ${layer.weights.map(shape => shape.join(" × ")).join(", ")}` : "no weights"))
  const most = 14
  const boxes = parts => parts.flatMap((part, index) => [index && !(part.matches(".io") && parts[index - 1].matches(".io")) ? el("div", {class: "arrow", "aria-hidden": "true"}, "▼") : null, part])
  const all = [...ends(graph.inputs), ...inner.slice(0, most)]
  const rest = inner.slice(most)
  return el("div", {}, title && el("h3", {}, title), el("div", {class: "drawing", role: "list", "aria-label": `Layers${title && ` of ${title}`}`}, boxes(all)),
    rest.length ? el("details", {}, el("summary", {}, `${rest.length} more layers`), el("div", {class: "drawing", role: "list", "aria-label": "More layers"}, boxes(rest))) : null,
    el("div", {class: "drawing", role: "list", "aria-label": "Outputs"}, boxes([el("div", {role: "presentation"}), ...ends(graph.outputs)])))
}

/** Names and units of the columns of an input: `T (degC)` has its unit in its name. */
function columnsOf(steps = []) {
  const step = steps.find(step => step.columns)
  return step ? step.columns.map((name, index) => step.units?.[index] ? `${name} (${step.units[index]})` : name) : []
}

function tensors(model) {
  const rows = [], more = []
  const words = (steps = []) => steps.map(step => step.step).join(" → ")
  for (const [name, graph] of Object.entries(model.graphs)) {
    const used = name === (model.definition.graph ?? model.definition.decode)
    for (const [side, specs] of [["in", graph.inputs], ["out", graph.outputs]]) {
      for (const [tensor, spec] of Object.entries(specs)) {
        const steps = used ? model.definition[side === "in" ? "inputs" : "outputs"]?.[tensor] : undefined
        const columns = columnsOf(steps)
        ;(used ? rows : more).push([name, side, el("code", {}, tensor), `${spec.dtype} ${shapeText(spec.shape)}`, columns.length ? columns.join(", ") : steps?.unit ?? model.definition.units?.[tensor] ?? words(steps)])
      }
    }
  }
  const head = ["Graph", "", "Name", "Type and shape", "Columns, or Steps between row and tensor"]
  return section("Inputs and outputs", "tensors", table(head, rows, "broad"), more.length ? el("details", {}, el("summary", {}, "Other graphs"), table(head, more, "broad")) : null)
}

function versions(model, card) {
  const labels = version => Object.entries(card.labels).filter(([, number]) => number === version).map(([label]) => el("span", {class: "badge"}, label))
  const problem = el("div")
  const file = item => item.open ? el("button", {type: "button", class: "plain small", onclick: () => attempt(problem, async () => {
    const response = await call(`${modelPath(model.name, "files")}/${item.path.split("/").map(encodeURIComponent).join("/")}?version=${model.version}`)
    download(`${model.name}-${model.version}-${item.path.split("/").at(-1)}`, await response.blob())
  })}, `Download ${item.path}`) : el("span", {class: "quiet"}, item.path)
  return section("Versions and files", "versions",
    table(["Version", "State", "Labels", "Problem"], model.versions.map(({version, state, error}) => [String(version), state === "AVAILABLE" ? "ready" : state.toLowerCase(), labels(version), error || "–"])),
    el("h3", {}, "Files of this version"), table(["File", "Size"], card.files.map(item => [file(item), bytes(item.bytes)])), problem,
    card.files.some(item => !item.open) && el("p", {class: "quiet"}, "Weights can be downloaded where the server was started with --model-control."))
}
