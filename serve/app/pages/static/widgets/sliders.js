// A row of numbers as sliders, each with its name and the range that is usual in the training data.
import {attempt, modelPath, post} from "../lib/api.js"
import {answerBox, exampleChips} from "../lib/answers.js"
import {columnsOf} from "../lib/columns.js"
import {el, latest, newId, number} from "../lib/dom.js"

/** Ranges: mean and deviation of the Standardise step where there is one, widened by the examples. */
function ranges(steps, rows, size) {
  const standard = steps.find(step => step.step === "standardise")
  return Array.from({length: size}, (_, index) => {
    const seen = rows.map(row => row[index]), mean = [standard?.mean].flat(9)[index], deviation = [standard?.deviation].flat(9)[index]
    const low = Math.min(...seen, mean !== undefined ? mean - 2 * deviation : seen.length ? Infinity : -1), high = Math.max(...seen, mean !== undefined ? mean + 2.5 * deviation : seen.length ? -Infinity : 1)
    const whole = seen.length > 1 && seen.every(value => value === 0 || value === 1)
    if (whole) return {low: 0, high: 1, step: 1, start: 0}
    const positive = seen.length > 0 && seen.every(value => value >= 0)
    const from = positive ? Math.max(0, low) : low, to = high > from ? high : from + 1
    const step = 10 ** Math.floor(Math.log10((to - from) / 100))
    const round = value => +(Math.round(value / step) * step).toPrecision(8)
    return {low: round(from), high: round(to), step, start: round(mean ?? seen[0] ?? (from + to) / 2)}
  })
}

export async function widget({model, follow, examples}) {
  const [[input, steps]] = Object.entries(model.definition.inputs)
  const size = steps[0].shape[0], columns = columnsOf(model, steps[0], size)
  const rows = (await examples().catch(() => [])).filter(row => Array.isArray(row) && row.length === size)
  const limits = ranges(steps, rows, size)
  const whole = steps[0].dtype.includes("int")
  const row = limits.map(limit => whole ? Math.round(limit.start) : limit.start)
  const answer = el("div", {"aria-live": "polite"}), problem = el("div"), before = el("p", {class: "quiet"})
  let last = null
  const ask = latest(async () => {
    follow({verb: "predict", body: {rows: [[...row]]}})
    await attempt(problem, async () => {
      const reply = await post(modelPath(model.name, "predict"), {rows: [row]}), [found] = reply.answers
      const flat = [Object.values(found)[0]].flat(9), value = flat.length === 1 && typeof flat[0] === "number" ? flat[0] : null
      answer.replaceChildren(answerBox(model, found, reply))
      if (value !== null && last !== null) before.textContent = value === last ? "" : `${value > last ? "▲" : "▼"} ${number(Math.abs(value - last))} from the answer before`
      last = value
    })
  })
  const controls = columns.map(({name, meaning}, index) => {
    const id = newId(), limit = limits[index]
    const slide = el("input", {type: "range", id, min: limit.low, max: limit.high, step: whole ? 1 : limit.step})
    const exact = el("input", {type: "number", step: "any", "aria-label": `${name}, exact value`})
    const set = value => { row[index] = value; exact.value = +value.toPrecision(6); slide.value = value }
    slide.oninput = () => { row[index] = +slide.value; exact.value = slide.value; ask() }
    exact.oninput = () => { if (exact.value !== "" && Number.isFinite(+exact.value)) { row[index] = +exact.value; slide.value = exact.value; ask() } }
    set(row[index])
    return {set, node: el("div", {class: "slider"}, el("label", {for: id}, el("strong", {}, name), meaning && el("span", {class: "quiet"}, ` ${meaning}`)), slide, exact)}
  })
  ask()
  return el("div", {}, el("div", {class: "answer"}, answer, before, problem),
    exampleChips(rows, (_, index) => `Row ${index + 1}`, found => { found.forEach((value, index) => controls[index].set(value)); ask() }, "Rows of the data"),
    el("p", {class: "quiet"}, `Each slider covers what is usual in the training data of “${input}”. Type a number to leave that range.`),
    el("div", {class: "sliders"}, controls.map(control => control.node)))
}
