"""What scikit-learn's converter writes into ONNX files that a server cannot use as it is.

- ``ZipMap`` turns a table of probabilities into a list of dictionaries. Its input, the table, is the output instead,
  and the keys of the dictionaries are its labels. Source: ai.onnx.ml's ZipMap.
- ``StringNormalizer`` names a locale (``en_US.UTF-8`` where it names none), which the machine may lack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: The locale that every system has whose upper and lower case are those of Unicode.
UNICODE_LOCALE = "C.UTF-8"


def replace_zip_maps(proto: Any) -> dict[str, tuple[str, ...]]:
    """Replace the ZipMap operators of a model, in place; return the labels by the name of the output.

    An output keeps its name and becomes float32 [rows, labels].
    """
    import onnx

    labels: dict[str, tuple[str, ...]] = {}
    for node in proto.graph.node:
        if node.op_type != "ZipMap" or node.domain != "ai.onnx.ml":
            continue
        keys = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        names = keys.get("classlabels_strings") or keys.get("classlabels_int64s") or ()
        labels[node.output[0]] = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
        identity = onnx.helper.make_node("Identity", list(node.input), list(node.output), name=node.name)
        node.CopyFrom(identity)
    for output in proto.graph.output:
        if output.name in labels:
            shape = [None, len(labels[output.name]) or None]
            output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, shape))
    return labels


def locales(proto: Any) -> set[str]:
    """The locales that the model's StringNormalizer operators name; '' where one names none."""
    return {str(attribute.s.decode()) if attribute else "" for _, attribute in _normalizers(proto)}


def use_unicode_locale(proto: Any) -> None:
    """Let all StringNormalizer operators use ``UNICODE_LOCALE``, in place."""
    import onnx

    for node, attribute in list(_normalizers(proto)):
        if attribute:
            node.attribute.remove(attribute)
        node.attribute.append(onnx.helper.make_attribute("locale", UNICODE_LOCALE))


def _normalizers(proto: Any) -> Iterator[tuple[Any, Any]]:
    """Each StringNormalizer with its attribute ``locale``, None if it has none."""
    for node in proto.graph.node:
        if node.op_type == "StringNormalizer":
            yield node, next((attribute for attribute in node.attribute if attribute.name == "locale"), None)
