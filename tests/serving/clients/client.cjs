// What @grpc/grpc-js gets from a server: argv are the address and a file with the services' FileDescriptorSet; prints JSON.
const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const protobuf = require("protobufjs");
const descriptor = require("protobufjs/ext/descriptor");

const [address, file] = process.argv.slice(2);
const set = fs.readFileSync(file);
const options = { keepCase: true, longs: Number, enums: String, defaults: true };
const services = grpc.loadPackageDefinition(loader.loadFileDescriptorSetFromBuffer(set, options)).tensorflow.serving;
const prediction = new services.PredictionService(address, grpc.credentials.createInsecure());
const models = new services.ModelService(address, grpc.credentials.createInsecure());

function ask(client, method, request) {
  return new Promise((resolve) => {
    let served = null;
    const call = client[method](request, { deadline: Date.now() + 60000 }, (error, reply) =>
      setImmediate(() => resolve({ error: error && { code: grpc.status[error.code], text: error.details }, reply, served })));
    call.on("status", (status) => { served = status.metadata.get("x-served-by")[0]; });
  });
}

function tensor(shape, values, content) {
  const filled = { dtype: "DT_FLOAT", tensor_shape: { dim: shape.map((size) => ({ size })) } };
  return content ? { ...filled, tensor_content: Buffer.from(Float32Array.from(values).buffer) } : { ...filled, float_val: values };
}

function numbers(proto) {
  const bytes = proto.tensor_content;
  const held = bytes.length ? [...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))] : proto.float_val;
  return { form: bytes.length ? "tensor_content" : "float_val", shape: proto.tensor_shape.dim.map((one) => one.size), values: held };
}

// protobufjs reads the maps of a FileDescriptorSet as what they are on the wire: repeated entries of a key and a value.
const entries = (map) => Object.entries(map).map(([key, value]) => ({ key, value }));
const map = (list) => Object.fromEntries(list.map(({ key, value }) => [key, value]));

function analyze(content, changes = {}) {
  const image = tensor([1, 32, 32, 3], Array.from({ length: 32 * 32 * 3 }, (_, i) => (i % 3) / 2), content);
  return { model_spec: { name: "seghgan", signature_name: "analyze", ...changes }, inputs: entries({ image }) };
}

async function main() {
  const said = {};
  for (const form of ["tensor_content", "float_val"]) {
    const { error, reply, served } = await ask(prediction, "Predict", analyze(form === "tensor_content"));
    said[form] = error || { ...numbers(map(reply.outputs).expression), version: reply.model_spec.version.value, served };
  }
  const told = await ask(prediction, "GetModelMetadata", { model_spec: { name: "seghgan" }, metadata_field: ["signature_def"] });
  const root = protobuf.Root.fromDescriptor(descriptor.FileDescriptorSet.decode(set));
  const type = root.lookupType("tensorflow.serving.SignatureDefMap");
  const signatures = map(type.decode(map(told.reply.metadata).signature_def.value).signature_def);
  said.metadata = Object.fromEntries(Object.entries(signatures).map(([name, one]) => [name, Object.keys(map(one.inputs)).sort()]));
  const status = await ask(models, "GetModelStatus", { model_spec: { name: "seghgan" } });
  said.status = status.reply.model_version_status.map(({ version, state }) => [version, state]);
  said.errors = {
    model: (await ask(prediction, "Predict", analyze(true, { name: "nobody" }))).error,
    signature: (await ask(prediction, "Predict", analyze(true, { signature_name: "paint" }))).error,
    shape: (await ask(prediction, "Predict", { ...analyze(true), inputs: entries({ image: tensor([1, 2], [0, 0], true) }) })).error,
    inputs: (await ask(prediction, "Predict", { ...analyze(true), inputs: [] })).error,
  };
  console.log(JSON.stringify(said));
  prediction.close();
  models.close();
}

main();
