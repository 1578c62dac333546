// Calls to this server. A key is asked for once and kept until the tab is closed; every problem is told in words.
import {el} from "./dom.js"

const KEY = "bookserve-api-key"

/** What went wrong, what to do about it. */
export class Problem extends Error {
  constructor(message, hint = "", code = "", status = 0) {
    super(message)
    Object.assign(this, {hint, code, status})
  }
}

const authorization = () => {
  const key = sessionStorage.getItem(KEY)
  return key ? {authorization: `Bearer ${key}`} : {}
}

/** Whether this page sends a key; the code that is shown then names one, too. */
export const hasKey = () => sessionStorage.getItem(KEY) !== null

let asking = null
function askForKey(wrong) {
  asking ??= new Promise((done, cancelled) => {
    const input = el("input", {type: "password", autocomplete: "off", required: true, "aria-describedby": "key-why"})
    const dialog = el("dialog", {"aria-labelledby": "key-title"},
      el("form", {method: "dialog", onsubmit: event => {
        event.preventDefault()
        sessionStorage.setItem(KEY, input.value.trim())
        dialog.close("given")
      }}, el("h2", {id: "key-title"}, "This server asks for an API key"),
      el("p", {id: "key-why"}, wrong ? "The key was not accepted. Check it and try again." : "Whoever runs the server has given you one. It is kept in this tab only, and is forgotten when you close it."),
      el("label", {}, "API key", input), el("p", {class: "row"}, el("button", {}, "Use this key"),
        el("button", {type: "button", class: "plain", onclick: () => dialog.close()}, "Cancel"))))
    dialog.onclose = () => {
      dialog.remove()
      asking = null
      if (dialog.returnValue === "given") done(); else cancelled(new Problem("This server asks for an API key.", "Reload the page to enter one.", "unauthenticated", 401))
    }
    document.body.append(dialog)
    dialog.showModal()
  })
  return asking
}

/** A response of this server, if it is one of success; else a Problem. */
export async function call(path, {method, body, headers = {}, signal} = {}) {
  const content = body === undefined || body instanceof Blob || typeof body === "string" ? body : JSON.stringify(body)
  for (let tries = 0; ; tries++) {
    let response
    const key = sessionStorage.getItem(KEY)
    try {
      response = await fetch(path, {method: method ?? (body === undefined ? "GET" : "POST"), body: content, headers: {...headers, ...authorization()}, signal})
    } catch (error) {
      if (error.name === "AbortError") throw error
      throw new Problem("The server does not answer.", "It was stopped, or the network is gone. Start it again (bookserve serve models), then repeat this.", "unreachable")
    }
    if (response.ok) return response
    if (response.status === 401 && tries < 5) {
      if (sessionStorage.getItem(KEY) === key) await askForKey(key !== null)
      continue
    }
    throw await problem(response)
  }
}

async function problem(response) {
  let error = {}
  try {
    const document = await response.json()
    error = typeof document.error === "string" ? {message: document.error} : document.error ?? {}
  } catch { /* not JSON: the status must do */ }
  const message = error.message ?? `The server answered ${response.status} ${response.statusText}.`
  const hints = {404: "Go back to the list of models.", 413: "Send less at once.", 429: "The server has more to do than it can take. Wait a moment, then try again.",
    500: "Look into the server's log.", 503: "The server is starting, stopping or still loading this model. Wait a moment, then try again.", 504: "It took too long. Ask for less."}
  return new Problem(message, error.hint || hints[response.status] || "", error.code ?? "", response.status)
}

/** A JSON document of this server. */
export const get = async (path, options) => (await call(path, options)).json()
/** The JSON answer to a JSON body. */
export const post = async (path, body, options = {}) => (await call(path, {body, ...options})).json()

/** The path of a model's route. */
export const modelPath = (name, verb = "") => `/api/models/${encodeURIComponent(name)}${verb && `/${verb}`}`

/** The JSON of each server-sent event. */
export async function* events(path, options) {
  const response = await call(path, options)
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  try {
    for (let rest = ""; ;) {
      const {done, value} = await reader.read()
      if (done) return
      const parts = (rest + value).split("\n\n")
      rest = parts.pop()
      for (const part of parts) {
        const event = JSON.parse(part.slice(6))
        if (event.error && !event.id) throw new Problem(event.error.message, event.error.hint, event.error.code)
        yield event
      }
    }
  } catch (error) {
    if (error instanceof Problem || error.name === "AbortError") throw error
    throw new Problem("The connection broke off.", "The server was stopped, or the network is gone. Try again.", "unreachable")
  } finally { reader.cancel().catch(() => {}) }
}

/** A picture of this server as the address of an object. */
export const picture = async (path, body, options = {}) =>
  URL.createObjectURL(await (await call(path, {body, headers: {accept: "image/png"}, ...options})).blob())

/** A problem as a box. */
export const problemBox = error => error?.name === "AbortError" ? "" : el("div", {class: "problem", role: "alert"},
  el("strong", {}, error instanceof Problem ? sentence(error.message) : `This page failed: ${error.message}.`), " ", error.hint ?? "Reload it; if this happens again, report it.")

const sentence = text => text.charAt(0).toUpperCase() + text.slice(1)

/** Run an action; what goes wrong is shown in `place`, which is emptied first. */
export async function attempt(place, action) {
  try {
    place.replaceChildren()
    return await action()
  } catch (error) {
    if (!(error instanceof Problem) && error.name !== "AbortError") console.error(error)
    place.replaceChildren(problemBox(error))
    return undefined
  }
}
