// Small drawings in SVG and HTML: bars, lines, sparks. Each has a text that says what it shows.
import {el, number, percent, svg} from "./dom.js"

/** Bars for labels with scores, from 0 to 1; the first of the highest is marked. */
export function bars(scores, {className = "bars", label = "Probabilities"} = {}) {
  const best = scores.reduce((most, item) => item.score > most ? item.score : most, -1)
  return el("div", {class: className, role: "list", "aria-label": label}, scores.map(({label, score}) => {
    const bar = el("i")
    bar.style.width = `${100 * Math.max(0, Math.min(1, score))}%`
    return el("div", {role: "listitem", class: score === best ? "best" : ""}, el("span", {}, label), el("span", {class: "track", "aria-hidden": "true"}, bar), el("span", {}, percent(score)))
  }))
}

const scale = (from, to, low, high) => value => low + (high - low) * (to === from ? 0.5 : (value - from) / (to - from))
const path = points => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("")

/** A line without axes, for the newest values. */
export function spark(values, {width = 220, height = 40, label = ""} = {}) {
  const drawing = svg("svg", {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", ...label ? {role: "img", "aria-label": label} : {"aria-hidden": "true"}})
  if (values.length < 2) return drawing
  const x = scale(0, values.length - 1, 0, width), y = scale(0, Math.max(...values, 1e-9), height - 2, 3)
  const points = values.map((value, index) => [x(index), y(value)])
  drawing.append(svg("path", {d: `${path(points)}L${width} ${height}L0 ${height}Z`, class: "area"}), svg("path", {d: path(points), class: "one", "vector-effect": "non-scaling-stroke"}))
  return drawing
}

/** Lines over a common axis. `lines`: [{name, values, x?}], `mark`: {x, y, text}. */
export function plot(lines, {width = Math.max(300, Math.min(640, innerWidth - 70)), height = 240, label, xTitle = "", yTitle = "", mark, xText = number} = {}) {
  const left = 48, right = width - 14, top = 20, bottom = height - 34
  const xs = lines.flatMap(line => line.x ?? line.values.map((_, index) => index)).concat(mark ? [mark.x] : [])
  const ys = lines.flatMap(line => line.values).concat(mark ? [mark.y] : []).filter(Number.isFinite)
  const low = Math.min(...ys), high = Math.max(...ys), x = scale(Math.min(...xs), Math.max(...xs), left, right), y = scale(low, high, bottom, top)
  const drawing = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label})
  for (const value of [low, (low + high) / 2, high]) {
    drawing.append(svg("line", {x1: left, x2: right, y1: y(value), y2: y(value), class: "axis"}), svg("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"}, number(+value.toPrecision(3))))
  }
  const first = Math.min(...xs), last = Math.max(...xs)
  for (const [value, anchor] of [[first, "start"], [last, "end"]]) drawing.append(svg("text", {x: x(value), y: bottom + 15, "text-anchor": anchor}, xText(value)))
  drawing.append(svg("text", {x: (left + right) / 2, y: height - 6, "text-anchor": "middle"}, xTitle), svg("text", {x: left, y: 11}, yTitle))
  lines.forEach(({values, x: at}, index) => {
    const points = values.map((value, place) => [x(at ? at[place] : place), y(value)]).filter(([, height]) => Number.isFinite(height))
    drawing.append(svg("path", {d: path(points), class: index ? "two" : "one"}))
  })
  if (mark) {
    drawing.append(svg("circle", {cx: x(mark.x), cy: y(mark.y), r: 6, class: "mark"}), svg("text", {x: x(mark.x) - 9, y: y(mark.y) - 10, "text-anchor": "end", class: "value"}, mark.text))
  }
  return drawing
}

/** Names of the lines of a plot. */
export const legend = names => el("p", {class: "legend"}, names.map((name, index) => el("span", {}, el("i", {class: index ? "two" : ""}), name)))
