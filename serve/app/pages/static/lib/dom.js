// Small helpers to make elements and to write numbers. No framework: a widget is a function that returns an element.

/** An element: el("p", {class: "quiet", onclick: f, "aria-label": "…"}, "text", child, …). */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith("on") || name in node && !name.includes("-") && !["list", "form", "width", "height"].includes(name)) node[name] = value
    else node.setAttribute(name === "class" ? "class" : name, value === true ? "" : value)
  }
  node.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false))
  return node
}

/** An SVG element. */
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value)
  node.append(...children.flat())
  return node
}

let count = 0
/** An id that no other element of the page has. */
export const newId = () => `n${++count}`

/** A label around an input. */
export const field = (text, input, props = {}) => el("label", props, text, input)

export const number = value => typeof value !== "number" ? String(value)
  : Number.isInteger(value) ? value.toLocaleString("en") : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4))
export const percent = share => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`
export const bytes = size => size < 1000 ? `${size} B` : size < 1e6 ? `${Math.round(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`
export const plural = (n, one, more = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : more}`
export const shapeText = shape => `[${shape.join(", ")}]`

/** A function that runs at most once while it is pending, and once more with the newest arguments if it was called meanwhile. */
export function latest(action) {
  let running = false, next = null
  return async function run(...given) {
    if (running) { next = given; return }
    running = true
    try { await action(...given) } finally {
      running = false
      if (next) { const args = next; next = null; run(...args) }
    }
  }
}

/** Call `action` when nothing has happened for `wait` milliseconds. */
export function settled(action, wait = 250) {
  let timer
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => action(...given), wait) }
}

/** Offer something as a file. */
export function download(name, content, type = "text/plain") {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], {type}))
  el("a", {href: url, download: name}).click()
  setTimeout(() => URL.revokeObjectURL(url), 1000)
}

/** Tell a screen reader. */
export function announce(text) {
  const region = document.querySelector("#announce")
  if (region) region.textContent = text
}
