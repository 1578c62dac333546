// Pictures from people: a file that is chosen, dropped or pasted, or the camera.
import {el} from "./dom.js"

/** A blob or file as the API takes bytes in JSON. */
export const base64 = blob => new Promise((done, failed) => {
  const reader = new FileReader()
  reader.onload = () => done({b64: reader.result.split(",")[1] ?? ""})
  reader.onerror = () => failed(reader.error)
  reader.readAsDataURL(blob)
})

/** Bytes in JSON as a blob. */
export const blobOf = ({b64}, type = "image/png") => new Blob([Uint8Array.from(atob(b64), character => character.charCodeAt(0))], {type})
export const dataUrl = ({b64}) => `data:image/png;base64,${b64}`
export const canvasBlob = (canvas, type = "image/png") => new Promise(done => canvas.toBlob(done, type, 0.92))

/** Numbers from 0 to 1, [height][width][1 or 3], drawn on a canvas of that size. */
export function drawPixels(canvas, pixels) {
  const height = pixels.length, width = pixels[0].length
  Object.assign(canvas, {width, height})
  const context = canvas.getContext("2d"), data = context.createImageData(width, height)
  let low = Infinity, high = -Infinity
  for (const value of pixels.flat(9)) { low = Math.min(low, value); high = Math.max(high, value) }
  const range = high - low || 1
  pixels.flat(1).forEach((pixel, index) => {
    const values = Array.isArray(pixel) ? pixel : [pixel]
    for (let channel = 0; channel < 3; channel++) data.data[4 * index + channel] = 255 * (values[Math.min(channel, values.length - 1)] - low) / range
    data.data[4 * index + 3] = 255
  })
  context.putImageData(data, 0, 0)
}

/** A place for one picture: choose, drop, paste, camera. `take(blob)` is called with each. */
export function pictureInput(label, taken, {camera = true} = {}) {
  const problem = el("div")
  const take = file => {
    if (file.type.startsWith("image/")) { problem.replaceChildren(); taken(file) }
    else problem.replaceChildren(el("p", {class: "note", role: "alert"}, `“${file.name}” is not a picture. Choose a PNG, JPEG, BMP, GIF or WebP file.`))
  }
  const input = el("input", {type: "file", accept: "image/*", class: "hidden", tabindex: "-1", "aria-label": label, onchange: () => { if (input.files[0]) take(input.files[0]); input.value = "" }})
  const live = el("div")
  const zone = el("div", {class: "drop", role: "group", "aria-label": label, tabindex: "0"},
    el("p", {}, el("strong", {}, label)), el("p", {class: "quiet"}, "Drop a file here, paste one (Ctrl+V), or:"),
    el("p", {class: "row"}, el("button", {type: "button", class: "plain", onclick: () => input.click()}, "Choose a file"),
      camera && navigator.mediaDevices?.getUserMedia && el("button", {type: "button", class: "plain", onclick: () => openCamera(live, take)}, "Use the camera")), input, live, problem)
  zone.ondragover = event => { event.preventDefault(); zone.classList.add("over") }
  zone.ondragleave = () => zone.classList.remove("over")
  zone.ondrop = event => {
    event.preventDefault()
    zone.classList.remove("over")
    const files = [...event.dataTransfer.files]
    if (files.length) take(files.find(file => file.type.startsWith("image/")) ?? files[0])
  }
  document.addEventListener("paste", event => {
    const file = [...event.clipboardData?.files ?? []].find(file => file.type.startsWith("image/"))
    const rivals = [...document.querySelectorAll(".drop")]
    if (file && zone.isConnected && (zone.contains(document.activeElement) || rivals[0] === zone && !rivals.some(other => other.contains(document.activeElement)))) take(file)
  })
  return zone
}

async function openCamera(place, take) {
  let stream
  try { stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}}) } catch {
    place.replaceChildren(el("p", {class: "note", role: "alert"}, "The camera cannot be used. Allow it in the browser's address bar, or choose a file instead."))
    return
  }
  const video = el("video", {autoplay: true, playsInline: true, muted: true, srcObject: stream, "aria-label": "Picture of the camera"})
  const close = () => { stream.getTracks().forEach(track => track.stop()); place.replaceChildren() }
  place.replaceChildren(video, el("p", {class: "row"}, el("button", {type: "button", onclick: async () => {
    const canvas = el("canvas")
    Object.assign(canvas, {width: video.videoWidth, height: video.videoHeight})
    canvas.getContext("2d").drawImage(video, 0, 0)
    close()
    take(await canvasBlob(canvas, "image/jpeg"))
  }}, "Take the picture"), el("button", {type: "button", class: "plain", onclick: close}, "Close the camera")))
}
