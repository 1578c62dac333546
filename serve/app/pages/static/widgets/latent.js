// Pictures from a latent space: a plane to drag over, walks between two points, own pictures encoded, a wall of samples.
import {attempt, modelPath, picture, post} from "../lib/api.js"
import {announce, el, field, latest, number} from "../lib/dom.js"
import {base64, canvasBlob, dataUrl, pictureInput} from "../lib/image.js"
import {drawingPad} from "./digit.js"

const FRAMES = 24
const GRID = 15
// Half the width of the plane, in standard deviations of the points that were trained on.
const EDGE = 2.5
// The points in the middle of each tile of the background, row by row.
const TILES = Array.from({length: GRID * GRID}, (_, index) => [index % GRID, Math.floor(index / GRID)].map(place => +((place + 0.5) / GRID * 2 * EDGE - EDGE).toFixed(4)))

export async function widget(context) {
  const {model} = context
  return el("div", {}, model.definition.latent === 2 ? await plane(context) : null, wall(context, model.definition.latent !== 2))
}

const sampleOf = (model, latent, options) => picture(modelPath(model.name, "sample"), {latent, ...options})

async function plane({model, follow}) {
  const background = el("img", {alt: ""}), spot = el("i", {class: "spot"}), other = el("i", {class: "spot other", hidden: true})
  const map = el("div", {class: "plane", tabindex: "0", role: "application", "aria-label": "Latent plane. Arrow keys move the point; Enter sets the start of a walk."}, background, spot, other)
  const shown = el("img", {class: "pixelated", alt: "The picture at the chosen point"}), where = el("p", {class: "quiet", role: "status"}), problem = el("div")
  let at = [0, 0], from = null, walking = false
  const toPixel = value => `${100 * (value + EDGE) / (2 * EDGE)}%`
  const put = (mark, [x, y]) => { mark.style.left = toPixel(x); mark.style.top = toPixel(y) }
  const draw = latest(async point => {
    follow({verb: "sample", body: {latent: [point]}})
    await attempt(problem, async () => {
      const url = await sampleOf(model, [point])
      URL.revokeObjectURL(shown.src)
      shown.src = url
      where.textContent = `Point ${point.map(value => value.toFixed(2)).join(", ")}`
    })
  })
  const go = point => { at = point.map(value => Math.max(-EDGE, Math.min(EDGE, value))).map(value => +value.toFixed(3)); put(spot, at); draw(at) }
  const place = event => {
    const box = map.getBoundingClientRect()
    go([(event.clientX - box.left) / box.width * 2 * EDGE - EDGE, (event.clientY - box.top) / box.height * 2 * EDGE - EDGE])
  }
  map.onpointerdown = event => { map.setPointerCapture(event.pointerId); place(event) }
  map.onpointermove = event => { if (event.buttons) place(event) }
  const mark = () => { from = at; put(other, from); other.hidden = false; walk.disabled = false; announce("The start of the walk is set. Move on, then choose Walk.") }
  map.onkeydown = event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key]
    if (step) { event.preventDefault(); go(at.map((value, axis) => value + step[axis] * (event.shiftKey ? 0.4 : 0.1))) }
    if (event.key === "Enter") mark()
  }
  const walk = el("button", {type: "button", class: "plain", disabled: true, onclick: () => attempt(problem, async () => {
    if (walking) { walking = false; return }
    const to = at, points = Array.from({length: FRAMES}, (_, index) => from.map((value, axis) => +(value + (to[axis] - value) * index / (FRAMES - 1)).toFixed(4)))
    follow({verb: "sample", body: {latent: [from, to], walk: FRAMES}})
    const {images} = await post(modelPath(model.name, "sample"), {latent: points})
    walking = true
    walk.textContent = "Stop"
    for (let index = 0; walking && index < 4 * FRAMES; index++) {
      const frame = index % (2 * FRAMES) < FRAMES ? index % FRAMES : FRAMES - 1 - index % FRAMES
      shown.src = dataUrl(images[frame])
      put(spot, points[frame])
      await new Promise(done => setTimeout(done, 70))
    }
    walking = false
    walk.textContent = "Walk"
    go(to)
  })}, "Walk")
  const encoded = el("p", {class: "quiet", role: "status"})
  const encode = row => attempt(problem, async () => {
    const {latent: [point], images: [image]} = await post(modelPath(model.name, "sample"), {images: [row]})
    go(point)
    shown.src = dataUrl(image)
    encoded.textContent = `Your picture is at ${point.map(number).join(", ")}${point.some(value => Math.abs(value) > EDGE) ? ", outside of what is shown" : ""}.`
  })
  const pad = drawingPad(() => {}, "Drawing area for a picture to encode")
  attempt(problem, async () => { background.src = await picture(modelPath(model.name, "sample"), {latent: TILES}) })
  go([0, 0])
  return el("div", {}, el("p", {class: "quiet"}, "Every point of this plane is a picture. Drag over it, or use the arrow keys (with Shift: further)."),
    el("div", {class: "split"}, el("div", {}, map, el("p", {class: "row"}, el("button", {type: "button", class: "plain", onclick: mark}, "Start a walk here"), walk)),
      el("div", {}, el("div", {class: "pictures large"}, shown), where, encoded, problem,
        model.definition.encode && el("details", {}, el("summary", {}, "Find a picture of your own"), el("p", {class: "quiet"}, "Draw, then see where the encoder puts it and what the decoder makes of that point."), pad,
          el("p", {class: "row"}, el("button", {type: "button", onclick: async () => encode(await base64(await canvasBlob(pad)))}, "Encode it"), el("button", {type: "button", class: "plain", onclick: () => pad.clear()}, "Clear")),
          pictureInput("Or a picture file", async blob => encode(await base64(blob)), {camera: false})))))
}

/** Samples on a wall: roll them again, choose two and see what lies between. */
function wall({model, follow}, open) {
  const count = el("input", {type: "number", min: 1, max: 100, step: 1, value: 24}), seed = el("input", {type: "number", min: 0, step: 1, value: 1})
  const tiles = el("div", {class: "wall"}), between = el("div", {class: "wall"}), problem = el("div"), hint = el("p", {class: "quiet", role: "status"}, "Choose two pictures to see what lies between them.")
  let chosen = []
  const roll = latest(() => attempt(problem, async () => {
    const body = {n: Math.max(1, Math.min(100, +count.value || 24)), seed: +seed.value || 0}
    follow({verb: "sample", body})
    const {images, latent} = await post(modelPath(model.name, "sample"), body)
    chosen = []
    between.replaceChildren()
    tiles.replaceChildren(...images.map((image, index) => {
      const button = el("button", {type: "button", "aria-pressed": "false", "aria-label": `Picture ${index + 1}`, onclick: () => choose(button, latent[index])}, el("img", {src: dataUrl(image), alt: ""}))
      return button
    }))
  }))
  const choose = (button, point) => attempt(problem, async () => {
    if (chosen.some(each => each.button === button)) chosen = chosen.filter(each => each.button !== button)
    else chosen = [...chosen, {button, point}].slice(-2)
    for (const each of tiles.children) each.setAttribute("aria-pressed", String(chosen.some(({button}) => button === each)))
    if (chosen.length < 2) { between.replaceChildren(); return }
    const body = {latent: chosen.map(({point}) => point), walk: 11, interpolate: model.definition.latent > 2 ? "slerp" : "linear"}
    follow({verb: "sample", body})
    const {images} = await post(modelPath(model.name, "sample"), body)
    between.replaceChildren(...images.map((image, index) => el("img", {src: dataUrl(image), alt: `Step ${index + 1} of ${images.length}`})))
    hint.textContent = `${images.length} pictures from the first to the second.`
  })
  const body = el("div", {}, el("div", {class: "row"}, field("Pictures", count), field("Seed", seed), el("button", {type: "button", onclick: () => { seed.value = Math.floor(Math.random() * 1e6); roll() }}, "Roll again"), el("button", {type: "button", class: "plain", onclick: roll}, "Draw this seed")),
    tiles, hint, between, problem)
  if (open) { roll(); return body }
  return el("details", {ontoggle: event => { if (event.target.open && !tiles.children.length) roll() }}, el("summary", {}, "A wall of samples"), body)
}
