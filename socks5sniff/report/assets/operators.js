// What an operator asks of one value: addresses in networks, texts, numbers, times.

const Operators = (() => {
  const { Fault } = Syntax;
  const KINDS = { number: "a number", text: "text", host: "an address or a host name", address: "an address", truth: "true or false", time: "a time", object: "no value of its own" };
  const ORDER = { "==": (a, b) => a === b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b };
  const TIME = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?Z?)?$/;

  const isHost = (key) => key.kind === "host" || key.kind === "address";
  const folded = (text) => text.toLowerCase();

  /** -1, 0 or 1 of two addresses in text; null where they are not of one kind. */
  const compared = (one, other) => {
    const [a, b] = [Networks.octets(one), Networks.octets(other)];
    if (!a || !b || a.length !== b.length) return null;
    for (let at = 0; at < a.length; at += 1) if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
    return 0;
  };

  /** Nanoseconds since 1970 of `2026-11-22`, `2026-11-22 08:39` and so on; UTC. */
  const time = (literal) => {
    const found = TIME.exec(literal.text);
    const parts = found?.slice(1, 7).map((part) => Number(part ?? 0));
    const date = found && new Date(Date.UTC(parts[0], parts[1] - 1, parts[2], parts[3], parts[4], parts[5]));
    const same = date && date.getUTCMonth() === parts[1] - 1 && date.getUTCDate() === parts[2] && date.getUTCHours() === parts[3] && date.getUTCMinutes() === parts[4];
    if (!same) throw new Fault(`a time is expected, "2026-11-22T08:39:01.5Z" or less of it`, literal.at);
    return BigInt(date.getTime()) * 1000000n + BigInt((found[7] ?? "").padEnd(9, "0"));
  };

  /** A literal as a value of a number, text, truth or time. */
  const understood = (key, literal) => {
    const { text } = literal;
    if (key.kind === "number") {
      if (literal.sort !== "number") throw new Fault(`a number is expected, not '${text}'`, literal.at);
      return text.startsWith("-0x") ? -Number(text.slice(1)) : Number(text);
    }
    if (key.kind === "truth") {
      if (!/^(true|false)$/i.test(text)) throw new Fault(`true or false is expected, not '${text}'`, literal.at);
      return folded(text) === "true";
    }
    if (key.kind === "time") return time(literal);
    if (key.words && !key.words.includes(text)) throw new Fault(`it never is '${text}'; there is ${key.words.join(", ")}`, literal.at);
    return text;
  };

  const address = (literal) => {
    if (!Networks.octets(literal.text)) throw new Fault(`an address is expected, not '${literal.text}'`, literal.at);
    return literal.text;
  };

  /** The test of being an address, in a network, or a name. */
  const same = (key, literal) => {
    const network = Networks.network(literal.text);
    if (network) return network;
    if (key.kind === "address" || literal.sort === "address") throw new Fault(`an address or a network is expected, not '${literal.text}'`, literal.at);
    const wanted = folded(literal.text);
    return (value) => folded(value) === wanted;
  };

  const hosts = (key, operator, literal) => {
    if (operator === "==") return same(key, literal);
    const wanted = address(literal);
    return (value) => {
      const order = compared(value, wanted);
      return order !== null && ORDER[operator](order, 0);
    };
  };

  const pattern = (literal) => {
    for (const flags of ["iu", "i"]) {
      try {
        return new RegExp(literal.text, flags);
      } catch {
        continue;
      }
    }
    throw new Fault("the pattern is wrong", literal.at);
  };

  const textual = (key, operator, literal, place) => {
    if (key.kind !== "text" && !isHost(key)) throw new Fault(`'${operator}' looks into text, and this is ${KINDS[key.kind]}`, place);
    if (operator === "matches") {
      const found = pattern(literal);
      return (value) => found.test(value);
    }
    const part = key.kind === "host" ? folded(literal.text) : literal.text;
    return key.kind === "host" ? (value) => folded(value).includes(part) : (value) => value.includes(part);
  };

  /** The test of a value by an operator (any but `in` and `!=`) and a literal. */
  const test = (key, operator, literal, place) => {
    if (operator === "contains" || operator === "matches") return textual(key, operator, literal, place);
    if (isHost(key)) return hosts(key, operator, literal);
    if ((key.kind === "text" || key.kind === "truth") && operator !== "==") throw new Fault(`${KINDS[key.kind]} has no order: == and != compare it`, place);
    const wanted = understood(key, literal);
    const compare = ORDER[operator];
    return (value) => compare(value, wanted);
  };

  const range = (key, { low, high }) => {
    if (isHost(key)) {
      const [first, last] = [address(low), address(high)];
      if (compared(first, last) === null) throw new Fault("the two ends are addresses of different kinds", high.at);
      return (value) => compared(value, first) >= 0 && compared(value, last) <= 0 && compared(value, first) !== null;
    }
    if (key.kind !== "number" && key.kind !== "time") throw new Fault(`${KINDS[key.kind]} has no ranges`, low.at);
    const [first, last] = [understood(key, low), understood(key, high)];
    return (value) => first <= value && value <= last;
  };

  /** The test of being one of the members, or in one that is a range or a network. */
  const member = (key, members) => {
    const tests = members.map((each) => (each.low ? range(key, each) : test(key, "==", each, each.at)));
    return (value) => tests.some((each) => each(value));
  };

  /** The test of two values of a record. */
  const pair = (operator) => (left, right) => {
    if (typeof left !== "string") return ORDER[operator](left, right);
    const order = compared(left, right);
    if (order !== null) return ORDER[operator](order, 0);
    return ORDER[operator](folded(left), folded(right));
  };

  return { test, member, pair, KINDS };
})();
