// Which widget fits a model: by its verb, and by the first Step of its input.

const BY_STEP = {digitimage: "digit", image: "photo", words: "text", characters: "text", ngrams: "text", hashed: "text"}

/** The function that makes the widget of a model; its module is loaded only now. */
export async function chooseWidget(model) {
  const {widget} = await import(`./${nameOf(model)}.js`)
  return widget
}

function nameOf({verb, definition}) {
  if (verb !== "predict") return {generate: "generate", sample: "latent", transform: "transform"}[verb] ?? "rows"
  const inputs = Object.values(definition.inputs)
  const first = inputs[0]?.[0]
  if (inputs.length !== 1 || !first) return "rows"
  if (first.step === "numbers" && first.dtype !== "string" && first.shape?.every(size => size > 0)) {
    if (first.shape.length === 1 && first.shape[0] <= 64) return "sliders"
    if (first.shape.length === 2 && first.shape[0] >= 8 && first.shape[0] * first.shape[1] <= 100000) return "series"
  }
  return BY_STEP[first.step] ?? "rows"
}
