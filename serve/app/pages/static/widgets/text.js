// Read a text with one or several models side by side, and colour each word by what it contributes.
import {attempt, get, modelPath, post} from "../lib/api.js"
import {answerBox, exampleChips} from "../lib/answers.js"
import {el, latest, plural, settled} from "../lib/dom.js"

// Words whose contribution is asked at most: each needs one more row.
const MOST = 150

const firstStep = model => Object.values(model.definition.inputs ?? {})[0]?.[0]
const labelsOf = model => Object.values(model.definition.outputs ?? {}).flat().find(step => step.labels)?.labels ?? []

/** Other models of this server that read texts and answer with the same labels. */
async function alikeModels(model) {
  const {models} = await get("/api/models")
  const names = [...new Set(models.filter(other => other.verb === "predict" && other.name !== model.name).map(other => other.name))]
  const found = await Promise.all(names.slice(0, 80).map(name => get(modelPath(name)).catch(() => null)))
  const wanted = JSON.stringify(labelsOf(model))
  return found.filter(other => other && ["words", "ngrams", "hashed", "characters"].includes(firstStep(other)?.step) && JSON.stringify(labelsOf(other)) === wanted)
}

const toRow = text => text
const score = (answer, label) => {
  const output = Object.values(answer).find(value => Array.isArray(value) && value[0]?.label !== undefined)
  return output ? output.find(item => item.label === label)?.score ?? 0 : [Object.values(answer)[0]].flat(9)[0]
}
const best = answer => Object.values(answer).find(value => Array.isArray(value) && value[0]?.label !== undefined)?.[0].label

export async function widget({model, follow, examples}) {
  const isNews = labelsOf(model).length > 2
  const rows = (await examples().catch(() => [])).filter(row => typeof row === "string")
  const input = el("textarea", {rows: 6, value: isNews ? rows[0] ?? "" : "This film is wonderful: a great story and brilliant actors. Only the end is a bit boring.", spellcheck: false})
  const answers = el("div", {class: "answers", "aria-live": "polite"}), problem = el("div"), why = el("div"), others = el("div")
  const chosen = new Map([[model.name, model]])

  const ask = latest(async () => {
    const text = input.value
    if (!text.trim()) { answers.replaceChildren(el("p", {class: "quiet"}, "Write something, then the model answers.")); why.replaceChildren(); return }
    follow({verb: "predict", body: {rows: [toRow(text)]}})
    await attempt(problem, async () => {
      const found = await Promise.all([...chosen.values()].map(async each => [each, await post(modelPath(each.name, "predict"), {rows: [toRow(text)]})]))
      answers.replaceChildren(...found.map(([each, reply]) => el("div", {class: "answer"}, el("h3", {}, each.name), answerBox(each, reply.answers[0], reply))))
    })
    if (live.checked) await explain()
  })
  const soon = settled(ask, 200)
  input.oninput = soon

  /** What each word contributes: the change of the likeliest label's score if the word is left out. */
  const explain = () => attempt(why, async () => {
    const pieces = input.value.split(/(\s+)/), words = pieces.map((piece, index) => ({piece, index})).filter(({piece}) => piece.trim()).slice(0, MOST)
    if (!words.length) return
    const without = words.map(({index}) => toRow(pieces.filter((_, place) => place !== index && place !== index + 1).join("")) || " ")
    why.replaceChildren(el("p", {class: "quiet"}, `Asking ${plural(words.length + 1, "text")}, each without one word …`))
    const found = await Promise.all([...chosen.values()].map(async each => {
      const reply = await post(modelPath(each.name, "predict"), {rows: [toRow(input.value), ...without]})
      const [whole, ...left] = reply.answers, unknown = new Set((reply.notes ?? []).filter(note => note.row === 0).flatMap(note => note.words ?? []))
      const label = best(whole), all = score(whole, label)
      const shares = left.map(answer => all - score(answer, label)), most = Math.max(...shares.map(Math.abs), 1e-9)
      const marks = new Map(words.map(({index}, place) => [index, shares[place]]))
      return el("div", {class: "answer"}, el("h3", {}, each.name), el("p", {class: "quiet"}, el("strong", {}, "Green"), ` speaks for “${label}”, `, el("strong", {}, "red"), " against it."),
        el("p", {class: "reading"}, pieces.map((piece, index) => {
          if (!marks.has(index)) return piece
          const share = marks.get(index), mark = el("mark", {class: unknown.has(piece.toLowerCase().replace(/[^\p{L}\p{N}']/gu, "")) ? "unknown" : "", title: `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)} points for “${label}”`}, piece)
          mark.style.setProperty("--tone", share > 0 ? "var(--for)" : "var(--against)")
          mark.style.setProperty("--share", String(Math.abs(share) / most))
          return mark
        })))
    }))
    why.replaceChildren(el("div", {class: "answers"}, found), el("p", {class: "quiet"}, `Found by leaving out each word in turn${pieces.filter(piece => piece.trim()).length > MOST ? `; the first ${MOST} words were tried` : ""}. Strongest colour: the word that changes most.`))
  })
  const live = el("input", {type: "checkbox", onchange: () => live.checked ? explain() : why.replaceChildren()})

  attempt(others, async () => {
    const found = await alikeModels(model)
    if (!found.length) return
    others.replaceChildren(el("fieldset", {class: "row"}, el("legend", {class: "quiet"}, "Compare with"), found.map(other => el("label", {class: "line"}, el("input", {type: "checkbox", onchange: event => {
      if (event.target.checked) chosen.set(other.name, other); else chosen.delete(other.name)
      ask()
    }}), other.name))))
  })
  ask()
  return el("div", {}, el("label", {}, isNews ? "A newswire" : "A text, such as a review", input),
    exampleChips(rows, row => `${row.slice(0, 26)}…`, row => { input.value = row; ask() }),
    others, answers, problem,
    el("p", {}, el("label", {class: "line"}, live, "Colour each word by what it contributes")), why)
}
