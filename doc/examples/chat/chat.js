// The browser's side of the chat, for a page (index.html) and for a terminal (terminal.mjs).

const ANSWER_MS = 10000;

export class Chat {
  #halley;
  #asked = new Map(); // questions that wait for their reply, by id

  /** halley: a client of halley.js whose token says that we are `me`. onLine({who, text}) is called for each line of the room. */
  constructor(halley, me, onLine) {
    this.#halley = halley;
    halley.subscribe("room/lobby", (message) => onLine(message.data), { last: 20 });
    halley.subscribe(`user/${me}/chat`, ({ data }) => {
      this.#asked.get(data.id)?.(data);
      this.#asked.delete(data.id);
    });
  }

  /** To the backend, which decides whether the room gets to see it. Resolves when Halley has it. */
  say(text) {
    return this.#halley.publish("inbox/chat", { say: text });
  }

  /** Request and reply: the question goes out with an id, and whatever comes back with the same id is its answer. */
  async ask(question) {
    const id = crypto.randomUUID(); // our other pages get the reply too: it is nobody else's
    const answer = new Promise((resolve, reject) => {
      this.#asked.set(id, resolve);
      setTimeout(() => this.#asked.delete(id) && reject(Error("the chat does not answer")), ANSWER_MS);
    });
    await this.#halley.publish("inbox/chat", { ask: question, id });
    return answer;
  }
}
