// Answers as people read them: bars for labels, numbers with their unit, and a note where the model does not know.
import {bars} from "./charts.js"
import {el, number} from "./dom.js"

const isLabels = value => Array.isArray(value) && value[0]?.label !== undefined

/** Unit of an output, if the bundle names one. */
export function unitOf(model, name) {
  const steps = model.definition.outputs?.[name] ?? []
  return [...steps].reverse().find(step => step.unit)?.unit ?? model.definition.units?.[name] ?? ""
}

/** One answer: every output in its form, with the units and the notes that came with it. */
export function answerBox(model, answer, {units = {}, notes = []} = {}) {
  return el("div", {}, outputs(model, answer, units), notes.filter(note => note.kind !== "sample").map(({message}) => el("p", {class: "note"}, message)))
}

function outputs(model, answer, units) {
  return Object.entries(answer).map(([name, value]) => {
    if (isLabels(value)) return bars(value, {label: name})
    const flat = [value].flat(9)
    if (flat.length === 1 && typeof flat[0] === "number") return el("p", {}, el("span", {class: "quiet"}, `${name}: `), el("span", {class: "big"}, number(flat[0])), " ", units[name] ?? unitOf(model, name))
    if (typeof value === "string") return el("p", {class: "note"}, value)
    return el("div", {}, el("p", {class: "quiet"}, `${name} (${flat.length.toLocaleString("en")} numbers)`), el("pre", {tabindex: "0"}, flat.length > 400 ? `${JSON.stringify(flat.slice(0, 400))} …` : JSON.stringify(value, (_, item) => typeof item === "number" ? +item.toPrecision(6) : item)))
  })
}

/** One word or number for a table. */
export const answerText = value => isLabels(value) ? value[0].label : typeof value === "string" ? value : JSON.stringify([value].flat(9).length === 1 ? [value].flat(9)[0] : value)
export const answerScore = value => isLabels(value) ? value[0].score : null

/** Buttons for the examples of the bundle. `show(row)` gives what stands on a button. */
export function exampleChips(rows, show, take, label = "Examples") {
  if (!rows.length) return null
  return el("div", {class: "chips", role: "group", "aria-label": label}, el("span", {class: "quiet"}, `${label}:`), rows.map((row, index) => {
    const content = show(row, index)
    return el("button", {type: "button", class: `plain ${content instanceof HTMLImageElement ? "picture" : ""}`, "aria-label": content instanceof HTMLImageElement ? `Example ${index + 1}` : undefined, onclick: () => take(row)}, content)
  }))
}
