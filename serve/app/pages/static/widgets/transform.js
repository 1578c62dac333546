// DeepDream and style transfer: a job with live preview, a slider between before and after, and a download.
import {attempt, call, events, post} from "../lib/api.js"
import {announce, el, field, number} from "../lib/dom.js"
import {base64, dataUrl, pictureInput} from "../lib/image.js"

const HINTS = {step: "size of a step", octaves: "sizes of the picture that are gone through", octave_scale: "factor between two sizes", iterations: "steps at each size", max_loss: "stop a size above this loss", height: "height of the result in pixels"}

export async function widget({model, follow}) {
  const {method, contributions, unit, ...settings} = model.definition.method
  const dream = method === "dream"
  const taken = [null, null], views = [0, 1].map(() => el("img", {alt: "", hidden: true}))
  const inputs = (dream ? ["The picture to dream on"] : ["The photo", "The picture with the style"]).map((label, index) => el("div", {}, pictureInput(label, async blob => {
    taken[index] = await base64(blob)
    URL.revokeObjectURL(views[index].src)
    Object.assign(views[index], {src: URL.createObjectURL(blob), hidden: false, alt: label})
    tell()
  }), el("div", {class: "pictures"}, views[index])))
  const numbers = values => Object.fromEntries(Object.entries(values ?? {}).map(([name, value]) => [name, el("input", {type: "number", step: "any", value, title: HINTS[name] ?? ""})]))
  const fields = numbers(settings), layers = numbers(contributions)
  const given = values => Object.fromEntries(Object.entries(values).filter(([, input]) => input.value !== "").map(([name, input]) => [name, +input.value]))
  const body = () => ({model: model.name, images: taken.filter(Boolean), params: {...given(fields), ...contributions ? {contributions: given(layers)} : {}}})
  const tell = () => follow({verb: "jobs", body: taken[0] ? body() : {...body(), images: dream ? [{b64: ""}] : [{b64: ""}, {b64: ""}]}})
  const start = el("button", {}, dream ? "Dream" : "Paint"), stop = el("button", {type: "button", class: "plain", hidden: true}, "Stop")
  const progress = el("div"), result = el("div"), problem = el("div")

  const form = el("form", {oninput: tell, onsubmit: event => {
    event.preventDefault()
    attempt(problem, async () => {
      if (!taken[0] || (!dream && !taken[1])) { problem.replaceChildren(el("p", {class: "note", role: "alert"}, dream ? "Choose a picture first." : "Choose both pictures first.")); return }
      tell()
      start.disabled = true
      try { await run() } finally { start.disabled = false; stop.hidden = true }
    })
  }}, el("div", {class: "split"}, inputs), el("details", {}, el("summary", {}, "Settings"), el("div", {class: "row"}, Object.entries({...fields, ...layers}).map(([name, input]) => field(name.replaceAll("_", " "), input)))), el("p", {class: "row"}, start, stop))

  async function run() {
    const {job} = await post("/api/jobs", body()), path = `/api/jobs/${job.id}`
    const bar = el("progress", {max: 1, value: 0, "aria-label": "Progress"}), said = el("p", {class: "quiet"}), preview = el("img", {alt: "The picture so far", hidden: true})
    progress.replaceChildren(bar, said, el("div", {class: "pictures large"}, preview))
    result.replaceChildren()
    stop.hidden = false
    stop.onclick = () => call(path, {method: "DELETE"})
    for await (const now of events(`${path}/events`)) {
      bar.value = now.state === "done" ? 1 : now.steps ? now.step / now.steps : 0
      said.textContent = `${now.state}: step ${now.step} of ${now.steps}${now.loss === null ? "" : `, loss ${number(now.loss)}`}`
      if (now.preview) Object.assign(preview, {src: dataUrl(now.preview), hidden: false})
      if (now.error) { problem.replaceChildren(el("p", {class: "problem", role: "alert"}, now.error.message, " ", now.error.hint)); return }
      if (now.state === "cancelled") { said.textContent = "Stopped."; return }
      if (now.state === "done") break
    }
    const url = URL.createObjectURL(await (await call(`${path}/result`)).blob())
    preview.hidden = true
    announce("The picture is ready.")
    result.replaceChildren(compare(views[0].src, url), el("p", {}, el("a", {class: "button", href: url, download: `${model.name}.png`}, "Download in full size")))
  }
  tell()
  return el("div", {}, form, progress, result, problem)
}

/** Two pictures on top of each other, with a slider for where one ends. */
function compare(before, after) {
  const over = el("img", {class: "after", src: before, alt: "Before"})
  const slide = el("input", {type: "range", min: 0, max: 100, value: 50, oninput: () => set()})
  const set = () => { over.style.clipPath = `inset(0 ${100 - slide.value}% 0 0)` }
  set()
  return el("div", {}, el("div", {class: "compare"}, el("img", {src: after, alt: "After"}), over), el("label", {}, "Before ◂ ▸ after", slide))
}
