// What the columns of the book's tables mean, in words: the bundle has their names, a reader wants more.
const MEANINGS = {
  CRIM: "crimes for each person and year", ZN: "% of land for large plots", INDUS: "% of land for business", CHAS: "at the Charles River: 1, else 0", NOX: "nitric oxides, parts per 10 million",
  RM: "rooms in a home", AGE: "% of homes built before 1940", DIS: "distance to jobs", RAD: "access to highways", TAX: "property tax for $10,000", PTRATIO: "pupils for each teacher", B: "measure of the Black population, 1970", LSTAT: "% of people with low status",
}
const BOSTON = Object.keys(MEANINGS)

/** Names and meanings (or units) of the entries of a row of numbers. Bundles of before names were kept have none: of the book's own table they are known. */
export function columnsOf(model, step, size) {
  const names = step.columns ?? (model.section === "3.6" && size === 13 ? BOSTON : undefined)
  return Array.from({length: size}, (_, index) => {
    const name = names?.[index] ?? `number ${index + 1}`
    return {name, meaning: step.units?.[index] || MEANINGS[name] || ""}
  })
}
