// Draw a digit and watch the bars move; see what the model sees, the heat map and the activations of the layers.
import {attempt, modelPath, post} from "../lib/api.js"
import {bars} from "../lib/charts.js"
import {el, latest, settled} from "../lib/dom.js"
import {base64, canvasBlob, dataUrl, drawPixels, pictureInput} from "../lib/image.js"
import {exampleChips} from "../lib/answers.js"

const SIDE = 280
// Length of what must be drawn before it is asked what it is: a dot is no digit.
const LEAST = 60

/** A black canvas to draw on in white. `changed()` is called while drawing. */
export function drawingPad(changed, label) {
  const canvas = el("canvas", {class: "pad", tabindex: "0", role: "img", "aria-label": label})
  Object.assign(canvas, {width: SIDE, height: SIDE})
  const context = canvas.getContext("2d")
  Object.assign(context, {lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "#fff", fillStyle: "#000"})
  context.fillRect(0, 0, SIDE, SIDE)
  let last = null
  const at = event => {
    const box = canvas.getBoundingClientRect()
    return [(event.clientX - box.left) * SIDE / box.width, (event.clientY - box.top) * SIDE / box.height]
  }
  const line = (from, to) => { context.beginPath(); context.moveTo(...from); context.lineTo(...to); context.stroke(); drawn += Math.hypot(to[0] - from[0], to[1] - from[1]); canvas.empty = drawn < LEAST; changed() }
  let drawn = 0
  canvas.empty = true
  canvas.onpointerdown = event => { canvas.setPointerCapture(event.pointerId); last = at(event); line(last, last) }
  canvas.onpointermove = event => { if (last && event.buttons) { const now = at(event); line(last, now); last = now } }
  canvas.onpointerup = canvas.onpointercancel = () => { last = null }
  // With the keyboard: arrows move a pen, which draws while Shift is held.
  let pen = [SIDE / 2, SIDE / 4]
  canvas.onkeydown = event => {
    const step = {ArrowLeft: [-14, 0], ArrowRight: [14, 0], ArrowUp: [0, -14], ArrowDown: [0, 14]}[event.key]
    if (!step) return
    event.preventDefault()
    const next = pen.map((value, axis) => Math.min(SIDE - 14, Math.max(14, value + step[axis])))
    if (event.shiftKey) line(pen, next)
    pen = next
  }
  canvas.clear = () => { context.fillRect(0, 0, SIDE, SIDE); canvas.empty = true; drawn = 0; pen = [SIDE / 2, SIDE / 4] }
  canvas.show = image => { context.fillRect(0, 0, SIDE, SIDE); context.drawImage(image, 0, 0, SIDE, SIDE); canvas.empty = false }
  return canvas
}

export async function widget({model, follow, examples}) {
  const [input] = Object.keys(model.definition.inputs), [output] = Object.keys(model.definition.outputs)
  const labels = model.definition.outputs[output].find(step => step.labels)?.labels
  const problem = el("div"), scores = el("div", {"aria-live": "polite"}), seen = el("canvas", {class: "pixelated", role: "img", "aria-label": "What the model sees"})
  const heat = el("img", {alt: "Heat map: which parts speak for the answer", hidden: true}), layers = el("div", {class: "layers"})
  const waiting = el("p", {class: "quiet"}, "Draw a digit from 0 to 9 on the black square, with a mouse, a pen or a finger.")
  scores.append(waiting)
  let picture = null, exact = null
  const views = [el("figure", {hidden: true}, seen, el("figcaption", {}, "What the model sees")), model.graphs.head ? el("figure", {hidden: true}, heat, el("figcaption", {}, "What speaks for it")) : null]
  const pad = drawingPad(() => { exact = null; ask() }, "Drawing area. With the keyboard: arrow keys move the pen, Shift and arrow keys draw.")

  const ask = latest(async () => {
    if (pad.empty) return
    await attempt(problem, async () => {
      const row = exact ?? await base64(await canvasBlob(pad))
      picture = row
      const body = {rows: [row]}
      follow({verb: "predict", body})
      const tensors = await post(modelPath(model.name, "tensors"), body)
      if (pad.empty) return
      views[0].hidden = false
      drawPixels(seen, tensors.inputs[input].data[0])
      // All ten scores: the model's answer names only the likeliest.
      const {predictions: [found]} = await post(`/v1/models/${encodeURIComponent(model.name)}:predict`, {instances: tensors.inputs[input].data})
      if (pad.empty) return
      scores.replaceChildren(bars(found.map((score, index) => ({label: labels?.[index] ?? String(index), score})), {className: "bars digits"}))
      explain()
    })
  })
  const explain = settled(latest(() => attempt(problem, async () => {
    const row = picture
    if (!row || pad.empty) return
    if (model.graphs.head) {
      const {overlay} = await post(modelPath(model.name, "explain"), {row})
      if (pad.empty) return
      heat.src = dataUrl(overlay)
      views[1].hidden = heat.hidden = false
    }
    if (model.graphs.activations && details.open) {
      const found = await post(modelPath(model.name, "activations"), {row})
      if (!pad.empty) layers.replaceChildren(...found.layers.map(layer => el("figure", {}, el("figcaption", {}, `${layer.name} · ${layer.shape.join(" × ")}`), el("img", {src: dataUrl(layer.picture), alt: `Channels of ${layer.name}`}))))
    }
  })), 200)
  const details = el("details", {ontoggle: () => explain()}, el("summary", {}, "What each layer makes of it"), layers)
  const clear = () => { pad.clear(); scores.replaceChildren(waiting); views.forEach(view => { if (view) view.hidden = true }); picture = exact = null; layers.replaceChildren(); problem.replaceChildren() }
  const rows = await examples().catch(() => [])
  const show = async (row, source) => {
    const image = new Image()
    image.src = source
    await image.decode()
    pad.show(image)
    exact = row
    ask()
  }
  if (rows[0]) follow({verb: "predict", body: {rows: [rows[0]]}})
  return el("div", {},
    el("div", {class: "split narrow"},
      el("div", {}, pad, el("p", {class: "row"}, el("button", {type: "button", class: "plain", onclick: clear}, "Clear"))),
      el("div", {}, scores, problem, el("div", {class: "pictures"}, views))),
    exampleChips(rows, row => el("img", {src: dataUrl(row), alt: ""}), row => show(row, dataUrl(row)), "Digits of the data"),
    model.graphs.activations && details,
    el("details", {}, el("summary", {}, "Use a photo of a digit"), pictureInput("A photo or scan of one digit", async blob => show(await base64(blob), URL.createObjectURL(blob)))))
}
