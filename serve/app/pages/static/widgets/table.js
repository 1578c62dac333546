// A CSV file dropped on a model: its columns are matched by name, and the answers come back as columns beside them.
import {Problem, attempt, modelPath, post} from "../lib/api.js"
import {answerScore, answerText} from "../lib/answers.js"
import {columnsOf} from "../lib/columns.js"
import {announce, download, el, plural} from "../lib/dom.js"

// Rows that are sent in one request, and rows that are shown.
const PART = 256, SHOWN = 100

/** Lines of a CSV text as lists of cells. Quotes, both kinds of line ends, and comma, semicolon or tab are understood. */
export function parseCsv(text) {
  const head = text.slice(0, text.search(/[\r\n]|$/)), mark = [",", ";", "\t"].reduce((best, each) => head.split(each).length > head.split(best).length ? each : best, ",")
  const lines = []
  let line = [], cell = "", quoted = false
  const text_ = text.replace(/^\uFEFF/, "")
  for (let at = 0; at < text_.length; at++) {
    const character = text_[at]
    if (quoted) {
      if (character === '"' && text_[at + 1] === '"') { cell += '"'; at++ } else if (character === '"') quoted = false
      else cell += character
    } else if (character === '"' && cell === "") quoted = true
    else if (character === mark) { line.push(cell); cell = "" }
    else if (character === "\n" || character === "\r") {
      if (character === "\r" && text_[at + 1] === "\n") at++
      line.push(cell)
      if (line.length > 1 || line[0] !== "") lines.push(line)
      line = []
      cell = ""
    } else cell += character
  }
  if (cell !== "" || line.length) lines.push([...line, cell])
  return lines
}

const csvCell = value => /[",\n;]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value)
const isNumber = text => text.trim() !== "" && Number.isFinite(+text)
const plain = name => name.toLowerCase().replace(/[^a-z0-9]/g, "")

/** What a row of the model is made of: the names of its columns, or null where any table with one column will do. */
function wanted(model) {
  const inputs = Object.entries(model.definition.inputs)
  if (inputs.length > 1) return {names: inputs.map(([name]) => name), text: false, several: true}
  const step = inputs[0][1][0]
  if (["words", "characters", "ngrams", "hashed"].includes(step?.step)) return {names: ["text"], text: true}
  if (step?.step === "numbers" && step.shape?.length === 1 && step.shape[0] > 0) return {names: columnsOf(model, step, step.shape[0]).map(({name}) => name), text: step.dtype === "string"}
  return null
}

export function table({model, follow}) {
  const wants = wanted(model)
  const title = el("h2", {id: "table"}, "A whole table")
  if (!wants) return null  // a picture or a series does not fit into a line
  const problem = el("div"), place = el("div")
  const input = el("input", {type: "file", accept: ".csv,.tsv,.txt,text/csv", class: "hidden", tabindex: "-1", "aria-label": "A CSV file", onchange: () => { if (input.files[0]) take(input.files[0]); input.value = "" }})
  const zone = el("div", {class: "drop"}, el("p", {}, el("strong", {}, "Drop a CSV file here"), " ", el("button", {type: "button", class: "plain", onclick: () => input.click()}, "Choose a CSV file")),
    el("p", {class: "quiet"}, wants.text ? "It needs a column of texts." : `It needs the columns ${wants.names.slice(0, 13).join(", ")}${wants.names.length > 13 ? ", …" : ""}, in any order.`), input)
  zone.ondragover = event => { event.preventDefault(); zone.classList.add("over") }
  zone.ondragleave = () => zone.classList.remove("over")
  zone.ondrop = event => { event.preventDefault(); zone.classList.remove("over"); if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]) }

  const take = file => attempt(problem, async () => {
    place.replaceChildren()
    const lines = parseCsv(await file.text())
    if (!lines.length) throw new Problem(`“${file.name}” is empty.`, "Choose a CSV file with one row in each line.")
    const hasHead = wants.text ? lines.length > 1 && lines[0].every(cell => cell.length < 40 && !isNumber(cell)) : lines[0].some(cell => !isNumber(cell))
    const head = hasHead ? lines[0] : lines[0].map((_, index) => `column ${index + 1}`), rows = hasHead ? lines.slice(1) : lines
    if (!rows.length) throw new Problem(`“${file.name}” has a header and no rows.`, "Add rows below it.")
    // By name; where a text is wanted, the column with the longest cells; without a header, by place.
    const longest = () => head.reduce((best, _, index) => average(rows, index) > average(rows, best) ? index : best, 0)
    const guess = name => { const found = head.findIndex(cell => plain(cell) === plain(name)); return found >= 0 ? found : wants.text ? longest() : !hasHead && head.length === wants.names.length ? wants.names.indexOf(name) : -1 }
    const chosen = wants.names.map(name => el("select", {"aria-label": `Column for ${name}`}, el("option", {value: -1}, "– choose –"), head.map((cell, index) => el("option", {value: index, selected: index === guess(name)}, cell || `column ${index + 1}`))))
    const missing = wants.names.filter((_, index) => +chosen[index].value < 0)
    const output = el("div")
    const go = el("button", {type: "button", onclick: () => attempt(output, () => run(output, file.name, head, rows, chosen.map(select => +select.value)))}, `Predict ${plural(rows.length, "row")}`)
    place.replaceChildren(el("h3", {}, `${file.name}: ${plural(rows.length, "row")}, ${plural(head.length, "column")}`),
      el("details", {open: missing.length > 0 || wants.text}, el("summary", {}, missing.length ? `Not found by name: ${missing.join(", ")}. Choose their columns.` : "Columns are matched by name"), el("div", {class: "row"}, wants.names.map((name, index) => el("label", {}, name, chosen[index])))),
      el("p", {}, go), output)
  })

  async function run(output, name, head, rows, columns) {
    const lacking = wants.names.filter((_, index) => columns[index] < 0)
    if (lacking.length) throw new Problem(`No column is chosen for ${lacking.join(", ")}.`, "Choose one for each, above.")
    const made = rows.map((cells, line) => {
      const values = columns.map((column, index) => {
        const cell = cells[column] ?? ""
        if (wants.text) return cell
        if (wants.several) { try { return JSON.parse(cell) } catch { return cell } }
        if (!isNumber(cell)) throw new Problem(`Row ${line + 1}, column “${head[column]}”: “${cell.slice(0, 40)}” is not a number (${wants.names[index]}).`, "Correct the file, then drop it again.")
        return +cell
      })
      return wants.several ? Object.fromEntries(wants.names.map((each, index) => [each, values[index]])) : wants.text ? values[0] : values
    })
    const bar = el("progress", {max: made.length, value: 0, "aria-label": "Progress"}), said = el("p", {class: "quiet", role: "status"})
    let stopped = false
    const stop = el("button", {type: "button", class: "plain small", onclick: () => { stopped = true }}, "Stop")
    output.replaceChildren(bar, said, stop)
    follow({verb: "predict", body: {rows: made.slice(0, 3)}})
    const answers = []
    for (let at = 0; at < made.length && !stopped; at += PART) {
      const found = await post(modelPath(model.name, "predict"), {rows: made.slice(at, at + PART)})
      answers.push(...found.answers)
      bar.value = answers.length
      said.textContent = `${answers.length.toLocaleString("en")} of ${plural(made.length, "row")}`
    }
    stop.remove()
    const names = Object.keys(answers[0] ?? {}), cells = answer => names.flatMap(each => answerScore(answer[each]) === null ? [answerText(answer[each])] : [answerText(answer[each]), answerScore(answer[each])])
    const titles = names.flatMap(each => answers.length && answerScore(answers[0][each]) !== null ? [each, `${each} score`] : [each])
    const all = answers.map((answer, index) => [...rows[index], ...cells(answer)])
    announce(`${plural(answers.length, "answer")}.`)
    output.append(el("p", {}, el("button", {type: "button", onclick: () => download(name.replace(/\.\w+$/, "") + "-answers.csv", [[...head, ...titles], ...all].map(line => line.map(csvCell).join(",")).join("\r\n") + "\r\n", "text/csv")}, "Download as CSV")),
      el("div", {class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Answers"}, el("table", {}, el("thead", {}, el("tr", {}, [...titles, ...head].map(text => el("th", {scope: "col"}, text)))),
        el("tbody", {}, all.slice(0, SHOWN).map(line => el("tr", {}, [...line.slice(head.length), ...line.slice(0, head.length)].map(cell => el("td", {}, shorten(cell)))))))),
      all.length > SHOWN ? el("p", {class: "quiet"}, `The first ${SHOWN} rows; the CSV file has all.`) : "")
  }
  return el("section", {class: "panel", "aria-labelledby": "table"}, title, zone, problem, place)
}

const average = (rows, index) => rows.slice(0, 20).reduce((sum, row) => sum + (row[index]?.length ?? 0), 0)
const shorten = cell => typeof cell === "number" ? String(+cell.toPrecision(4)) : cell.length > 80 ? `${cell.slice(0, 80)} …` : isNumber(String(cell)) ? String(+(+cell).toPrecision(6)) : cell
