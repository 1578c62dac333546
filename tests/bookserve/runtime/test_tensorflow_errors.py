"""What of TensorFlow's errors is told to the caller: the cause, not the place."""

from __future__ import annotations

import pytest

from bookserve.runtime.tensorflow import first_line

PLACES = "Graph execution error:\n\nDetected at node {node} defined at (most recent call last):\n"
TRACE = '  File "serve.py", line 3, in <module>\n\n  File "model.py", line 9, in call\n\n'


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            PLACES.format(node="DecodeJpeg")
            + "<stack traces unavailable>\nUnknown image file format. One of JPEG, PNG required.\n"
            "\t [[{{node DecodeJpeg}}]] [Op:__inference_signature_wrapper_g_276]",
            "Unknown image file format. One of JPEG, PNG required",
        ),
        (
            PLACES.format(node="map/while/Gather") + TRACE + "indices[0] = 7 is not in [0, 3)\n\t [[{{node Gather}}]]",
            "indices[0] = 7 is not in [0, 3)",
        ),
        (
            PLACES.format(node="'a'")
            + "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  Expected image, got unknown format\n\t [[{{node a}}]]\n"
            "\t [[b/_4]]\n  (1) INVALID_ARGUMENT:  Expected image, got unknown format\n\t [[{{node a}}]]\n",
            "Expected image, got unknown format",
        ),
        (
            "{{function_node __wrapped__Gather}} indices = 7 [Op:Gather]\nmore",
            "{{function_node __wrapped__Gather}} indices = 7 [Op:Gather]",
        ),
        ("Graph execution error:", "Graph execution error:"),
        ("", ""),
    ],
)
def test_the_cause(message: str, cause: str) -> None:
    assert first_line(Exception(message)) == cause
