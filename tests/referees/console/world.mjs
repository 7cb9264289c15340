// The agents that the tests and the pictures show, and what they have been through.

import { join } from "node:path";
import { Stage, here, until } from "./stage.mjs";

export const SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";
export const BIDI = "\u202etxt.exe\u202c \u001b[2J\u001b]0;owned\u0007 \u0000 zero\u200bwidth";

function agents(program) {
  const pong = '{ kind = "pong", trigger = "ping", reply = "pong" }, { kind = "ack" }';
  const types = 'types = { echo = { executor = "command", program = "cat" }, slow = { executor = "command", program = "sleep", args = ["600"] } }';
  const of = (name, behaviours, more = "") => `[[agent]]\nname = "${name}"\nwallet = "${name}"\nbehaviours = [${behaviours}]\n${more}`;
  const grumpy = `{ kind = "process", program = "${program}", texts = true }`;
  return [
    of("asker", '{ kind = "pong", trigger = "hello", reply = "hi" }', "daily_budget = 1000000\n"),
    of("worker", `{ kind = "tasks", allow = ["asker"], ${types} }, ${pong}`),
    of("careful", pong, 'approve = ["reply"]\n'),
    of("grumpy", grumpy),
    of("poor", pong, "daily_budget = 20\n"),
  ].join("");
}

// The runtime with these agents, and the messages that each view needs.
export async function world({ dead = 60, more = "", keys = "" } = {}) {
  const stage = await Stage.start(agents(join(here, "grumpy.py")) + more, { keys });
  try {
    await stage.run();
    const send = (to, text, extra = {}) => stage.api("POST", "/messages", { from: "asker", to, text, ...extra });
    stage.send = send;
    await stage.command("agent", "register", "--agent", "worker", "--description", `does jobs ${SCRIPT} ${BIDI.replace("\0", "")}`).catch((error) => {
      throw new Error(`registering: ${error.message}`);
    });
    stage.ping = await send("worker", "ping", { thread: "tea", ack: { what: "done" } });
    await send("careful", "ping");
    for (let number = 0; number < 4; number += 1) await send("poor", "ping");
    stage.hostile = await send("worker", `${SCRIPT} ${BIDI}`, { thread: "tea" });
    await stage.api("POST", "/tasks", { from: "asker", to: "worker", type: "echo", prompt: "say it again", anyway: true });
    await stage.api("POST", "/tasks", { from: "asker", to: "worker", type: "slow", prompt: "sleep", anyway: true });
    for (let number = 0; number < dead; number += 1) await send("grumpy", number % 3 === 0 ? "worse" : `bad ${number}`);
    await until("the dead letters", async () => (await stage.api("GET", "/queue/count")).dead_letters === dead);
    await until("the answer", async () => (await stage.api("GET", `/messages/${stage.ping.id}/delivery?until=answered`)).complete);
    await until("the approval", async () => (await stage.api("GET", "/approvals")).approvals.length > 0);
    await until("a running task", async () => (await stage.api("GET", "/work?state=working")).tasks.length > 0);
    await until("the card", async () => (await stage.api("GET", "/agents")).agents.length > 0);
    return stage;
  } catch (error) {
    console.error(stage.log);
    await stage.stop();
    throw error;
  }
}
