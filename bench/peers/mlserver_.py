"""MLServer: the Open Inference Protocol over HTTP and gRPC, with the model in the server's own process."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from model import Model


class Served(MLModel):
    """The class that MLServer loads by its settings."""

    async def load(self) -> bool:
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        answer = self.model.run(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output(self.model.output.name, answer)]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    http, grpc = int(os.environ["HTTP_PORT"]), int(os.environ["GRPC_PORT"])
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": grpc + 1}
    settings |= {"parallel_workers": 0, "debug": False, "access_log": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(
        json.dumps({"name": os.environ["NAME"], "implementation": "mlserver_.Served"})
    )
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    command = str(Path(sys.executable).parent / "mlserver")
    os.execv(command, [command, "start", str(folder)])  # noqa: S606 - becomes the server
