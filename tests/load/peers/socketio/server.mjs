// The Socket.IO server of `make bench-peers`: rooms are channels, and the HTTP API that publishes
// into them is that of the servers beside it, as far as the publisher asks.
//
//     node server.mjs SETTINGS.json
//
// It reads the settings that all servers get. Its own follow Socket.IO's advice for speed: WebSocket
// alone, no compression, the first request of a connection forgotten; and where nodes share a Redis
// the streams adapter, told that nothing is binary. The WebSocket engine is `ws`, the default,
// without its native add-ons: they unmask and validate what clients send, here next to nothing.
// Events are reliable, as publications are elsewhere: a volatile one is left out for whoever is slow.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
const http = createServer(answer);
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  adapter: await sharedAdapter(settings.engine),
});

io.engine.on("connection", (connection) => {
  connection.request = null;
});

io.on("connection", (socket) => {
  socket.on("subscribe", async (channel, acknowledge) => {
    await socket.join(channel);
    acknowledge();
  });
});

// Without one Socket.IO keeps its rooms in memory.
async function sharedAdapter(engine) {
  if (engine.type !== "redis") return undefined;
  const client = createClient({ url: engine.redis.address });
  client.on("error", (error) => console.error(`Redis: ${error.message}`));
  await client.connect();
  return createAdapter(client, { onlyPlaintext: true });
}

const methods = {
  "/api/publish": publish,
  "/api/batch": ({ commands }) => ({
    replies: commands.map((command) => ({ publish: publish(command.publish).result })),
  }),
};

function publish({ channel, data }) {
  io.to(channel).emit("pub", data);
  return { result: {} };
}

function answer(request, response) {
  if (request.url === "/health") return reply(response, 200, {});
  const method = methods[request.url];
  if (!method) return reply(response, 404, {});
  if (request.headers["x-api-key"] !== settings.http_api.key) return reply(response, 401, {});
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => reply(response, 200, method(JSON.parse(Buffer.concat(chunks)))));
}

function reply(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(text),
  });
  response.end(text);
}

http.listen(settings.http_server.port, settings.http_server.address);
