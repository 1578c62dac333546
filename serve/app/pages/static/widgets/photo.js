// A photo, and what the model sees in it: classes, the part that speaks for a class (Grad-CAM), activations.
import {attempt, modelPath, post} from "../lib/api.js"
import {answerBox, exampleChips} from "../lib/answers.js"
import {el} from "../lib/dom.js"
import {base64, blobOf, dataUrl, pictureInput} from "../lib/image.js"

export async function widget({model, follow, examples}) {
  const rows = (await examples().catch(() => [])).filter(row => row?.b64)
  const photo = el("img", {alt: "Your photo", hidden: true}), heat = el("img", {alt: "Heat map over the photo", hidden: true}), caption = el("figcaption"), answer = el("div", {"aria-live": "polite"}, el("p", {class: "quiet"}, "No photo yet.")), problem = el("div"), layers = el("div", {class: "layers"})
  let row = null
  const labels = Object.values(model.definition.outputs).flat().find(step => step.labels)?.labels ?? []
  const other = el("input", {list: "classes", placeholder: "likeliest", onchange: () => explain()})
  const explain = () => attempt(problem, async () => {
    if (!row || !model.graphs.head) return
    const found = await post(modelPath(model.name, "explain"), other.value ? {row, label: other.value} : {row})
    Object.assign(heat, {src: dataUrl(found.overlay), hidden: false})
    caption.textContent = `What speaks for “${found.label}”`
  })
  const activations = () => attempt(problem, async () => {
    if (!row || !details.open) return
    const found = await post(modelPath(model.name, "activations"), {row})
    layers.replaceChildren(...found.layers.slice(0, 12).map(layer => el("figure", {}, el("figcaption", {}, `${layer.name} · ${layer.shape.join(" × ")}`), el("img", {src: dataUrl(layer.picture), alt: `Channels of ${layer.name}`}))))
  })
  const details = el("details", {ontoggle: activations}, el("summary", {}, "What each layer makes of it"), layers)
  const take = blob => attempt(problem, async () => {
    row = await base64(blob)
    URL.revokeObjectURL(photo.src)
    Object.assign(photo, {src: URL.createObjectURL(blob), hidden: false})
    heat.hidden = true
    follow({verb: "predict", body: {rows: [row]}})
    const reply = await post(modelPath(model.name, "predict"), {rows: [row]}), [found] = reply.answers
    answer.replaceChildren(answerBox(model, found, reply))
    await explain()
    await activations()
  })
  if (rows[0]) take(blobOf(rows[0]))
  return el("div", {}, pictureInput("A photo", take),
    exampleChips(rows, row => el("img", {src: dataUrl(row), alt: ""}), row => take(blobOf(row))),
    el("div", {class: "split"}, el("div", {class: "pictures large"}, el("figure", {}, photo, el("figcaption", {}, "The photo")), el("figure", {}, heat, caption)),
      el("div", {}, answer, problem, model.graphs.head && el("label", {}, "Show what speaks for another class", other, el("datalist", {id: "classes"}, labels.map(label => el("option", {value: label})))))),
    model.graphs.activations && details)
}
