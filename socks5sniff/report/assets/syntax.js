// From the text of an expression to its tree: the grammar of `--where`.
//
//   any_of: all_of ("or" all_of)*            all_of: factor ("and" factor)*
//   factor: "not" factor | "(" any_of ")" | comparison
//   comparison: key ("[" any_of "]")? (operator value | "not"? "in" (value | "{" member ("," member)* "}"))?
//   member: value (".." value)?

const Syntax = (() => {
  const LONGEST = 10000;
  const DEEPEST = 100;

  /** What is wrong with an expression; `at` is the place in the text, from 0. */
  class Fault extends Error {
    constructor(message, at) {
      super(message);
      this.at = at;
    }
  }

  const OR = /\|\||or(?![\w.-])/iy;
  const AND = /&&|and(?![\w.-])/iy;
  const NOT = /!(?!=)|not(?![\w.-])/iy;
  const IN = /(not\s+)?in(?![\w.-])/iy;
  const OPERATOR = /==|!=|<=|>=|<|>|~|(?:eq|ne|le|ge|lt|gt|contains|matches)(?![\w.-])/iy;
  const STRING = /r?"(?:[^"\\]|\\.)*"|r?'(?:[^'\\]|\\.)*'/sy;
  const ADDRESS = /(?:(?=[0-9a-f.]*:[0-9a-f.]*:)(?:[0-9a-f:]|\.(?!\.))+|\d+\.\d+\.\d+\.\d+)(?:\/\d+)?/iy;
  const NUMBER = /-?(?:0x[0-9a-f]+|\d+(?:\.\d+)?(?:e-?\d+)?)(?![\w-])/iy;
  const WORD = /[a-z_](?:[\w-]|\.(?!\.))*/iy;
  const SYNONYMS = { eq: "==", ne: "!=", le: "<=", ge: ">=", lt: "<", gt: ">", "~": "matches" };
  const ESCAPE = /\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|["'\\nrt])/g;
  const CONTROLS = { n: "\n", r: "\r", t: "\t" };

  const unescaped = (text) => text.replace(ESCAPE, (_, code) => (code.length > 1 ? String.fromCharCode(parseInt(code.slice(1), 16)) : (CONTROLS[code] ?? code)));
  const meant = (raw) => (/^r["']/.test(raw) ? raw.slice(2, -1) : unescaped(raw.slice(1, -1)));

  class Parser {
    constructor(text) {
      this.text = text;
      this.at = 0;
      this.depth = 0;
      this.space();
    }

    space() {
      while (/\s/.test(this.text[this.at] ?? "x")) this.at += 1;
    }

    /** What a pattern matches here, taken; null where it does not. */
    take(pattern) {
      pattern.lastIndex = this.at;
      const found = pattern.exec(this.text);
      if (!found) return null;
      const taken = { text: found[0], at: this.at };
      this.at = pattern.lastIndex;
      this.space();
      return taken;
    }

    sign(character) {
      if (this.text[this.at] !== character) return false;
      this.at += 1;
      this.space();
      return true;
    }

    expected(what) {
      const there = /^(?:[\w.:/-]+|\S)/.exec(this.text.slice(this.at));
      throw new Fault(`${what} is expected${there ? `, not '${there[0]}'` : ""}`, this.at);
    }

    deeper(parse) {
      this.depth += 1;
      if (this.depth > DEEPEST) throw new Fault(`more than ${DEEPEST} parentheses and 'not' are inside each other`, this.text.length);
      const found = parse();
      this.depth -= 1;
      return found;
    }

    whole() {
      const found = this.anyOf();
      if (this.at < this.text.length) this.expected("'and', 'or' or the end");
      return found;
    }

    anyOf() {
      const parts = [this.allOf()];
      while (this.take(OR)) parts.push(this.allOf());
      return parts.length === 1 ? parts[0] : { kind: "or", parts };
    }

    allOf() {
      const parts = [this.factor()];
      while (this.take(AND)) parts.push(this.factor());
      return parts.length === 1 ? parts[0] : { kind: "and", parts };
    }

    factor() {
      if (this.take(NOT)) return { kind: "not", part: this.deeper(() => this.factor()) };
      if (this.sign("(")) return this.closed(")");
      return this.comparison();
    }

    closed(sign) {
      const found = this.deeper(() => this.anyOf());
      if (!this.sign(sign)) this.expected(`'and', 'or' or '${sign}'`);
      return found;
    }

    comparison() {
      const name = this.take(WORD) ?? this.expected("a key of the record");
      const node = { kind: "comparison", name: name.text, at: name.at, element: null, operator: null, values: [], place: this.at };
      if (this.sign("[")) node.element = this.closed("]");
      node.place = this.at;
      const member = this.take(IN);
      if (member) {
        node.operator = "in";
        node.values = this.members();
        return /^not/i.test(member.text) ? { kind: "not", part: node } : node;
      }
      const operator = this.take(OPERATOR)?.text.toLowerCase();
      if (!operator) return node;
      node.operator = SYNONYMS[operator] ?? operator;
      node.values = [this.value()];
      return node;
    }

    members() {
      if (!this.sign("{")) return [this.value()];
      const found = [];
      do found.push(this.member());
      while (!this.closing());
      return found;
    }

    /** Past a comma, and whether the braces close. */
    closing() {
      this.sign(",");
      if (this.sign("}")) return true;
      if (this.at >= this.text.length) this.expected("another value or '}'");
      return false;
    }

    member() {
      const low = this.value();
      if (!this.text.startsWith("..", this.at)) return low;
      this.at += 2;
      this.space();
      return { low, high: this.value() };
    }

    value() {
      for (const [sort, pattern] of [["address", ADDRESS], ["string", STRING], ["number", NUMBER], ["word", WORD]]) {
        const found = this.take(pattern);
        if (found) return { sort, text: sort === "string" ? meant(found.text) : found.text, at: found.at };
      }
      if (/["']/.test(this.text[this.at] ?? "")) throw new Fault("a string does not end", this.at);
      return this.expected("a value");
    }
  }

  /** The tree of an expression; throws a Fault. */
  const parse = (text) => {
    if (text.length > LONGEST) throw new Fault(`it is longer than ${LONGEST} characters`, LONGEST);
    return new Parser(text).whole();
  };

  return { parse, Fault };
})();
