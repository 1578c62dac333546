// The first page: a gallery of the models by chapter, and what the server is doing.
import {attempt, call, get, modelPath, picture} from "./lib/api.js"
import {spark} from "./lib/charts.js"
import {announce, el, number, plural} from "./lib/dom.js"
import {chapter, sentence, watchServer} from "./lib/page.js"

const VERBS = {predict: "answers", generate: "writes", sample: "makes pictures", transform: "changes pictures"}
const gallery = document.querySelector("#gallery"), search = document.querySelector("#search")
let shown = ""

async function loadGallery() {
  const {models, not_live: others = []} = await get("/api/models")
  const newest = [...new Map(models.map(model => [model.name, model])).values()]
  const now = JSON.stringify([newest.map(({name, version}) => [name, version]), others])
  if (now === shown) return
  if (shown) announce(`The list of models has changed: ${plural(newest.length, "model")}.`)
  shown = now
  const chapters = Map.groupBy ? Map.groupBy(newest.sort(bySection), model => chapter(model.section)) : grouped(newest.sort(bySection))
  gallery.replaceChildren(...[...chapters].map(([title, found]) => el("section", {class: "chapter"}, el("h2", {}, title), el("ul", {class: "cards"}, found.map(card)))))
  if (others.length) gallery.prepend(el("section", {class: "chapter"}, el("h2", {}, "Not ready"), el("ul", {class: "cards"}, others.map(failed))))
  if (!newest.length && !others.length) gallery.replaceChildren(el("p", {class: "panel"}, "No model is loaded. Export one, then it appears here: ", el("code", {}, "bookserve export mnist_convnet")))
  filter()
}

const rank = ({section}) => section ? section.split(".").reduce((sum, part) => 100 * sum + +part, 0) * 100 ** (3 - section.split(".").length) : Infinity
const bySection = (a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name)
function grouped(models) {
  const groups = new Map()
  for (const model of models) groups.set(chapter(model.section), [...groups.get(chapter(model.section)) ?? [], model])
  return groups
}

function card(model) {
  const thumb = el("div", {class: "thumb", "aria-hidden": "true"})
  const best = model.metrics[model.metric]
  const node = el("li", {class: "card"}, thumb, el("div", {class: "body"},
    el("h3", {}, el("a", {href: `/models/${encodeURIComponent(model.name)}`}, model.name)),
    el("p", {}, sentence(model.summary) || "A model made elsewhere."),
    el("p", {class: "tags"}, el("span", {class: "dot good"}), el("span", {class: "quiet"}, `ready · version ${model.version}`), el("span", {class: "badge"}, VERBS[model.verb] ?? model.verb),
      model.data === "sample" && el("span", {class: "badge warn", title: "Trained on a few made-up rows: its answers show how it works, not how good it is"}, "sample data")),
    el("p", {class: "quiet"}, [model.section && `section ${model.section}`, `${number(model.parameters)} parameters`, best !== undefined && `${model.metric.replaceAll("_", " ")} ${number(best)}`].filter(Boolean).join(" · "))))
  node.dataset.words = [model.name, model.verb, VERBS[model.verb], model.summary, model.section, chapter(model.section), model.data].join(" ").toLowerCase()
  watcher.observe(node)
  node.draw = () => thumbnail(model, thumb)
  return node
}

/** A model that cannot be asked: it is loading, was unloaded, or could not be loaded. */
function failed({name, version, state, error}) {
  const words = {LOADING: "is being loaded", START: "is being loaded", UNLOADING: "is being unloaded", END: "was unloaded"}
  const node = el("li", {class: "card"}, el("div", {class: "body"}, el("h3", {}, name), el("p", {class: "tags"}, el("span", {class: `dot ${error ? "bad" : "warn"}`}), el("span", {class: "quiet"}, `version ${version} ${error ? "could not be loaded" : words[state] ?? state.toLowerCase()}`)),
    error && el("p", {class: "quiet"}, error)))
  node.dataset.words = `${name} ${error}`.toLowerCase()
  return node
}

// Thumbnails are drawn when they come into view: a page of fifty models asks for the few that are seen.
const watcher = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(({target}) => {
  watcher.unobserve(target)
  target.draw()
}), {rootMargin: "200px"})

async function thumbnail(model, place) {
  try {
    if (model.verb === "sample") {
      const pictures = await Promise.all([1, 2, 3].map(seed => picture(modelPath(model.name, "sample"), {n: 1, seed})))
      place.replaceChildren(...pictures.map(src => el("img", {src, alt: ""})))
      return
    }
    const {rows} = await get(modelPath(model.name, "examples"))
    const row = rows[0]
    if (row?.b64) place.replaceChildren(...rows.slice(0, 3).map(({b64}) => el("img", {src: `data:image/png;base64,${b64}`, alt: ""})))
    else if (typeof row === "string") place.replaceChildren(el("q", {}, row.slice(0, 160)))
    else if (Array.isArray(row)) place.replaceChildren(spark(series(row), {height: 80}))
    else place.replaceChildren(el("span", {class: "quiet"}, VERBS[model.verb] ?? ""))
  } catch { place.replaceChildren() }
}

/** One line of numbers of a row: of a table the second column, which is the temperature of weather. */
function series(row) {
  const line = Array.isArray(row[0]) ? row.map(values => values[Math.min(1, values.length - 1)]) : row
  const low = Math.min(...line.flat(9))
  return line.flat(9).slice(0, 300).map(value => value - low)
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean)
  let count = 0
  for (const node of gallery.querySelectorAll(".card")) {
    node.hidden = !words.every(word => node.dataset.words.includes(word))
    count += !node.hidden
  }
  for (const section of gallery.querySelectorAll(".chapter")) section.hidden = !section.querySelector(".card:not([hidden])")
  document.querySelector("#found").textContent = words.length ? count ? `${plural(count, "model")} found` : "No model is found. Try another word, such as “text”." : ""
}

// Live figures: counts of /metrics, and their change between two readings.
const EVERY = 2000
const CHARTS = [["requests", "Requests a second", ""], ["latency", "Mean time of a request", "ms"], ["batch", "Mean rows in a batch", ""]]
const kept = {requests: [], latency: [], batch: []}

/** Sum of each metric over its labels. */
function sums(text) {
  const found = {}
  for (const line of text.split("\n")) {
    const match = /^([a-z_:]+)(?:\{[^}]*\})? ([-+.\deE]+)$/.exec(line)
    if (match) found[match[1]] = (found[match[1]] ?? 0) + +match[2]
  }
  return found
}

async function watchMetrics() {
  const stats = document.querySelector("#stats")
  const cards = CHARTS.map(([key, title]) => el("div", {class: "stat"}, el("span", {class: "quiet"}, title), el("br"), el("b", {}, "–"), spark([])))
  stats.append(...cards)
  let before, at
  for (; ;) {
    try {
      const now = sums(await (await call("/metrics")).text()), time = performance.now()
      if (before) {
        const change = name => Math.max(0, (now[name] ?? 0) - (before[name] ?? 0))
        const requests = change("bookserve_request_seconds_count"), runs = change("bookserve_batch_rows_count")
        const values = {requests: requests / ((time - at) / 1000), latency: requests ? 1000 * change("bookserve_request_seconds_sum") / requests : 0, batch: runs ? change("bookserve_batch_rows_sum") / runs : 0}
        CHARTS.forEach(([key, title, unit], index) => {
          kept[key] = [...kept[key], values[key]].slice(-60)
          const text = key !== "requests" && !values[key] ? "–" : `${number(+values[key].toPrecision(3))} ${unit}`
          cards[index].querySelector("b").textContent = text
          cards[index].querySelector("svg").replaceWith(spark(kept[key], {label: `${title} in the last two minutes, now ${text}`}))
        })
      }
      [before, at] = [now, time]
    } catch { before = undefined }
    await new Promise(done => setTimeout(done, EVERY))
    while (document.hidden) await new Promise(done => document.addEventListener("visibilitychange", done, {once: true}))
  }
}

/** For who wants to read the figures as they are: links that also work with a key. */
function links() {
  const open = path => async event => {
    event.preventDefault()
    const place = el("pre", {tabindex: "0", "aria-label": path})
    document.querySelector("#raw").replaceChildren(el("h2", {}, path), place)
    await attempt(document.querySelector("#raw-problem"), async () => { place.textContent = (await (await call(path)).text()).slice(0, 200000) })
    place.focus()
  }
  document.querySelector("#main").append(el("section", {class: "panel", "aria-label": "Links"}, el("p", {}, "As plain text: ",
    [["/metrics", "metrics for Prometheus"], ["/healthz", "health"], ["/readyz", "readiness"], ["/openapi.json", "OpenAPI document"]].flatMap(([path, text], index) => [index ? " · " : "", el("a", {href: path, onclick: open(path)}, text)]),
    " · ", el("a", {href: "/docs"}, "every route, to try")), el("div", {id: "raw-problem"}), el("div", {id: "raw"})))
}

search.oninput = filter
links()
watchServer()
attempt(gallery, loadGallery).then(async () => {
  watchMetrics()
  for (; ;) {  // a model that is exported meanwhile appears by itself
    await new Promise(done => setTimeout(done, 5000))
    if (!document.hidden) await loadGallery().catch(() => {})
  }
})
