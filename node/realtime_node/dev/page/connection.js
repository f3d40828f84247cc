// One channel over the Centrifuge client protocol (JSON), written out to show how little it takes.
// Applications use an official SDK, which does all this and more.
//
// Every WebSocket message holds one or several JSON objects, one a line. A command we send has an
// id, and so has its reply; what comes without an id is a push, or, being empty, a ping.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 20_000;
const PATIENCE_MS = 10_000; // beyond the ping interval; then the link is dead, whatever TCP thinks

// Close codes by which the server says: do not come back.
const isFinal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);

export class Connection {
  #getSession;
  #on;
  #socket = null;
  #channel = "";
  #position = null; // {epoch, offset} of the last publication seen: where to go on
  #lastId = 0;
  #waiting = new Map(); // command id → what to do with (error, reply)
  #failures = 0;
  #pingMs = 0;
  #patience; // timer

  // getSession() promises {endpoint, token, channel}; `on` has the functions state(name, detail),
  // connected(reply), publication(publication), lost(isAnew) and crowd().
  constructor(getSession, on) {
    this.#getSession = getSession;
    this.#on = on;
  }

  async connect() {
    this.#on.state("connecting");
    let session;
    try {
      session = await this.#getSession();
    } catch (error) {
      return this.#retry(error.message);
    }
    this.#channel = session.channel;
    const socket = new WebSocket(
      new URL(session.endpoint, location.href.replace(/^http/, "ws")), "centrifuge-json");
    socket.onopen = () => this.#join(session.token);
    socket.onclose = ({ code, reason }) => this.#ended(code, reason);
    socket.onmessage = ({ data }) => {
      this.#awaitSign();
      for (const line of data.split("\n")) this.#take(JSON.parse(line));
    };
    this.#socket = socket;
    this.#pingMs = 0;
    this.#awaitSign();
  }

  // Connect anew, e.g. as another user.
  reconnect() {
    if (!this.#socket) return; // about to, anyway
    this.#leave("reconnecting");
    this.connect();
  }

  publish(data) {
    return this.#ask({ publish: { channel: this.#channel, data } });
  }

  async presence() {
    const { presence } = await this.#ask({ presence: { channel: this.#channel } });
    return Object.values(presence.presence);
  }

  // --- joining, and going on where it stopped ---

  #join(token) {
    this.#send({ connect: { token, name: "demo" } }, (error, reply) => {
      if (error) return this.#ended(0, error.message);
      this.#failures = 0;
      this.#pingMs = (reply.connect.ping ?? 0) * 1000;
      this.#on.connected(reply.connect);
    });
    this.#subscribe(); // need not wait: the server takes commands in order
  }

  // Without a position this asks for all there is; with one, for what was missed since.
  #subscribe() {
    const request = { channel: this.#channel, recover: true, ...this.#position };
    this.#send({ subscribe: request }, (error, reply) => {
      if (!error) this.#subscribed(reply.subscribe);
      else if (error.temporary) this.#ended(0, error.message);
      else this.#on.state("refused", `${this.#channel}: ${error.message}`);
    });
  }

  #subscribed({ epoch = "", offset = 0, recovered = false, publications = [] }) {
    const before = this.#position;
    this.#position = { epoch, offset };
    this.#on.state("connected");
    if (!recovered) {
      if (before) this.#on.lost(before.epoch !== epoch);
      this.#send({ history: { channel: this.#channel, limit: -1 } }, (error, reply) => {
        // They may stand between what is known already, and so do not move the position.
        reply?.history.publications.forEach((each) => this.#on.publication(each));
      });
    }
    publications.forEach((each) => this.#publication(each));
    this.#on.crowd();
  }

  #publication(publication) {
    if (publication.offset) this.#position.offset = publication.offset;
    this.#on.publication(publication);
  }

  // --- messages ---

  #take(message) {
    const { id, error, push } = message;
    if (id) {
      const settle = this.#waiting.get(id);
      this.#waiting.delete(id);
      settle(error, message);
    } else if (!push) {
      this.#socket.send("{}"); // a ping wants an answer
    } else if (push.pub) {
      this.#publication(push.pub);
    } else if (push.join || push.leave) {
      this.#on.crowd();
    } else if (push.unsubscribe?.code >= 2500) {
      this.#subscribe();
    } else if (push.unsubscribe) {
      this.#on.state("refused", push.unsubscribe.reason);
    }
  }

  // `settle` is called at once when the reply is there: what follows in the same message builds
  // on it.
  #send(command, settle) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return settle(new Error("not connected"));
    const id = ++this.#lastId;
    this.#waiting.set(id, settle);
    this.#socket.send(JSON.stringify({ id, ...command }));
  }

  #ask(command) {
    return new Promise((resolve, reject) => {
      this.#send(command, (error, reply) => (error ? reject(error) : resolve(reply)));
    });
  }

  // --- the end, and the way back ---

  // The server pings: a link that stays silent for longer is dead.
  #awaitSign() {
    clearTimeout(this.#patience);
    const wait = this.#pingMs + PATIENCE_MS;
    this.#patience = setTimeout(() => this.#ended(0, "the server fell silent"), wait);
  }

  #ended(code, reason) {
    if (!this.#socket) return;
    this.#leave("the connection was lost");
    if (isFinal(code)) this.#on.state("refused", reason);
    else this.#retry(reason);
  }

  #leave(reason) {
    clearTimeout(this.#patience);
    const socket = this.#socket;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    const unanswered = [...this.#waiting.values()];
    this.#waiting.clear();
    unanswered.forEach((settle) => settle(new Error(reason)));
  }

  // Full jitter, so that the clients of a dead node do not come back all at once.
  #retry(reason) {
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
    this.#on.state("waiting", reason);
    setTimeout(() => this.connect(), Math.random() * ceiling);
  }
}
