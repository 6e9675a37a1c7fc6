"""MLServer: a runtime of its own, with adaptive batching, in the server's process (no parallel workers)."""

import asyncio

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.serve.session import OUTPUT, Session, task

GATHER_S = 0.001


class Runtime(MLModel):
    async def load(self) -> bool:
        self.session = Session(task())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        output = NumpyCodec.encode_output(OUTPUT, self.session.run(rows))
        return InferenceResponse(model_name=self.name, model_version="1", outputs=[output])


async def _serve() -> None:
    asked = task()
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=asked.http_port,
        grpc_port=asked.grpc_port,
        grpc_max_message_length=-1,
        metrics_endpoint=None,
        parallel_workers=0,
    )
    model = ModelSettings(
        name=asked.model,
        implementation=Runtime,
        max_batch_size=asked.max_batch_size,
        max_batch_time=GATHER_S,
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(_serve())
