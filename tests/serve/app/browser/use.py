"""Every widget, used as a person would: each function opens one page, does something, and expects an answer."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable

from playwright.sync_api import JSHandle, Page, expect

from tests.serve.app.browser.visit import Visit

KEY = "a-key-of-the-browser-test"
#: Data sets as files, where there are any: the book's photo is among them.
DATA = os.environ.get("BOOKSERVE_DATA", "")


def home(visit: Visit) -> None:
    page = visit.open("/")
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("#state")).to_contain_text("Ready")
    cards = page.locator(".card").count()
    page.get_by_role("link", name="mnist_convnet").scroll_into_view_if_needed()  # it is drawn when it is seen
    expect(page.locator(".thumb img").first).to_be_visible()
    page.get_by_label("Search the models").fill("digit")
    expect(page.locator("#found")).to_contain_text("found")
    assert 0 < page.locator(".card:visible").count() < cards
    page.get_by_label("Search the models").fill("no such model")
    expect(page.locator("#found")).to_contain_text("No model is found")
    page.get_by_label("Search the models").fill("")
    expect(page.locator(".stat b").first).not_to_have_text("–", timeout=15_000)
    page.get_by_role("link", name="metrics for Prometheus").click()
    expect(page.locator("#raw pre")).to_contain_text("bookserve_models")
    page.reload()
    for card in page.locator(".card").all():
        card.scroll_into_view_if_needed()
    expect(page.locator(".thumb img").first).to_be_visible()
    visit.look("home")


def draw(page: Page, strokes: list[list[tuple[float, float]]], pad: str = ".pad") -> None:
    """Draw lines on a canvas; places are shares of its side."""
    page.locator(pad).first.scroll_into_view_if_needed()
    box = page.locator(pad).first.bounding_box()
    assert box
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=6)
        page.mouse.up()


SEVEN = [[(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]]
ONE = [[(0.5, 0.15), (0.5, 0.85)]]


def digit(visit: Visit) -> None:
    page = visit.open("/models/mnist_convnet")
    draw(page, SEVEN)
    expect(page.locator(".bars.digits .best span").first).to_have_text("7")
    expect(page.get_by_alt_text("Heat map: which parts speak for the answer")).to_be_visible()
    page.get_by_text("What each layer makes of it").click()
    expect(page.locator(".layers img").first).to_be_visible()
    page.get_by_role("tab", name="TensorFlow Serving").click()
    expect(page.locator("#code-shown")).to_contain_text('{"instances":')
    page.get_by_role("tab", name="Python").click()
    expect(page.locator("#code-shown")).to_contain_text("client.predict")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert "mnist_convnet" in page.evaluate("navigator.clipboard.readText()")
    expect(page.get_by_role("img", name=re.compile("^accuracy by epoch"))).to_be_visible()
    visit.look("digit")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Draw a digit from 0 to 9")).to_be_visible()
    page.locator(".chips button").first.click()
    expect(page.locator(".bars.digits .best span").first).to_have_text("7")
    page.get_by_role("button", name="Clear").click()
    page.locator(".pad").focus()  # and with the keyboard alone: a 1
    for _ in range(10):
        page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".bars.digits .best span").first).to_have_text("1")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download README.md").click()
    assert download.value.suggested_filename == "mnist_convnet-1-README.md"


def review(visit: Visit) -> None:
    page = visit.open("/models/imdb_lstm")
    text = page.get_by_label("A text, such as a review")
    text.fill("this was a terrible film it was boring and a waste of time")
    expect(page.locator(".answer .best span").first).to_have_text("negative")
    text.fill("a wonderful film with great actors")
    expect(page.locator(".answer .best span").first).to_have_text("positive")
    page.get_by_label("Colour each word").check()
    expect(page.locator(".reading mark").first).to_be_visible()
    assert page.locator(".reading mark").count() == 6
    visit.look("review")


def reviews_side_by_side(visit: Visit) -> None:
    page = visit.open("/models/reviews")
    page.get_by_label("reviews_too").check()
    expect(page.locator(".answer h3", has_text="reviews_too")).to_be_visible()
    visit.look("side-by-side")


def newswire(visit: Visit) -> None:
    page = visit.open("/models/reuters_dense")
    expect(page.locator(".answer .bars")).to_be_visible()
    page.get_by_label("A newswire").fill("the price of crude oil and opec oil barrels rose")
    expect(page.locator(".answer .best span").first).to_have_text("crude")
    visit.look("newswire")


def house(visit: Visit) -> None:
    page = visit.open("/models/boston_housing")
    expect(page.locator(".slider")).to_have_count(13)
    price = page.locator(".answer .big")
    expect(price).to_be_visible()
    before = price.inner_text()
    rooms = page.get_by_label("RM, exact value")
    rooms.fill("8.5")
    expect(price).not_to_have_text(before)
    page.get_by_role("slider", name=re.compile("LSTAT")).press("ArrowRight")
    page.get_by_role("button", name="Row 2").click()
    expect(rooms).to_have_value("5.913")
    page.get_by_role("tab", name="R", exact=True).click()
    expect(page.locator("#code-shown")).to_contain_text("predict(model, data.frame(CRIM = ")
    visit.look("house")


def table(visit: Visit) -> None:
    names = ("LSTAT", "CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B")
    rows = [[12, 0.1, 0, 8, 0, 0.5, 5 + index / 100, 60, 4, 4, 300, 18, 390] for index in range(300)]
    content = "\n".join(",".join(map(str, row)) for row in [names, *rows])
    page = visit.open("/models/boston_housing")
    page.locator('input[aria-label="A CSV file"]').set_input_files(
        {"name": "homes.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )
    expect(page.get_by_text("Columns are matched by name")).to_be_visible()
    page.get_by_role("button", name="Predict 300 rows").click()
    expect(page.get_by_text("300 of 300 rows")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    answers = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8"))))
    assert len(answers) == 300 and 5 < float(answers[0]["price"]) < 60 and answers[0]["LSTAT"] == "12"
    visit.look("table")
    page.locator('input[aria-label="A CSV file"]').set_input_files(
        {"name": "wrong.csv", "mimeType": "text/csv", "buffer": content.replace("5.03", "many").encode()}
    )
    page.get_by_role("button", name="Predict 300 rows").click()
    expect(page.get_by_text("is not a number (RM)")).to_be_visible()


def weather(visit: Visit) -> None:
    page = visit.open("/models/jena_gru")
    expect(page.get_by_text("24 hours after the last reading")).to_be_visible()
    value = page.locator(".big")
    before = value.inner_text()
    page.get_by_label("Move all its readings by").fill("10")
    expect(value).not_to_have_text(before)
    page.get_by_role("button", name="Period 2").click()
    page.get_by_role("combobox", name="Column").select_option("0")
    expect(page.locator("svg[role=img]").first).to_be_visible()
    page.get_by_role("combobox", name="Column").select_option("1")
    visit.look("weather")


def writing(visit: Visit) -> None:
    page = visit.open("/models/nietzsche_lstm")
    page.get_by_label("Prompt: the model writes on from here").fill("the will to ")
    page.get_by_label("Characters").fill("120")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_text("120 characters in")).to_have_count(2)
    page.locator(".written [data-top]").nth(5).hover()
    expect(page.locator(".odds")).to_contain_text("likeliest:")
    page.locator(".written").nth(1).press("ArrowRight")
    page.get_by_text("Written before (2)").click()
    visit.look("writing")


def plane(visit: Visit) -> None:
    page = visit.open("/models/mnist_vae")
    background = page.locator(".plane img")
    expect(background).to_have_attribute("src", re.compile("^blob:"))
    draw(page, [[(0.2, 0.2), (0.7, 0.6)]], ".plane")
    where = page.get_by_text(re.compile(r"^Point "))
    expect(where).to_have_text(re.compile(r"Point (0\.9|1\.0)\d, 0\.(4|5)"))
    page.get_by_role("button", name="Start a walk here").click()
    page.locator(".plane").focus()
    page.keyboard.press("Shift+ArrowLeft")
    expect(where).to_have_text(re.compile(r"Point (0\.5|0\.6)\d, 0\.(4|5)"))
    page.get_by_role("button", name="Walk", exact=True).click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Walk", exact=True)).to_be_visible()
    page.get_by_text("Find a picture of your own").click()
    draw(page, ONE)
    page.get_by_role("button", name="Encode it").click()
    expect(page.get_by_text("Your picture is at")).to_be_visible()
    page.get_by_text("A wall of samples").click()
    expect(page.locator(".wall button").first).to_be_visible()
    first = page.locator(".wall img").first.get_attribute("src")
    page.get_by_role("button", name="Roll again").click()
    expect(page.locator(".wall img").first).not_to_have_attribute("src", first or "")
    page.locator(".wall button").nth(0).click()
    page.locator(".wall button").nth(3).click()
    expect(page.get_by_text("pictures from the first to the second")).to_be_visible()
    visit.look("plane")


def photo(visit: Visit) -> None:
    page = visit.open("/models/imagenet_classifier")
    expect(page.locator(".bars .best")).to_be_visible()
    expect(page.get_by_alt_text("Heat map over the photo")).to_be_visible()
    page.locator(".chips button").nth(1).click()
    page.get_by_label("Show what speaks for another class").fill("tench")
    page.get_by_label("Show what speaks for another class").press("Tab")
    expect(page.get_by_text("What speaks for “tench”")).to_be_visible()
    visit.look("photo")


def photo_given(visit: Visit) -> None:
    """A photo comes by the camera, by pasting and by dropping; what is no picture is told in words."""
    page = visit.open("/models/imagenet_classifier")
    shown = page.get_by_alt_text("Your photo")
    expect(page.get_by_alt_text("Heat map over the photo")).to_be_visible()

    def arrives(action: Callable[[], None]) -> None:
        before = shown.get_attribute("src") or ""
        action()
        expect(shown).not_to_have_attribute("src", before)
        expect(page.get_by_alt_text("Heat map over the photo")).to_be_visible()
        expect(page.locator(".bars .best")).to_be_visible()

    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_label("Picture of the camera")).to_be_visible()
    expect(page.locator("video")).not_to_have_js_property("videoWidth", 0)
    visit.look("camera")
    arrives(page.get_by_role("button", name="Take the picture").click)
    expect(page.get_by_label("Picture of the camera")).to_have_count(0)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Close the camera").click()
    expect(page.get_by_label("Picture of the camera")).to_have_count(0)
    arrives(lambda: _paste(page, "#284"))
    arrives(lambda: _drop(page, "A photo", "#824"))
    _drop(page, "A photo", "#000", "notes.txt", "text/plain")
    expect(page.get_by_text("“notes.txt” is not a picture.")).to_be_visible()


def elephants(visit: Visit) -> None:
    """The book's photo of elephants: its class, what speaks for it (figure 5.36), and the code that asks the same."""
    page = visit.open("/models/imagenet_classifier")
    expect(page.get_by_alt_text("Heat map over the photo")).to_be_visible()
    page.locator('input[aria-label="A photo"]').set_input_files(f"{DATA}/images/creative_commons_elephant.jpg")
    expect(page.locator(".bars .best span").first).to_have_text("African elephant")
    expect(page.get_by_text("What speaks for “African elephant”")).to_be_visible()
    page.get_by_role("tab", name="R", exact=True).click()
    expect(page.locator("#code-shown")).to_contain_text('predict(model, "picture.png")')
    visit.look("elephants")


def _transfer(page: Page, colour: str, name: str, kind: str) -> JSHandle:
    """What a browser hands over when a file is dropped."""
    code = """([bytes, name, kind]) => { const data = new DataTransfer()
      data.items.add(new File([new Uint8Array(bytes)], name, {type: kind})); return data }"""
    return page.evaluate_handle(code, [list(_picture(page, colour)), name, kind])


def _drop(page: Page, label: str, colour: str, name: str = "picture.png", kind: str = "image/png") -> None:
    zone = page.get_by_role("group", name=label, exact=True)
    given = {"dataTransfer": _transfer(page, colour, name, kind)}
    zone.dispatch_event("dragover", given)
    expect(zone).to_have_class(re.compile("over"))
    zone.dispatch_event("drop", given)
    expect(zone).not_to_have_class(re.compile("over"))


def _paste(page: Page, colour: str) -> None:
    """Copy a picture, and paste it with the keyboard."""
    code = """bytes => navigator.clipboard.write([new ClipboardItem({"image/png":
      new Blob([new Uint8Array(bytes)], {type: "image/png"})})])"""
    page.evaluate(code, list(_picture(page, colour)))
    page.locator(".drop").first.focus()
    page.keyboard.press("Control+V")


def _picture(page: Page, colour: str) -> bytes:
    """A small PNG, drawn by the browser itself."""
    code = """colour => { const canvas = document.createElement("canvas"); canvas.width = 120; canvas.height = 90
      const pen = canvas.getContext("2d"); pen.fillStyle = colour; pen.fillRect(0, 0, 120, 90)
      pen.fillStyle = "#fa0"; pen.fillRect(30, 20, 40, 40)
      return fetch(canvas.toDataURL()).then(reply => reply.arrayBuffer()).then(b => [...new Uint8Array(b)]) }"""
    code = code.replace(
        "fetch(canvas.toDataURL()).then(reply => reply.arrayBuffer()).then(b => [...new Uint8Array(b)])",
        "[...atob(canvas.toDataURL().split(',')[1])].map(letter => letter.charCodeAt(0))",
    )
    return bytes(page.evaluate(code, colour))


def _give(page: Page, label: str, colour: str) -> None:
    file = {"name": "picture.png", "mimeType": "image/png", "buffer": _picture(page, colour)}
    page.locator(f'input[aria-label="{label}"]').set_input_files(file)


def dream(visit: Visit) -> None:
    page = visit.open("/models/dreamer")
    expect(page.get_by_role("button", name="Dream", exact=True)).to_be_visible()
    page.get_by_role("button", name="Dream", exact=True).click()
    expect(page.get_by_text("Choose a picture first.")).to_be_visible()
    _give(page, "The picture to dream on", "#246")
    page.get_by_role("button", name="Dream", exact=True).click()
    expect(page.get_by_role("link", name="Download in full size")).to_be_visible()
    page.get_by_label("Before ◂ ▸ after").fill("20")
    visit.look("dream")


def style(visit: Visit) -> None:
    page = visit.open("/models/painter")
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_visible()
    _give(page, "The photo", "#246")
    _drop(page, "The picture with the style", "#a33")
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.get_by_role("link", name="Download in full size")).to_be_visible(timeout=120_000)
    visit.look("style")


def several_inputs(visit: Visit) -> None:
    page = visit.open("/models/pair")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".big, pre").first).to_be_visible()
    page.locator("textarea").first.fill("[1,")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_text("is not JSON")).to_be_visible()
    visit.look("several-inputs")


def unknown_model(visit: Visit) -> None:
    visit.expected = "404"
    page = visit.open("/models/nothing")
    expect(page.get_by_role("alert")).to_contain_text("There is no model 'nothing' here.")
    visit.look("unknown")
    visit.expected = ""


def docs(visit: Visit) -> None:
    page = visit.open("/docs")
    for route in ("answer", "generate", "sample", "explain", "predict", "infer", "completions", "v2_generate", "card"):
        call = page.locator(f"details#{route}")
        call.locator("summary").click()
        expect(call.locator("pre[aria-label='As a curl command']")).to_contain_text("curl")
        call.get_by_role("button", name="Send").click()
        expect(call.get_by_text("200 OK")).to_be_visible()
        call.locator("summary").click()
    page.locator("details#infer summary").click()
    visit.look("docs")


def with_keys(visit: Visit) -> None:
    visit.expected = "401"
    page = visit.open("/models/affine")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    visit.look("key")
    dialog.get_by_label("API key").fill("a wrong key")
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("The key was not accepted")).to_be_visible()
    page.get_by_role("dialog").get_by_label("API key").fill(KEY)
    page.get_by_role("dialog").get_by_role("button", name="Use this key").click()
    expect(page.locator("#code-shown")).to_contain_text("Authorization: Bearer $KEY")
    page.goto("/")
    expect(page.locator(".card").first).to_be_visible()  # the key is kept in the tab
    expect(page.get_by_role("dialog")).to_have_count(0)


WITHOUT_KEYS: tuple[Callable[[Visit], None], ...] = (
    *(home, digit, review, reviews_side_by_side, newswire, house, table, weather, writing, plane, photo),
    *(photo_given, *((elephants,) if DATA else ())),
    *(dream, style, several_inputs, unknown_model, docs),
)
