// An instance of the module and arrays in its memory. Only the files core*.js know addresses.

/**
 * One instance of the module with a memory of its own.
 *
 * A failure interrupts the core, whose objects are then in an unknown state: the instance refuses every
 * further call, unless it is robust, because it has no objects that a failure could interrupt.
 */
export class CoreInstance {
  /** @param {WebAssembly.Module} module  @param {string} owner what messages call it: "model" */
  constructor(module, owner, isRobust = false) {
    this.owner = owner;
    this.isRobust = isRobust;
    this.failure = null;
    this.exports = new WebAssembly.Instance(module).exports;
    this.exports._initialize();
  }

  /** Bytes of its memory, which never shrinks. */
  get bytes() {
    return this.exports ? this.exports.memory.buffer.byteLength : 0;
  }

  /** An export's result; an Error with the reason where it fails. */
  call(name, ...given) {
    if (this.failure) throw new Error(`${this.owner}: ${this.failure}`);
    const stack = this.exports.__stack_pointer, top = stack.value;
    try {
      return this.exports[name](...given);
    } catch (error) {
      stack.value = top;
      const reason = this.text(this.exports.reason()) || `${name}: ${error.message}`;
      if (!this.isRobust) {
        this.failure = `expected one that works, got one that failed (${reason}); make a new one`;
      }
      throw new Error(reason);
    }
  }

  /** The zero-terminated text at an address. */
  text(at) {
    const memory = new Uint8Array(this.exports.memory.buffer);
    return new TextDecoder().decode(memory.slice(at, memory.indexOf(0, at)));
  }

  /** A view of `count` numbers at an address, valid until the next call. */
  view(Type, at, count) {
    return new Type(this.exports.memory.buffer, at, count);
  }

  /** A copy of them. */
  read(Type, at, count) {
    return this.view(Type, at, count).slice();
  }

  /** The result of f(frame); what the frame allocates is released after it. */
  within(f) {
    const frame = new CoreFrame(this);
    try {
      return f(frame);
    } finally {
      frame.release();
    }
  }

  /** Gives the memory back. */
  free() {
    this.failure = this.failure || "expected one in use, got one that was freed; make a new one";
    this.exports = null;
  }
}

/** Arrays in the memory of an instance during one call. */
export class CoreFrame {
  constructor(instance) {
    this.instance = instance;
    this.blocks = [];
  }

  /** The address of room for `count` numbers, zero. */
  room(Type, count) {
    const at = this.instance.call("allocate", count * Type.BYTES_PER_ELEMENT);
    this.blocks.push(at);
    return at;
  }

  /** The address of a copy of an array; 0 for null. */
  put(Type, numbers) {
    if (numbers === null || numbers === undefined) return 0;
    const at = this.room(Type, numbers.length);
    this.instance.view(Type, at, numbers.length).set(numbers);
    return at;
  }

  /** The address of a text. */
  text(text) {
    return this.put(Uint8Array, new TextEncoder().encode(`${text}\0`));
  }

  /** Of an instance that has failed, nothing is released. */
  release() {
    if (this.instance.failure) return;
    for (const at of this.blocks) this.instance.call("release", at);
  }
}

/** Passes settings by name to the exports `${verb}_number(made, …)` and `${verb}_choice(made, …)`. */
export function passCoreSettings(frame, verb, made, settings, numbers, choices) {
  const given = (name) => {
    if (settings[name] === undefined) throw new Error(`\`${name}\`: expected a value, got none`);
    return settings[name];
  };
  const call = (kind, name, value) => frame.instance.call(`${verb}_${kind}`, made, frame.text(name), value);
  for (const name of numbers) call("number", name, Number(given(name)));
  for (const name of choices) call("choice", name, frame.text(given(name)));
}
