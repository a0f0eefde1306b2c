/** Talks to the worker: numbered requests as promises, events to one listener. */

export class Client {
  /** listener(event): called for every event of the worker; onCrash(sentence): when the worker dies. */
  constructor(worker, listener, onCrash) {
    this.worker = worker;
    this.waiting = new Map();
    this.next = 1;
    worker.onmessage = ({data}) => (data.event ? listener(data) : this.#answer(data));
    worker.onerror = (event) => onCrash(event.message || "the worker stopped");
  }

  /**
   * Ask for an action by name. Resolves to its value, or to undefined where a newer request of the kind replaced it;
   * rejects with an Error whose message is a sentence.
   */
  call(name, values = {}, transfer = []) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, {resolve, reject});
      this.worker.postMessage({id, do: name, ...values}, transfer);
    });
  }

  #answer({id, ok, error}) { // a stale request has neither
    const request = this.waiting.get(id);
    this.waiting.delete(id);
    if (!request) return;
    if (error === undefined) request.resolve(ok);
    else request.reject(new Error(error));
  }
}

/** A function that runs one request at a time and, of those that arrive meanwhile, only the newest. */
export function newestOnly(request) {
  let busy = false;
  let next = null;
  return async function again(...values) {
    if (busy) {
      next = values;
      return;
    }
    busy = true;
    try {
      await request(...values);
    } finally {
      busy = false;
      if (next) {
        const newest = next;
        next = null;
        again(...newest);
      }
    }
  };
}
