# ruff: noqa: TID253
"""Read variables before rows are gathered from them, inside the functions of a graph.

TensorFlow turns variables into constants except where a function gathers rows straight from a variable
(``ResourceGather``), as the embeddings of Keras 2 do. Read and gathered in two steps, they become constants, too.
Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def read_before_gathering(graph_def: Any) -> None:
    """Replace ``ResourceGather`` in functions of a ``GraphDef`` by ``ReadVariableOp`` and ``GatherV2``, in place."""
    for function in graph_def.library.function:
        for node in [node for node in function.node_def if node.op == "ResourceGather"]:
            dtype, indices = node.attr["dtype"].type, node.attr["Tindices"].type
            batch = node.attr["batch_dims"].i
            resource, rows, *after = node.input
            read = function.node_def.add(name=f"{node.name}/read", op="ReadVariableOp", input=[resource])
            read.attr["dtype"].type = dtype
            axis = function.node_def.add(name=f"{node.name}/axis", op="Const")
            axis.attr["dtype"].type = tf.int32.as_datatype_enum
            axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.int32(batch)))
            del node.input[:]
            node.op = "GatherV2"
            node.input.extend([f"{read.name}:value:0", rows, f"{axis.name}:output:0", *after])
            for name in [name for name in node.attr if not name.startswith("_")]:
                del node.attr[name]
            node.attr["Tparams"].type, node.attr["Tindices"].type = dtype, indices
            node.attr["Taxis"].type, node.attr["batch_dims"].i = tf.int32.as_datatype_enum, batch
