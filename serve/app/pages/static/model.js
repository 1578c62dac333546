// The page of one model: what it does, to be tried, and what is known of it.
import {about} from "./about.js"
import {attempt, get, modelPath} from "./lib/api.js"
import {codePanel} from "./lib/code.js"
import {el} from "./lib/dom.js"
import {chapter, sentence, watchServer} from "./lib/page.js"
import {chooseWidget} from "./widgets/index.js"

const main = document.querySelector("#main")
const name = decodeURIComponent(location.pathname.slice("/models/".length))

async function show() {
  document.title = `${name} · bookserve`
  const [model, card] = await Promise.all([get(modelPath(name)), get(modelPath(name, "card"))])
  const code = codePanel(model)
  const context = {model, card, follow: code.follow, examples: once(() => get(modelPath(name, "examples")).then(found => found.rows))}
  const place = el("div", {}, el("p", {class: "quiet"}, "Loading …"))
  main.replaceChildren(
    el("p", {class: "quiet"}, el("a", {href: "/"}, "Models"), " › ", chapter(model.section)),
    el("h1", {}, name),
    el("p", {class: "lead"}, sentence(model.summary)),
    el("p", {class: "tags"}, el("span", {class: "badge"}, model.verb), el("span", {class: "badge"}, `version ${model.version}`),
      model.data === "sample" && el("span", {class: "badge warn"}, "sample data: its answers show how it works, not how good it is")),
    el("section", {class: "panel", "aria-labelledby": "try"}, el("h2", {id: "try"}, "Try it"), place),
    code.node, ...about(model, card))
  await attempt(place, async () => place.replaceChildren(await (await chooseWidget(model))(context)))
  if (model.verb === "predict") {
    const {table} = await import("./widgets/table.js")
    const panel = table(context)
    if (panel) main.insertBefore(panel, code.node)
  }
}

/** A function that asks only once. */
function once(ask) {
  let asked
  return () => asked ??= ask()
}

watchServer()
attempt(main, show)
