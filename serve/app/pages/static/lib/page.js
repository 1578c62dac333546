// What every page has: the state of the server in its head.
import {call, get} from "./api.js"
import {plural} from "./dom.js"

const EVERY = 4000

/** Keep the line in the page's head up to date. */
export async function watchServer() {
  const place = document.querySelector("#state")
  const show = (kind, text) => {
    if (place.lastElementChild.textContent === text) return
    place.firstElementChild.className = `dot ${kind}`
    place.lastElementChild.textContent = text
  }
  for (; ;) {
    try {
      const alive = await fetch("/healthz")
      if (!alive.ok) throw new Error()
      const {models} = await get("/api/models")
      const ready = await call("/readyz").then(() => true, () => false)
      const loaded = plural(new Set(models.map(model => model.name)).size, "model")
      if (ready) show("good", `Ready · ${loaded}`)
      else show("warn", models.length ? "Stopping, or still loading a model" : "No model is loaded yet")
    } catch (error) {
      if (error.code === "unauthenticated") show("warn", "Needs an API key")
      else show("bad", "The server does not answer. Is it still running?")
    }
    await new Promise(done => setTimeout(done, EVERY))
    while (document.hidden) await new Promise(done => document.addEventListener("visibilitychange", done, {once: true}))
  }
}

const CHAPTERS = {
  2: "Chapter 2 · Mathematical building blocks", 3: "Chapter 3 · First networks", 4: "Chapter 4 · Fundamentals", 5: "Chapter 5 · Computer vision",
  6: "Chapter 6 · Text and sequences", 7: "Chapter 7 · Best practices", 8: "Chapter 8 · Generating texts and pictures", 9: "Chapter 9 · Conclusions",
}
/** The heading under which a section of the book stands. */
export const chapter = section => CHAPTERS[parseInt(section)] ?? "Other models"

/** "classifies …" as a sentence. */
export const sentence = text => text ? text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : ""
