// Any other model: a row as JSON, with one field for each input.
import {attempt, modelPath, post} from "../lib/api.js"
import {answerBox, exampleChips} from "../lib/answers.js"
import {Problem} from "../lib/api.js"
import {el, shapeText} from "../lib/dom.js"

const zeros = ([size, ...rest]) => size === undefined ? 0 : Array(typeof size === "number" && size > 0 ? size : 1).fill(null).map(() => zeros(rest))

export async function widget({model, follow, examples}) {
  if (model.verb !== "predict") return el("p", {}, "This model has no form here. Use the code below.")
  const graph = model.graphs[model.definition.graph] ?? Object.values(model.graphs)[0], names = Object.keys(model.definition.inputs)
  const rows = await examples().catch(() => [])
  const start = name => rows[0] === undefined ? zeros(graph.inputs[name]?.shape.slice(1) ?? []) : names.length > 1 ? rows[0][name] : rows[0]
  const fields = Object.fromEntries(names.map(name => [name, el("textarea", {rows: 3, value: JSON.stringify(start(name))})]))
  const answer = el("div", {"aria-live": "polite"}), problem = el("div")
  const parse = name => { try { return JSON.parse(fields[name].value) } catch { throw new Problem(`“${name}” is not JSON.`, "Write numbers as [1, 2, 3] and texts in double quotes.") } }
  const row = () => names.length > 1 ? Object.fromEntries(names.map(name => [name, parse(name)])) : parse(names[0])
  const tell = () => { try { follow({verb: "predict", body: {rows: [row()]}}) } catch { /* not yet JSON */ } }
  const form = el("form", {oninput: tell, onsubmit: event => {
    event.preventDefault()
    attempt(problem, async () => {
      const body = {rows: [row()]}
      const reply = await post(modelPath(model.name, "predict"), body), [found] = reply.answers
      answer.replaceChildren(answerBox(model, found, reply))
    })
  }}, names.map(name => el("label", {}, `${name} ${graph.inputs[name] ? `${graph.inputs[name].dtype} ${shapeText(graph.inputs[name].shape.slice(1))}` : ""}`, fields[name])), el("p", {}, el("button", {}, "Predict")))
  tell()
  return el("div", {}, exampleChips(rows, (_, index) => `Row ${index + 1}`, found => { for (const name of names) fields[name].value = JSON.stringify(names.length > 1 ? found[name] : found); tell(); form.requestSubmit() }), form, answer, problem)
}
