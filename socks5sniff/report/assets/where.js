// The expressions of `--where`, on the page's columns: a test of rows out of a text.
//
//   reply.code == 5 and destination.host contains "example" and timing.request > 0.2 and not anomalies
//
// A key names one value or, in a list, several; a comparison holds when one of them passes it, and never of null.

const Where = (() => {
  class Fault extends Error {
    /** `at` is the place in the text, from 0. */
    constructor(message, at) {
      super(message);
      this.at = at;
    }
  }

  const TOKEN = /\s*(?:("(?:[^"\\]|\\.)*")|('(?:[^'\\]|\\.)*')|(==|!=|<=|>=|&&|\|\||[<>!(){},~])|([^\s(){},"'<>=!~&|]+))/y;
  const COMPARISONS = { "==": "==", eq: "==", "!=": "!=", ne: "!=", "<": "<", lt: "<", ">": ">", gt: ">", "<=": "<=", le: "<=", ">=": ">=", ge: ">=", contains: "contains", matches: "matches", "~": "matches", in: "in" };
  const CONNECTIVES = { and: "and", "&&": "and", or: "or", "||": "or", not: "not", "!": "not" };

  const tokens = (text) => {
    const found = [];
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < text.trimEnd().length) {
      const before = TOKEN.lastIndex;
      const match = TOKEN.exec(text);
      if (!match) throw new Fault("not understood", before + /^\s*/.exec(text.slice(before))[0].length);
      const quoted = match[1] ?? match[2];
      const raw = quoted ?? match[3] ?? match[4];
      found.push({ raw, at: TOKEN.lastIndex - raw.length, quoted: quoted !== undefined, value: quoted === undefined ? raw : unquoted(quoted) });
    }
    return found;
  };

  const unquoted = (text) =>
    text.slice(1, -1).replace(/\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/gs, (whole, two, four, one) =>
      one === undefined ? String.fromCharCode(parseInt(two ?? four, 16)) : ({ n: "\n", r: "\r", t: "\t" }[one] ?? one),
    );

  class Parser {
    constructor(text, keys) {
      this.text = text;
      this.keys = keys;
      this.tokens = tokens(text);
      this.next = 0;
    }

    get token() {
      return this.tokens[this.next];
    }

    fault(message, token = this.token) {
      throw new Fault(message, token ? token.at : this.text.length);
    }

    is(table) {
      return this.token && !this.token.quoted ? table[this.token.raw] : undefined;
    }

    whole() {
      const found = this.either();
      if (this.token) this.fault("and, or, or the end is expected here");
      return found;
    }

    either() {
      let left = this.both();
      while (this.is(CONNECTIVES) === "or") {
        this.next += 1;
        left = { kind: "or", left, right: this.both() };
      }
      return left;
    }

    both() {
      let left = this.one();
      while (this.is(CONNECTIVES) === "and") {
        this.next += 1;
        left = { kind: "and", left, right: this.one() };
      }
      return left;
    }

    one() {
      if (this.is(CONNECTIVES) === "not") {
        this.next += 1;
        return { kind: "not", inner: this.one() };
      }
      if (this.is({ "(": true })) {
        this.next += 1;
        const inner = this.either();
        if (!this.is({ ")": true })) this.fault("a ) is missing here");
        this.next += 1;
        return inner;
      }
      return this.comparison();
    }

    comparison() {
      const key = this.token;
      if (!key) this.fault("a key of the record is expected here");
      if (key.quoted || !this.keys(key.raw)) this.fault(`${key.raw} is no key of the record`);
      this.next += 1;
      const operator = this.is(COMPARISONS);
      if (!operator) return { kind: "has", key: key.raw };
      this.next += 1;
      return { kind: operator, key: key.raw, values: operator === "in" ? this.set() : [this.operand(operator)] };
    }

    set() {
      if (!this.is({ "{": true })) this.fault("a { is expected here");
      this.next += 1;
      const values = [];
      while (!this.is({ "}": true })) {
        values.push(this.operand("in"));
        if (this.is({ ",": true })) this.next += 1;
        else if (!this.token) this.fault("a } is missing here");
      }
      this.next += 1;
      return values;
    }

    operand(operator) {
      const token = this.token;
      if (!token || (!token.quoted && /^[(){},<>=!~]/.test(token.raw))) this.fault("a value is expected here");
      this.next += 1;
      if (operator === "matches") {
        try {
          return { text: token.value, pattern: new RegExp(token.value, "iu") };
        } catch {
          this.fault("no regular expression", token);
        }
      }
      const range = !token.quoted && operator === "in" ? /^(-?[\d.]*\d)\.\.(-?\d[\d.]*)$/.exec(token.raw) : null;
      if (range) return { low: Number(range[1]), high: Number(range[2]), text: token.value };
      return { text: token.value, number: token.value.trim() === "" ? NaN : Number(token.value), network: Networks.network(token.value), quoted: token.quoted };
    }
  }

  const ordered = (operator, left, right) =>
    operator === "<" ? left < right : operator === ">" ? left > right : operator === "<=" ? left <= right : left >= right;

  const equal = (value, operand) => {
    if (typeof value === "number") return value === operand.number;
    if (typeof value === "boolean") return String(value) === operand.text;
    if (value === operand.text) return true;
    return operand.network !== null && operand.network !== undefined && operand.network(value);
  };

  /** Whether one value passes. */
  const passes = ({ kind, values }, value) => {
    const [operand] = values;
    if (kind === "==") return equal(value, operand);
    if (kind === "!=") return !equal(value, operand);
    if (kind === "contains") return String(value).includes(operand.text);
    if (kind === "matches") return operand.pattern.test(String(value));
    if (kind === "in") return values.some((each) => (each.low === undefined ? equal(value, each) : value >= each.low && value <= each.high));
    return typeof value === "number" ? ordered(kind, value, operand.number) : ordered(kind, String(value), operand.text);
  };

  /** A test of rows. Of words each is asked once, however many rows have it. */
  const compiled = (node, source) => {
    if (node.kind === "and" || node.kind === "or") {
      const [left, right] = [compiled(node.left, source), compiled(node.right, source)];
      return node.kind === "and" ? (row) => left(row) && right(row) : (row) => left(row) || right(row);
    }
    if (node.kind === "not") {
      const inner = compiled(node.inner, source);
      return (row) => !inner(row);
    }
    if (node.kind === "has") return source.has(node.key);
    if (node.kind === "!=") {
      const same = source.any(node.key, (value) => equal(value, node.values[0]));
      const has = source.any(node.key, () => true);
      return (row) => has(row) && !same(row);
    }
    return source.any(node.key, (value) => passes(node, value));
  };

  /** A test of rows for a text; throws a Fault, whose `at` is the place where it is wrong. `source` is a `Source`. */
  const compile = (text, source) => compiled(new Parser(text, (key) => source.knows(key)).whole(), source);

  return { compile, Fault };
})();

// Keys of the record on a store: which there are, what of a row they name, and whether any of that passes a test.
const Source = (() => {
  const LISTS = ["frames", "anomalies", "udp.destinations"];
  const DERIVED = ["start", "end"];

  class Source {
    constructor(store) {
      this.store = store;
    }

    /** Columns of a key that names a whole object, `destination` or `timing`. */
    within(key) {
      return [...this.store.kinds.keys()].filter((name) => name.startsWith(key + "."));
    }

    /** The object that a key leads into, and what it names there: `process.name` lies in `process`. */
    object(key) {
      const parts = key.split(".");
      for (let length = parts.length - 1; length > 0; length -= 1) {
        const name = parts.slice(0, length).join(".");
        if (this.store.kinds.get(name) === "object") return [name, parts.slice(length)];
      }
      return null;
    }

    knows(key) {
      if (/^(start|explanation)\b./.test(key)) return false;
      return DERIVED.includes(key) || this.store.has(key) || this.within(key).length > 0 || this.object(key) !== null;
    }

    list(key) {
      return LISTS.find((list) => key.startsWith(list + ".")) ?? null;
    }

    /** A test of rows: one of the values that `key` names passes. */
    any(key, test) {
      const { store } = this;
      const list = this.list(key);
      if (list !== null) return this.anyEntry(list, key, test);
      if (DERIVED.includes(key)) return (row) => test(this.time(key, row));
      if (key === "community_id") return (row) => test(Community.of(store, row));
      const kind = store.kinds.get(key);
      const inside = this.object(key);
      if (inside && kind === undefined) return this.remembered(inside[0], (text) => leaves(JSON.parse(text), inside[1]).some(test));
      if (kind === "list") return this.remembered(key, (text) => JSON.parse(text).some(test));
      if (kind === "word") return this.remembered(key, test);
      if (kind === "bool") return (row) => store.columns.get(key)[row] > 0 && test(store.columns.get(key)[row] === 2);
      if (kind === undefined) return (row) => this.has(key)(row) && test(this.text(key, row));
      return (row) => {
        const value = store.columns.get(key)[row];
        return !Number.isNaN(value) && test(value);
      };
    }

    /** A test of places in the dictionary, which remembers its answers. */
    ofPlaces(test) {
      const { words } = this.store;
      const answers = new Int8Array(words.length + 1);
      return (place) => {
        if (place === 0) return false;
        const answer = place < answers.length ? answers[place] : 0;
        if (answer) return answer > 0;
        const found = test(words[place - 1]);
        if (place < answers.length) answers[place] = found ? 1 : -1;
        return found;
      };
    }

    remembered(name, test) {
      const { columns } = this.store;
      const passes = this.ofPlaces(test);
      return (row) => passes(columns.get(name)[row]);
    }

    /** A test of rows: the text is somewhere in their words, however it is written, or a number of theirs. */
    anywhere(text) {
      const { store } = this;
      const wanted = text.toLowerCase();
      const matching = Uint8Array.from([null, ...store.words], (word) => (word !== null && word.toLowerCase().includes(wanted) ? 1 : 0));
      const found = new Uint8Array(store.rows);
      for (const [name, kind] of store.kinds) {
        if ((kind !== "word" && kind !== "object" && kind !== "list") || name.startsWith("frames.")) continue;
        this.mark(found, name, matching);
      }
      if (/^\d+$/.test(text)) for (const name of ["id", "client.port", "proxy.port", "destination.port"]) this.markEqual(found, name, +text);
      const ended = /^(.+):(\d+)$/.exec(wanted);
      if (ended) this.markEndpoints(found, ended[1].replace(/^\[|\]$/g, ""), +ended[2]);
      return (row) => found[row] === 1;
    }

    /** Mark the rows that have a matching word in a column, or in a list's column. */
    mark(found, name, matching) {
      const column = this.store.columns.get(name);
      const list = this.list(name);
      if (list === null) {
        for (let row = 0; row < found.length; row += 1) found[row] |= matching[column[row]];
        return;
      }
      const begins = this.store.beginnings(list);
      for (let row = 0; row < found.length; row += 1) for (let at = begins[row]; at < begins[row + 1]; at += 1) found[row] |= matching[column[at]];
    }

    markEqual(found, name, number) {
      const column = this.store.columns.get(name);
      for (let row = 0; row < found.length; row += 1) if (column[row] === number) found[row] = 1;
    }

    markEndpoints(found, host, port) {
      for (const name of ["client.address", "proxy.address", "destination.host"]) {
        const same = this.remembered(name, (word) => word.toLowerCase() === host);
        const ports = this.store.columns.get(name.split(".")[0] + ".port");
        for (let row = 0; row < found.length; row += 1) if (ports[row] === port && same(row)) found[row] = 1;
      }
    }

    anyEntry(list, key, test) {
      const { store } = this;
      if (list === "frames" || key === "anomalies.frame") {
        const part = key.slice(list.length + 1);
        return (row) => store.entries(list, row).some((entry) => entry[part] !== null && test(entry[part]));
      }
      const column = store.columns.get(key);
      const begins = store.beginnings(list);
      const passes = store.kinds.get(key) === "word" ? this.ofPlaces(test) : (value) => !Number.isNaN(value) && test(value);
      return (row) => {
        for (let at = begins[row]; at < begins[row + 1]; at += 1) if (passes(column[at])) return true;
        return false;
      };
    }

    /** A test of rows: the key is not null, not false, and no empty list. */
    has(key) {
      const { store } = this;
      const kind = store.kinds.get(key);
      if (DERIVED.includes(key)) return () => true;
      if (kind === "count") return (row) => store.columns.get(key)[row] > 0;
      if (kind === "bool") return (row) => store.columns.get(key)[row] === 2;
      if (kind === "list") return this.remembered(key, (text) => text !== "[]");
      if (kind === undefined && !this.object(key)) {
        const tests = this.within(key).map((name) => this.has(name));
        return (row) => tests.some((test) => test(row));
      }
      return this.any(key, () => true);
    }

    time(key, row) {
      const { store } = this;
      let seconds = store.columns.get("start.seconds")[row];
      let fraction = store.columns.get("start.nanoseconds")[row];
      if (key === "end") fraction += Math.round(store.columns.get("duration")[row] * 1e9);
      seconds += Math.floor(fraction / 1e9);
      fraction %= 1e9;
      if (this.second !== seconds) {
        this.second = seconds;
        this.date = new Date(seconds * 1000).toISOString().slice(0, 20);
      }
      return this.date + String(fraction).padStart(9, "0") + "Z";
    }

    /** An object in text: host and port where it has them. */
    text(key, row) {
      return this.store.endpoint(key, row) ?? "";
    }
  }

  /** Values at a path in an object, those of lists apart. */
  const leaves = (value, path) => {
    for (const part of path) value = value?.[part];
    if (value === null || value === undefined) return [];
    return Array.isArray(value) ? value : typeof value === "object" ? [JSON.stringify(value)] : [value];
  };

  return Source;
})();
