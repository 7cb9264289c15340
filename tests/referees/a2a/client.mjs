// The official JavaScript client of A2A against agents on a chain, through the gateway of agentry.
//
// Arguments: the URL of the server, and the key that signs the card of `worker` (64 hexadecimal digits).
// The token is in A2A_TOKEN. The SDK is in the folder of this file, or above it.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import {
  CancelTaskRequest,
  DeleteTaskPushNotificationConfigRequest,
  GetTaskPushNotificationConfigRequest,
  GetTaskRequest,
  ListTaskPushNotificationConfigsRequest,
  ListTasksRequest,
  SendMessageRequest,
  StreamResponse,
  SubscribeToTaskRequest,
  TaskPushNotificationConfig,
  TaskState,
  verifyAgentCardSignature,
} from "@a2a-js/sdk";
import {
  ClientFactory,
  DefaultAgentCardResolver,
  JsonRpcTransportFactory,
  RestTransportFactory,
} from "@a2a-js/sdk/client";

const [base, key] = process.argv.slice(2);

const fetchImpl = (url, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set("Authorization", `Bearer ${process.env.A2A_TOKEN}`);
  return fetch(url, { ...init, headers });
};

// The verifier prints each signature that it refuses.
console.debug = () => {};
const verify = verifyAgentCardSignature(async (kid) => {
  assert.match(kid, /^ait1/);
  const x = Buffer.from(key, "hex").toString("base64url");
  return { kty: "OKP", crv: "Ed25519", x, alg: "EdDSA" };
});

const request = (text, { kind, task, push, atOnce = false } = {}) =>
  SendMessageRequest.fromJSON({
    message: {
      messageId: randomUUID(),
      role: "ROLE_USER",
      parts: [{ text }],
      metadata: kind ? { "agentry/type": kind } : undefined,
      taskId: task,
    },
    configuration: { returnImmediately: atOnce, taskPushNotificationConfig: push },
  });

// A receiver of push notifications, and a wait until it is told of a state.
async function receiver() {
  const told = [];
  const server = createServer(async (call, answer) => {
    let body = "";
    for await (const part of call) body += part;
    assert.equal(call.headers["x-a2a-notification-token"], "the-token");
    assert.equal(call.headers.authorization, "Bearer the-credentials");
    told.push(StreamResponse.fromJSON(JSON.parse(body)).payload.value.status.state);
    answer.writeHead(204).end();
    server.emit("told");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const push = {
    url: `http://127.0.0.1:${server.address().port}/`,
    token: "the-token",
    authentication: { scheme: "Bearer", credentials: "the-credentials" },
  };
  const until = async (state) => {
    while (told.at(-1) !== state) await once(server, "told");
  };
  return { push, until, close: () => server.close() };
}

// The events of a stream until it ends.
async function all(events) {
  const found = [];
  for await (const event of events) found.push(event.payload);
  return found;
}

async function check(binding) {
  const cardResolver = new DefaultAgentCardResolver({ fetchImpl });
  const factory = new ClientFactory({
    transports: [new JsonRpcTransportFactory({ fetchImpl }), new RestTransportFactory({ fetchImpl })],
    preferredTransports: [binding],
    cardResolver,
  });
  const path = ".well-known/agent-card.json";
  const resolved = (agent) => cardResolver.resolve(`${base}/a2a/${agent}/`, path);
  const client = async (agent) => factory.createFromAgentCard(await resolved(agent));

  // As it was served: of a card that its resolver has read, this SDK leaves the security schemes out of
  // what was signed.
  const card = await (await fetchImpl(`${base}/a2a/worker/${path}`)).json();
  await verify(card);
  const changed = structuredClone(card);
  changed.supportedInterfaces[0].url = "https://evil.example/";
  await assert.rejects(verify(changed));
  console.log(binding, "the card is accepted, a changed one is refused");

  const worker = await client("worker");
  assert.equal(worker.transport.protocolName, binding);
  const done = await worker.sendMessage(request("hello"));
  assert.equal(done.status.state, TaskState.TASK_STATE_COMPLETED);
  assert.match(done.artifacts[0].parts[0].content.value, /hello/);
  const extended = await worker.getAgentCard();
  assert.equal(extended.name, "worker");
  console.log(binding, "completed");

  const streamed = await all(worker.sendMessageStream(request("hello")));
  const kinds = streamed.map((payload) => payload.$case);
  assert.equal(kinds[0], "task");
  assert(kinds.includes("artifactUpdate"), `${kinds}`);
  assert.equal(streamed.at(-1).value.status.state, TaskState.TASK_STATE_COMPLETED);
  console.log(binding, "streamed:", `${kinds}`);

  const elsewhere = await client("elsewhere");
  const there = await elsewhere.sendMessage(request("hello"));
  assert.equal(there.status.state, TaskState.TASK_STATE_COMPLETED);
  console.log(binding, "completed by an agent of another runtime");

  const several = await client("several");
  const asked = await several.sendMessage(request("hello", { kind: "asks" }));
  assert.equal(asked.status.state, TaskState.TASK_STATE_INPUT_REQUIRED);
  const answered = await several.sendMessage(request("the left one", { task: asked.id }));
  assert.equal(answered.status.state, TaskState.TASK_STATE_COMPLETED);
  assert.equal(answered.id, asked.id);
  console.log(binding, "gave input");

  // The connection is lost; the client subscribes again.
  const stream = several.sendMessageStream(request("hello", { kind: "slow" }));
  const { id } = (await stream.next()).value.payload.value;
  await stream.return();
  const again = several.resubscribeTask(SubscribeToTaskRequest.fromJSON({ id }));
  const first = (await again.next()).value.payload;
  assert.equal(first.value.id, id);
  const canceled = await several.cancelTask(CancelTaskRequest.fromJSON({ id }));
  assert.equal(canceled.status.state, TaskState.TASK_STATE_CANCELED);
  const rest = await all(again);
  assert.equal(rest.at(-1).value.status.state, TaskState.TASK_STATE_CANCELED);
  console.log(binding, "canceled, and the new subscription learned it");

  const found = await several.getTask(GetTaskRequest.fromJSON({ id }));
  assert.equal(found.status.state, TaskState.TASK_STATE_CANCELED);
  const listed = await several.listTasks(ListTasksRequest.fromJSON({ pageSize: 2 }));
  assert.equal(listed.tasks.length, 2);
  assert(listed.nextPageToken);
  console.log(binding, "listed", listed.tasks.length);

  const { push, until, close } = await receiver();
  await worker.sendMessage(request("hello", { push }));
  await until(TaskState.TASK_STATE_COMPLETED);
  const slow = await several.sendMessage(request("hello", { kind: "slow", atOnce: true }));
  const config = TaskPushNotificationConfig.fromJSON({ ...push, taskId: slow.id, id: "mine" });
  const made = await several.createTaskPushNotificationConfig(config);
  assert.equal(made.url, push.url);
  const name = { taskId: slow.id, id: "mine" };
  const of = ListTaskPushNotificationConfigsRequest.fromJSON({ taskId: slow.id });
  assert.equal((await several.listTaskPushNotificationConfig(of)).configs.length, 1);
  const wanted = GetTaskPushNotificationConfigRequest.fromJSON(name);
  assert.equal((await several.getTaskPushNotificationConfig(wanted)).id, "mine");
  const gone = DeleteTaskPushNotificationConfigRequest.fromJSON(name);
  await several.deleteTaskPushNotificationConfig(gone);
  assert.equal((await several.listTaskPushNotificationConfig(of)).configs.length, 0);
  await several.createTaskPushNotificationConfig(config);
  await several.cancelTask(CancelTaskRequest.fromJSON({ id: slow.id }));
  await until(TaskState.TASK_STATE_CANCELED);
  close();
  console.log(binding, "was told by push notifications");

  // What is wrong has the error of the specification.
  const late = several.cancelTask(CancelTaskRequest.fromJSON({ id }));
  await assert.rejects(late, { name: "TaskNotCancelableError" });
  const missing = several.getTask(GetTaskRequest.fromJSON({ id: "nothing" }));
  await assert.rejects(missing, { name: "TaskNotFoundError" });
  console.log(binding, "learned the errors");
}

// A stream or a call that does not end is a failure.
const limit = setTimeout(() => {
  console.error("not done in 3 minutes");
  process.exit(1);
}, 180_000);
for (const binding of ["JSONRPC", "HTTP+JSON"]) await check(binding);
clearTimeout(limit);
console.log("all passed");
