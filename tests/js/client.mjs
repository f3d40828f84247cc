// The official JavaScript SDK, driven by a test: one JSON object a line comes in for each call, and
// one goes out for each answer and each event of the SDK. The SDK is used as its documentation says.

import { createInterface } from "node:readline";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const write = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const emit = (event, context = {}) => write({ event, ...context });

let client;
const subscriptions = new Map();

const publication = ({ channel, data, offset = 0, tags = {}, info = null }) => ({
  channel, data, offset, tags, info,
});

const history = ({ publications, offset, epoch }) => ({
  publications: publications.map(publication), offset, epoch,
});

// The names of the events are those of the Python driver, so that one test reads both.
function watchSubscription(subscription) {
  const { channel } = subscription;
  subscription.on("subscribed", ({ wasRecovering, recovered, recoverable, positioned, data }) =>
    emit("subscribed", { channel, wasRecovering, recovered, recoverable, positioned, data }));
  subscription.on("subscribing", ({ code, reason }) => emit("subscribing", { channel, code, reason }));
  subscription.on("unsubscribed", ({ code, reason }) => emit("unsubscribed", { channel, code, reason }));
  subscription.on("publication", (context) => emit("publication", publication(context)));
  subscription.on("join", ({ info }) => emit("join", { channel, user: info.user }));
  subscription.on("leave", ({ info }) => emit("leave", { channel, user: info.user }));
  subscription.on("error", ({ error }) => emit("error", { channel, ...error }));
}

function watchClient() {
  client.on("connected", ({ client: id, data }) => {
    if (data?.session) client.setData({ session: data.session });
    emit("connected", { client: id, data: data ?? null });
  });
  client.on("connecting", ({ code, reason }) => emit("connecting", { code, reason }));
  client.on("disconnected", ({ code, reason }) => emit("disconnected", { code, reason }));
  client.on("error", ({ error }) => emit("error", error));
  client.on("subscribed", ({ channel, wasRecovering, recovered, recoverable, positioned, data }) =>
    emit("subscribed", { channel, wasRecovering, recovered, recoverable, positioned, data }));
  client.on("unsubscribed", ({ channel }) => emit("unsubscribed", { channel }));
  client.on("publication", (context) => emit("publication", publication(context)));
}

const calls = {
  connect({ url, token, nextTokens, session }) {
    const options = { websocket: WebSocket, token, minReconnectDelay: 100, maxReconnectDelay: 1000 };
    if (session) options.data = { session };
    if (nextTokens.length) options.getToken = async () => nextTokens.shift();
    client = new Centrifuge(url, options);
    watchClient();
    client.connect();
    return client.ready();
  },
  async subscribe({ channel, token, nextTokens }) {
    const options = { token };
    if (nextTokens.length) options.getToken = async () => nextTokens.shift();
    const subscription = client.newSubscription(channel, options);
    subscriptions.set(channel, subscription);
    watchSubscription(subscription);
    subscription.subscribe();
    await subscription.ready();
  },
  unsubscribe: async ({ channel }) => subscriptions.get(channel).unsubscribe(),
  publish: ({ channel, data }) => client.publish(channel, data),
  history: async ({ channel, ...options }) => history(await client.history(channel, options)),
  presence: async ({ channel }) =>
    Object.values((await client.presence(channel)).clients).map(({ user }) => user).sort(),
  async presenceStats({ channel }) {
    const { numClients, numUsers } = await client.presenceStats(channel);
    return { clients: numClients, users: numUsers };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, call, ...options } = JSON.parse(line);
  calls[call](options).then(
    (result) => write({ id, result: result ?? null }),
    ({ code = 0, message = "" }) => write({ id, error: { code, message } }),
  );
}
client?.disconnect();
