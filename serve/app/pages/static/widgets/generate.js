// Write on from a prompt at two or three temperatures side by side, with the odds of each character.
import {Problem, events, modelPath, problemBox} from "../lib/api.js"
import {announce, download, el, field, number, percent} from "../lib/dom.js"

const visible = text => ({" ": "␣", "\n": "⏎"})[text] ?? text
const KEPT = 12

export async function widget({model, follow}) {
  const prompt = el("textarea", {value: model.definition.prompt, rows: 3})
  const length = el("input", {type: "number", min: 1, max: 5000, step: 1, value: 300}), seed = el("input", {type: "number", min: 0, step: 1, placeholder: "any"})
  const temperatures = [0.2, 0.5, 1.0].map((value, index) => ({on: el("input", {type: "checkbox", checked: index < 2}), value: el("input", {type: "number", min: 0, max: 10, step: 0.1, value})}))
  const texts = el("div", {class: "texts"}), odds = el("p", {class: "odds", role: "status"}, "Point at a character, or select one with Tab and arrow keys, to see how likely it was."), history = el("div")
  const start = el("button", {}, "Write"), stop = el("button", {type: "button", class: "plain", hidden: true}, "Stop")
  const kept = []
  let control = null
  const body = temperature => Object.fromEntries(Object.entries({prompt: prompt.value, length: +length.value || 300, temperature, seed: seed.value === "" ? undefined : +seed.value}).filter(([, value]) => value !== undefined))
  const chosen = () => temperatures.filter(({on}) => on.checked).map(({value}) => +value.value)
  const tell = () => follow({verb: "generate", body: body(chosen()[0] ?? 0.5)})

  async function write(temperature) {
    const written = el("div", {class: "written", tabindex: "0", role: "group", "aria-label": `Text at temperature ${temperature}`}, el("span", {class: "prompt"}, prompt.value || model.definition.prompt))
    const told = el("p", {class: "quiet"}), box = el("div", {class: "answer"}, el("h3", {}, `Temperature ${number(temperature)}`), written, told)
    texts.append(box)
    let at = -1
    written.onpointerover = event => showOdds(event.target)
    written.onkeydown = event => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key], all = written.querySelectorAll("[data-top]")
      if (!step || !all.length) return
      event.preventDefault()
      at = Math.max(0, Math.min(all.length - 1, at + step))
      showOdds(all[at])
    }
    const begun = performance.now()
    let count = 0
    try {
      for await (const event of events(modelPath(model.name, "generate"), {body: {...body(temperature), stream: true, logprobs: 5}, signal: control.signal})) {
        for (const drawn of event.drawn ?? []) {
          const span = el("span", {}, drawn.text)
          span.dataset.top = JSON.stringify(drawn.top)
          span.dataset.logprob = drawn.logprob
          written.append(span)
          count++
        }
      }
    } catch (error) { if (error.name !== "AbortError") box.append(problemBox(error instanceof Problem ? error : new Problem(error.message))) }
    told.textContent = `${count.toLocaleString("en")} characters in ${((performance.now() - begun) / 1000).toFixed(1)} s${control.signal.aborted ? ", stopped" : ""}`
    return {temperature, text: written.textContent}
  }

  function showOdds(target) {
    if (!target?.dataset?.top) return
    const drawn = visible(target.textContent)
    odds.replaceChildren(el("strong", {}, `“${drawn}” ${percent(Math.exp(+target.dataset.logprob))}`), " · likeliest: ", JSON.parse(target.dataset.top).map(([text, logprob]) => `${visible(text)} ${percent(Math.exp(logprob))}`).join("   "))
  }

  const form = el("form", {onsubmit: async event => {
    event.preventDefault()
    const at = chosen()
    if (!at.length) { texts.replaceChildren(problemBox(new Problem("No temperature is chosen.", "Tick at least one."))); return }
    tell()
    control = new AbortController()
    texts.replaceChildren()
    start.disabled = true
    stop.hidden = false
    const found = await Promise.all(at.map(write))
    start.disabled = false
    stop.hidden = true
    announce("The texts are written.")
    kept.unshift(...found)
    kept.length = Math.min(kept.length, KEPT)
    history.replaceChildren(el("details", {}, el("summary", {}, `Written before (${kept.length})`), kept.map(({temperature, text}) => el("div", {class: "answer"}, el("p", {class: "quiet"}, `temperature ${number(temperature)}`), el("p", {}, text.length > 400 ? `${text.slice(0, 400)} …` : text))),
      el("p", {}, el("button", {type: "button", class: "plain small", onclick: () => download(`${model.name}.txt`, kept.map(({temperature, text}) => `temperature ${temperature}\n${text}\n`).join("\n"))}, "Download all"))))
  }, oninput: tell},
  field("Prompt: the model writes on from here", prompt),
  el("div", {class: "row"}, temperatures.map(({on, value}, index) => el("div", {class: "label"}, el("label", {class: "line"}, on, `Temperature ${index + 1}`), Object.assign(value, {ariaLabel: `Temperature ${index + 1}, value`}))), field("Characters", length), field("Seed", seed), start, stop),
  el("p", {class: "quiet"}, "Low temperatures take likely characters and repeat themselves; high ones dare more and make mistakes."))
  stop.onclick = () => control.abort()
  tell()
  return el("div", {}, form, odds, texts, history)
}
