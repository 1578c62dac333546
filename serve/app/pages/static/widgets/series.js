// A series of readings, such as a week of weather, as a plot with the value that the model expects next.
import {attempt, modelPath, post} from "../lib/api.js"
import {answerBox, exampleChips, unitOf} from "../lib/answers.js"
import {legend, plot} from "../lib/charts.js"
import {columnsOf} from "../lib/columns.js"
import {el, latest, number} from "../lib/dom.js"

/** Minutes between two readings, and how far ahead the answer is, as far as the description of the data says. */
function timing(card) {
  const text = card.origin?.dataset ?? ""
  const minutes = +(/(\d+) minutes apart/.exec(text)?.[1] ?? 0), hours = +(/(\d+) hours? after the latest/.exec(text)?.[1] ?? 0)
  return minutes ? {minutes, ahead: hours * 60 / minutes} : {minutes: 0, ahead: 1}
}

export async function widget({model, card, follow, examples}) {
  const [[, steps]] = Object.entries(model.definition.inputs), [output] = Object.keys(model.definition.outputs)
  const [length, width] = steps[0].shape, columns = columnsOf(model, steps[0], width)
  const rows = (await examples().catch(() => [])).filter(row => Array.isArray(row?.[0]))
  if (!rows.length) return (await import("./rows.js")).widget({model, follow, examples})
  const {minutes, ahead} = timing(card)
  const aim = Math.max(0, columns.findIndex(({name}) => /^T \(|temp/i.test(name)))
  const select = el("select", {}, columns.map(({name}, index) => el("option", {value: index, selected: index === aim}, name)))
  const shift = el("input", {type: "range", min: -15, max: 15, step: 0.5, value: 0}), shifted = el("span", {}, "0")
  const place = el("div"), answer = el("div", {"aria-live": "polite"}), problem = el("div")
  let row = rows[0]
  const changed = () => {
    const column = +select.value, more = +shift.value
    return more ? row.map(reading => reading.map((value, index) => index === column ? value + more : value)) : row
  }
  const label = index => minutes ? `${index <= length - 1 ? "" : "+"}${Math.round((index - length + 1) * minutes / 60)} h` : String(Math.round(index))
  const ask = latest(async () => {
    const series = changed(), column = +select.value, values = series.map(reading => reading[column])
    follow({verb: "predict", body: {rows: [series]}})
    await attempt(problem, async () => {
      const reply = await post(modelPath(model.name, "predict"), {rows: [series]}), [found] = reply.answers
      const value = [found[output]].flat(9)[0], unit = unitOf(model, output) || (/\(([^)]*)\)/.exec(columns[aim].name)?.[1] ?? "").replace("degC", "°C")
      const mark = column === aim && typeof value === "number" ? {x: length - 1 + (ahead || 1), y: value, text: `${number(value)} ${unit}`} : undefined
      place.replaceChildren(plot([{name: columns[column].name, values}], {label: `${columns[column].name}: ${length} readings, from ${number(Math.min(...values))} to ${number(Math.max(...values))}${mark ? `; expected: ${mark.text}` : ""}`, xText: label, yTitle: columns[column].name, mark}),
        legend([columns[column].name, ...mark ? [`expected${minutes ? `, ${ahead * minutes / 60} hours later` : ""}`] : []]))
      if (typeof value === "number") answer.replaceChildren(el("span", {class: "quiet"}, minutes ? `${output} ${ahead * minutes / 60} hours after the last reading: ` : `${output}: `), el("span", {class: "big"}, number(value)), ` ${unit}`)
      else answer.replaceChildren(answerBox(model, found, reply))
    })
  })
  select.onchange = () => { shift.value = 0; shifted.textContent = "0"; ask() }
  shift.oninput = () => { shifted.textContent = `${+shift.value > 0 ? "+" : ""}${shift.value}`; ask() }
  ask()
  const days = minutes ? Math.round(length * minutes / 1440) : 0
  return el("div", {}, el("p", {class: "quiet"}, `${length} readings of ${width} columns${days ? `: ${days} days` : ""}. The model reads all of them.`),
    exampleChips(rows, (_, index) => days ? `Period ${index + 1}` : `Row ${index + 1}`, found => { row = found; ask() }, "From the data"),
    answer, place, problem,
    el("div", {class: "row"}, el("label", {}, "Column", select), el("label", {class: "grow"}, el("span", {}, "Move all its readings by ", shifted), shift)))
}
