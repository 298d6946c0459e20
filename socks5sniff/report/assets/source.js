// Keys of the record on the page's columns: whether any value that a key names passes a test, whether there is one.

const Source = (() => {
  const LISTS = ["frames", "anomalies", "udp.destinations"];

  /** Values at a path in plain values, those of lists apart; null is none. */
  const leaves = (value, path) => {
    let found = [value];
    for (const part of path) found = found.flatMap((each) => (isThere(each) ? [each[part]] : [])).flat();
    return found.filter(isThere);
  };

  class Source {
    constructor(store) {
      this.store = store;
    }

    list(key) {
      return LISTS.find((list) => key.startsWith(list + ".")) ?? null;
    }

    /** The object's column that a key leads into, and the path in it: `process.name` lies in `process`. */
    object(key) {
      const parts = key.split(".");
      for (let length = parts.length; length > 0; length -= 1) {
        const name = parts.slice(0, length).join(".");
        if (this.store.kinds.get(name) === "object") return [name, parts.slice(length)];
      }
      return null;
    }

    /** A test of rows: one of the values that `key` names passes. */
    any(key, test) {
      const { store } = this;
      const list = this.list(key);
      if (list !== null) return this.anyEntry(list, key, test);
      if (key === "start" || key === "end") return (row) => test(this.time(key, row));
      if (key === "community_id") return (row) => passes(Community.of(store, row), test);
      const kind = store.kinds.get(key);
      const inside = this.object(key);
      if (inside) return this.remembered(inside[0], (text) => leaves(JSON.parse(text), inside[1]).some(test));
      if (kind === "list") return this.remembered(key, (text) => JSON.parse(text).some(test));
      if (kind === "word") return this.remembered(key, test);
      if (kind === undefined) return () => false;
      if (kind === "bool") return (row) => store.columns.get(key)[row] > 0 && test(store.columns.get(key)[row] === 2);
      return (row) => {
        const value = store.columns.get(key)[row];
        return !Number.isNaN(value) && test(value);
      };
    }

    /** All values of a row that a key names. */
    values(key, row) {
      const { store } = this;
      const list = this.list(key);
      if (list !== null) return store.entries(list, row).map((entry) => entryValue(store, row, entry, key.slice(list.length + 1))).filter(isThere);
      if (key === "start" || key === "end") return [this.time(key, row)];
      if (key === "community_id") return [Community.of(store, row)].filter(isThere);
      const inside = this.object(key);
      if (inside) return leaves(store.parsed(inside[0], row), inside[1]);
      const value = store.value(key, row);
      if (value === null) return [];
      return store.kinds.get(key) === "list" ? JSON.parse(value) : [value];
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
      const passing = this.ofPlaces(test);
      return (row) => passing(columns.get(name)[row]);
    }

    anyEntry(list, key, test) {
      const { store } = this;
      const part = key.slice(list.length + 1);
      if (list === "frames" || key === "anomalies.frame") return (row) => store.entries(list, row).some((entry) => passes(entryValue(store, row, entry, part), test));
      const column = store.columns.get(key);
      const begins = store.beginnings(list);
      const passing = store.kinds.get(key) === "word" ? this.ofPlaces(test) : (value) => !Number.isNaN(value) && test(value);
      return (row) => {
        for (let at = begins[row]; at < begins[row + 1]; at += 1) if (passing(column[at])) return true;
        return false;
      };
    }

    /** A test of rows: the key is there, and neither false nor an empty list. */
    has(key) {
      const { store } = this;
      const list = this.list(key) ?? key;
      if (LISTS.includes(list)) return (row) => store.columns.get(list)[row] > 0;
      const kind = store.kinds.get(key);
      if (kind === "bool") return (row) => store.columns.get(key)[row] === 2;
      if (kind === "list") return this.remembered(key, (text) => text !== "[]");
      if (key === "timing") return () => true;
      if (kind === undefined && !this.object(key) && !["start", "end", "community_id"].includes(key)) return this.within(key);
      return this.any(key, () => true);
    }

    /** An object is there when one of its keys is. */
    within(key) {
      const tests = [...this.store.kinds.keys()].filter((name) => name.startsWith(key + ".")).map((name) => this.has(name));
      return (row) => tests.some((test) => test(row));
    }

    /** Nanoseconds since 1970 of a row's start or end. */
    time(key, row) {
      const start = this.store.origin(row);
      return key === "end" ? start + BigInt(Math.round((this.store.columns.get("duration")[row] || 0) * 1e9)) : start;
    }

    /** A test of rows: one of a list's entries passes; `tests` takes an `Entry`. */
    some(list, test) {
      return (row) => this.store.entries(list, row).some((entry) => test(new Entry(this.store, row, entry)));
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
  }

  const isThere = (value) => value !== null && value !== undefined;
  const passes = (value, test) => isThere(value) && test(value);

  /** A value of an entry; a frame's time as nanoseconds since 1970. */
  const entryValue = (store, row, entry, part) => (part === "time" ? store.origin(row) + BigInt(Math.round(entry.time)) : entry[part]);

  /** One entry of a list, where a condition in brackets looks. */
  class Entry {
    constructor(store, row, values) {
      this.store = store;
      this.row = row;
      this.entry = values;
    }

    value(part) {
      return entryValue(this.store, this.row, this.entry, part);
    }
  }

  /** The keys of an entry, with the same questions as a Source; its rows are entries. */
  const OfEntries = {
    any: (part, test) => (entry) => passes(entry.value(part), test),
    values: (part, entry) => [entry.value(part)].filter(isThere),
    has: (part) => (entry) => isThere(entry.value(part)),
  };

  return { Source, OfEntries, LISTS };
})();
