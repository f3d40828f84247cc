// The page around a `Connection`: who I am, what was said, and how the connection is doing.

import { Connection } from "./connection.js";

const MOST_MESSAGES = 500; // shown; older ones leave the page
const CROWD_INTERVAL_MS = 10_000; // nobody announces those who were on a node that was killed
const STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  waiting: "Connection lost, trying again…",
  refused: "Refused",
};
const ANIMALS = ["badger", "crane", "finch", "gecko", "heron", "lynx", "marten", "otter", "robin"];

const $ = (id) => document.getElementById(id);
const shown = new Map(); // offset → its element

// --- who I am: each tab is a user of its own, and stays so when it is reloaded ---

const anyName = () =>
  `${ANIMALS[Math.floor(Math.random() * ANIMALS.length)]}-${10 + Math.floor(Math.random() * 90)}`;
let user = sessionStorage.getItem("user") ?? anyName();
sessionStorage.setItem("user", user);
$("name").value = user;

async function getSession() {
  const timeout = AbortSignal.timeout(5000);
  const answer = await fetch(`/demo/session?${new URLSearchParams({ user })}`, { signal: timeout });
  if (!answer.ok) throw new Error(await answer.text());
  const session = await answer.json();
  $("channel").textContent = session.channel;
  return session;
}

$("name").addEventListener("change", () => {
  user = $("name").value.trim() || user;
  $("name").value = user;
  sessionStorage.setItem("user", user);
  connection.reconnect();
});

// --- what was said ---

function show(publication) {
  const { offset, data, info } = publication;
  if (offset && shown.has(offset)) return;
  const item = element("li", { className: info?.user === user ? "mine" : "" });
  item.dataset.offset = offset ?? "";
  const author = info?.user ?? "HTTP API"; // only a client's publication tells who published it
  item.style.setProperty("--hue", hueOf(author));
  const text = typeof data?.text === "string" ? data.text : JSON.stringify(data);
  item.append(element("b", { textContent: author }), element("p", { textContent: text }));
  if (Number.isFinite(data?.at)) item.append(timeOf(data.at));
  place(item, offset);
  $("empty").hidden = true;
}

// Pieces of the history may arrive after what is newer.
function place(item, offset) {
  const list = $("messages");
  const wasAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const next = offset && [...list.children].find((other) => Number(other.dataset.offset) > offset);
  list.insertBefore(item, next || null);
  if (offset) shown.set(offset, item);
  while (list.children.length > MOST_MESSAGES) {
    shown.delete(Number(list.firstElementChild.dataset.offset));
    list.firstElementChild.remove();
  }
  if (wasAtEnd) list.scrollTop = list.scrollHeight;
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function timeOf(at) {
  const time = new Date(at);
  const textContent = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return element("time", { dateTime: time.toISOString(), textContent });
}

function hueOf(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}

function note(text) {
  $("messages").append(element("li", { className: "note", textContent: text }));
}

$("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  try {
    await connection.publish({ text, at: Date.now() });
    $("notice").textContent = "";
  } catch (error) {
    $("notice").textContent = `Not sent: ${error.message}`;
    $("text").value ||= text;
  }
});

// --- how the connection is doing ---

async function showCrowd() {
  try {
    const clients = await connection.presence();
    $("present").textContent = clients.length;
    $("present").title = clients.map((each) => each.user).sort().join(", ");
  } catch {
    $("present").textContent = "–"; // not connected, or no presence in this channel
  }
}

const connection = new Connection(getSession, {
  state(name, detail) {
    $("state").dataset.state = name;
    $("state").textContent = STATES[name];
    $("state").title = detail ?? "";
    $("send").disabled = name !== "connected";
    if (name === "refused") $("notice").textContent = `The server refused: ${detail}`;
    if (name !== "connected") for (const id of ["node", "client", "present"]) $(id).textContent = "–";
  },
  connected(reply) {
    for (const id of ["node", "client"]) {
      $(id).textContent = reply[id].slice(0, 8);
      $(id).title = reply[id];
    }
    $("notice").textContent = "";
  },
  publication: show,
  lost(isAnew) {
    if (isAnew) {
      for (const item of shown.values()) delete item.dataset.offset; // offsets begin anew, too
      shown.clear();
    }
    note(isAnew ? "The cluster was started anew." : "Some messages in between were missed.");
  },
  crowd: showCrowd,
});

setInterval(() => document.hidden || showCrowd(), CROWD_INTERVAL_MS);
connection.connect();
