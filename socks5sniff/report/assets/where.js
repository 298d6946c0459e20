// The expressions of `--where` on the page's columns: a test of rows out of a text.
//
//   reply.code == 5 and destination.host contains "example" and timing.request > 0.2 and not anomalies

const Where = (() => {
  const { Fault } = Syntax;

  /** Names that look like another one. */
  const alike = (name, known) => {
    const near = known.filter((each) => each.startsWith(name.slice(0, 3)) || each.split(".").includes(name));
    return near.length ? `; there is ${near.slice(0, 5).join(", ")}` : "";
  };

  /** Where names are looked up: the record, or what is inside one of its keys. */
  class Scope {
    constructor(key, prefix, source) {
      this.key = key;
      this.prefix = prefix;
      this.source = source;
    }

    test(node) {
      if (node.kind === "comparison") return this.comparison(node);
      if (node.kind === "not") {
        const part = this.test(node.part);
        return (row) => !part(row);
      }
      const parts = node.parts.map((part) => this.test(part));
      return node.kind === "and" ? (row) => parts.every((part) => part(row)) : (row) => parts.some((part) => part(row));
    }

    comparison(node) {
      const path = this.find(node.name);
      if (path === null) throw new Fault(`there is no key '${node.name}'${alike(node.name, Keys.names(this.key))}`, node.at);
      if (node.element) return this.element(node, path);
      if (!node.operator) return this.source.has(this.prefix + node.name);
      const [key, name] = this.meant(path.at(-1), node.name, node.at);
      const other = this.other(node, key);
      if (other !== null) return this.pairs(node.operator, name, other);
      if (node.operator === "in") return this.source.any(name, Operators.member(key, node.values));
      if (node.operator !== "!=") return this.source.any(name, Operators.test(key, node.operator, node.values[0], node.place));
      const same = this.source.any(name, Operators.test(key, "==", node.values[0], node.place));
      const some = this.source.any(name, () => true);
      return (row) => some(row) && !same(row);
    }

    /** The keys on the way to a name, null where there is no such name. */
    find(name) {
      const path = [];
      let { key } = this;
      for (const part of name.split(".")) {
        if (!Object.hasOwn(key.inside ?? {}, part)) return null;
        path.push((key = key.inside[part]));
      }
      return path;
    }

    /** The key that a comparison means, and its name: of an object the one that this stands for. */
    meant(key, name, at) {
      if (key.kind !== "object") return [key, this.prefix + name];
      if (!key.meant) throw new Fault(`${name} cannot be compared itself; there is ${Object.keys(key.inside).map((each) => `${name}.${each}`).join(", ")}`, at);
      return [key.inside[key.meant], `${this.prefix}${name}.${key.meant}`];
    }

    /** A key with a condition in brackets: some element fulfils it. */
    element(node, path) {
      const key = path.at(-1);
      const name = this.prefix + node.name;
      if (!key.inside) throw new Fault(`${node.name} has no keys inside`, node.at);
      if (node.operator) throw new Fault("what is in brackets is a test of its own: nothing can be compared with it", node.place);
      if (key.many) return this.source.some(name, new Scope(key, "", Source.OfEntries).test(node.element));
      const test = new Scope(key, name + ".", this.source).test(node.element);
      const there = this.source.has(name);
      return (row) => there(row) && test(row);
    }

    /** The name of the key on the right of a comparison, null where a value stands there. */
    other(node, key) {
      const [value] = node.values;
      if (["in", "contains", "matches"].includes(node.operator) || value.sort !== "word" || key.words?.includes(value.text)) return null;
      const path = this.find(value.text);
      if (path === null) return null;
      const [other, name] = this.meant(path.at(-1), value.text, value.at);
      const named = (kind) => kind === "host" || kind === "address";
      const fits = key.kind === other.kind || (named(key.kind) && named(other.kind)) || [key.kind, other.kind].sort().join() === "host,text";
      if (!fits) throw new Fault(`${value.text} is ${Operators.KINDS[other.kind]}, ${node.name} ${Operators.KINDS[key.kind]}`, value.at);
      return name;
    }

    /** One key beside another: some pair fits, or all pairs for `!=`. */
    pairs(operator, left, right) {
      const fits = Operators.pair(operator);
      const { source } = this;
      return (row) => {
        const pairs = source.values(left, row).flatMap((one) => source.values(right, row).map((other) => fits(one, other)));
        return pairs.length > 0 && (operator === "!=" ? pairs.every(Boolean) : pairs.some(Boolean));
      };
    }
  }

  /** A test of rows for a text; throws a Fault. */
  const compile = (text, source) => new Scope(Keys.RECORD, "", source).test(Syntax.parse(text));

  return { compile, Fault };
})();
