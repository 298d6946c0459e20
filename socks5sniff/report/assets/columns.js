// The page's conversations as columns. `Columns.read` unpacks what `columns.py` packs; `push` adds a record that came live.

const Columns = (() => {
  const HOLES = ["\ue000", "\ue001", "\ue002"];
  const AS_IS = "\ue003";
  const numeric = (kind) => kind === "int" || kind === "step" || kind === "offset" || kind === "seconds" || kind === "count";

  const unbase64 = (text) => {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const octets = atob(text);
    const bytes = new Uint8Array(octets.length);
    for (let at = 0; at < octets.length; at += 1) bytes[at] = octets.charCodeAt(at);
    return bytes;
  };

  const inflate = async (bytes) => {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  /** Numbers out of planes: all lowest octets come first. */
  const unplane = (bytes, at, count, width) => {
    const numbers = width <= 4 ? new Uint32Array(count) : new Float64Array(count);
    for (let plane = 0, factor = 1; plane < width; plane += 1, factor *= 256) {
      for (let row = 0; row < count; row += 1, at += 1) numbers[row] += bytes[at] * factor;
    }
    return numbers;
  };

  const signed = (number) => (number % 2 ? -(number + 1) / 2 : number / 2);

  /** A column's values: numbers (NaN for null), or places in the dictionary from 1 (0 for null). */
  const decoded = (kind, raw, base) => {
    if (!numeric(kind)) return raw instanceof Uint32Array ? raw : Uint32Array.from(raw);
    const values = new Float64Array(raw.length);
    let last = 0;
    for (let row = 0; row < raw.length; row += 1) {
      const number = raw[row] - 1;
      if (number < 0) values[row] = NaN;
      else if (kind === "step") values[row] = last += signed(number);
      else if (kind === "offset") values[row] = base ? base[row] + signed(number) : signed(number);
      else if (kind === "seconds") values[row] = number / 1e9;
      else values[row] = number;
    }
    return values;
  };

  class Store {
    constructor() {
      this.rows = 0;
      this.words = [];
      this.places = new Map();
      this.kinds = new Map();
      this.columns = new Map();
      this.version = 0;
      this.dropped = 0;
    }

    has(name) {
      return this.kinds.has(name);
    }

    /** Number or text of a row, null where there is none; of a list or an object its JSON. */
    value(name, row) {
      const kind = this.kinds.get(name);
      if (kind === undefined) return null;
      const value = this.columns.get(name)[row];
      if (numeric(kind)) return Number.isNaN(value) ? null : value;
      if (value === 0) return null;
      return kind === "bool" ? value === 2 : this.words[value - 1];
    }

    /** Milliseconds since 1970 of a row's start. */
    start(row) {
      return this.columns.get("start.seconds")[row] * 1000 + this.columns.get("start.nanoseconds")[row] / 1e6;
    }

    /** Nanoseconds since 1970 of a row's start. */
    origin(row) {
      return BigInt(this.columns.get("start.seconds")[row]) * 1000000000n + BigInt(this.columns.get("start.nanoseconds")[row]);
    }

    endpoint(name, row) {
      const host = this.value(name + (this.kinds.has(name + ".address") ? ".address" : ".host"), row);
      return host === null ? null : Text.endpoint(host, this.value(name + ".port", row));
    }

    parsed(name, row) {
      const text = this.value(name, row);
      return text === null ? null : JSON.parse(text);
    }

    /** First row of each conversation's entries in a list's columns. */
    beginnings(list) {
      const counts = this.columns.get(list);
      const begins = new Uint32Array(this.rows + 1);
      for (let row = 0; row < this.rows; row += 1) begins[row + 1] = begins[row] + counts[row];
      return begins;
    }

    /** Entries of a list, as objects. */
    entries(list, row) {
      if (!this.kinds.has(list)) return [];
      if (this.begins?.version !== this.version) this.begins = { version: this.version };
      const begins = (this.begins[list] ??= this.beginnings(list));
      const parts = this.parts.get(list);
      const found = [];
      for (let at = begins[row]; at < begins[row + 1]; at += 1) {
        found.push(Object.fromEntries(parts.map((name) => [name.slice(list.length + 1), this.value(name, at)])));
      }
      if (list === "frames") return this.framesOf(row, found);
      if (list === "anomalies") return this.anomaliesOf(row, found);
      return list === "findings" ? this.findingsOf(row, found) : found;
    }

    /** Frame numbers and times out of distances, and summaries with their holes filled; times in ns after the start. */
    framesOf(row, entries) {
      let frame = this.value("first_frame", row);
      let time = 0;
      const fillings = [this.targetText("destination", row), this.targetText("bound", row), this.value("username", row)];
      for (const entry of entries) {
        entry.frame = frame += entry.frame;
        entry.time = time += entry.time;
        const text = entry.summary ?? "";
        const hole = HOLES.indexOf(text.slice(-1));
        entry.summary = text.startsWith(AS_IS) ? text.slice(1) : hole < 0 ? text : text.slice(0, -1) + fillings[hole];
      }
      return entries;
    }

    /** As Python's Target says it: in brackets where its type is ipv6. */
    targetText(name, row) {
      const host = this.value(name + ".host", row);
      const port = this.value(name + ".port", row);
      return this.value(name + ".type", row) === "ipv6" ? `[${host}]:${port}` : `${host}:${port}`;
    }

    anomaliesOf(row, entries) {
      const first = this.value("first_frame", row);
      for (const entry of entries) entry.frame += first;
      return entries;
    }

    findingsOf(row, entries) {
      const first = this.value("first_frame", row);
      return entries.map((entry) => ({ ...entry, frames: JSON.parse(entry.frames).map((frame) => frame + first), causes: JSON.parse(entry.causes) }));
    }

    place(word) {
      let place = this.places.get(word);
      if (place === undefined) this.places.set(word, (place = this.words.push(word)));
      return place;
    }

    /** Add a value to a growing column. */
    put(name, row, value) {
      let column = this.columns.get(name);
      if (row >= column.length) {
        const larger = new column.constructor(Math.max(1024, column.length * 2));
        larger.set(column);
        this.columns.set(name, (column = larger));
      }
      const kind = this.kinds.get(name);
      if (numeric(kind)) column[row] = value === null || value === undefined || (kind === "seconds" && value < 0) ? NaN : value;
      else if (value === null || value === undefined) column[row] = 0;
      else if (kind === "bool") column[row] = value ? 2 : 1;
      else column[row] = this.place(kind === "word" ? String(value) : JSON.stringify(value));
    }

    /** A row for a record as `--format json` has it. */
    push(record) {
      const row = this.rows;
      const start = moment(record.start);
      for (const name of this.own) {
        let value = record;
        for (const part of name.split(".")) value = value?.[part];
        this.put(name, row, value);
      }
      this.put("start.seconds", row, start.seconds);
      this.put("start.nanoseconds", row, start.nanoseconds);
      let frame = record.first_frame;
      let time = 0;
      this.pushRows("frames", row, record.frames ?? [], (entry) => {
        const then = moment(entry.time);
        const after = (then.seconds - start.seconds) * 1e9 + then.nanoseconds - start.nanoseconds;
        const summary = AS_IS + entry.summary;
        const changed = { ...entry, summary, frame: entry.frame - frame, time: after - time };
        frame = entry.frame;
        time = after;
        return changed;
      });
      this.pushRows("anomalies", row, record.anomalies ?? [], (entry) => ({ ...entry, frame: entry.frame - record.first_frame }));
      this.pushRows("findings", row, record.findings ?? [], (entry) => ({ ...entry, frames: entry.frames.map((each) => each - record.first_frame) }));
      this.pushRows("udp.destinations", row, record.udp?.destinations ?? [], (entry) => entry);
      this.rows += 1;
      this.version += 1;
    }

    pushRows(list, row, entries, change) {
      this.put(list, row, entries.length);
      for (const entry of entries) {
        const changed = change(entry);
        for (const name of this.parts.get(list)) this.put(name, this.lengths.get(list), changed[name.slice(list.length + 1)]);
        this.lengths.set(list, this.lengths.get(list) + 1);
      }
    }

    /** Forget the oldest rows; the dictionary is written anew, so that it holds no word that nobody has. */
    drop(rows) {
      const cut = Math.min(rows, this.rows);
      const cuts = new Map([...this.parts.keys()].map((list) => [list, this.beginnings(list)[cut]]));
      const left = this.rows - cut;
      const words = this.words;
      this.words = [];
      this.places.clear();
      for (const [name, kind] of this.kinds) {
        const list = [...this.parts.keys()].find((each) => name.startsWith(each + "."));
        const from = list ? cuts.get(list) : cut;
        const count = list ? this.lengths.get(list) - from : left;
        const column = this.columns.get(name);
        column.copyWithin(0, from, from + count);
        if (numeric(kind) || kind === "bool") continue;
        for (let row = 0; row < count; row += 1) if (column[row]) column[row] = this.place(words[column[row] - 1]);
      }
      for (const [list, from] of cuts) this.lengths.set(list, this.lengths.get(list) - from);
      this.rows = left;
      this.dropped += cut;
      this.version += 1;
    }
  }

  /** Seconds and nanoseconds of `2026-11-22T08:39:01.123456789Z`. */
  const moment = (text) => ({ seconds: Date.parse(text.slice(0, 19) + "Z") / 1000, nanoseconds: +text.slice(20, 29).padEnd(9, "0") });

  /** The store, and the other facts of the header, of base64 text. */
  const read = async (text) => {
    const bytes = await inflate(unbase64(text));
    const length = new DataView(bytes.buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    const store = new Store();
    store.rows = header.rows;
    store.words = header.words;
    let at = 4 + length;
    for (const [name, kind, count, width, base] of header.columns) {
      store.kinds.set(name, kind);
      store.columns.set(name, decoded(kind, unplane(bytes, at, count, width), store.columns.get(base)));
      at += count * width;
    }
    const lists = [...store.kinds].filter(([, kind]) => kind === "count").map(([name]) => name);
    const ofList = (name) => lists.some((list) => name === list || name.startsWith(list + "."));
    store.own = [...store.kinds.keys()].filter((name) => !ofList(name) && !name.startsWith("start."));
    store.parts = new Map(lists.map((list) => [list, [...store.kinds.keys()].filter((name) => name.startsWith(list + "."))]));
    store.lengths = new Map(lists.map((list) => [list, store.columns.get(store.parts.get(list)[0]).length]));
    delete header.columns;
    delete header.words;
    return { store, facts: header };
  };

  return { read, moment };
})();
