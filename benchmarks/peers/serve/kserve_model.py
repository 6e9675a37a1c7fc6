"""KServe's model server with a model of its own, over REST and gRPC. It gathers no batches."""

from typing import Any

import kserve

from benchmarks.peers.serve.session import OUTPUT, Session, Task, task


class Model(kserve.Model):
    def __init__(self, asked: Task) -> None:
        super().__init__(asked.model)
        self.session = Session(asked)
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        (tensor,) = payload.inputs
        answer = self.session.run(tensor.as_numpy())
        output = kserve.InferOutput(OUTPUT, list(answer.shape), "FP32")
        output.set_data_from_numpy(answer, binary_data=payload.use_binary_outputs)
        return kserve.InferResponse(payload.id or "0", self.name, [output])


if __name__ == "__main__":
    asked = task()
    kserve.ModelServer(
        http_port=asked.http_port, grpc_port=asked.grpc_port, workers=1, access_log_format=None
    ).start([Model(asked)])
