// Counts of the rows that a filter lets through, and of those that the page does not hold.

const Figures = (() => {
  const STEPS = ["tcp_handshake", "negotiation", "authentication", "request", "first_byte", "upstream_handshake"];
  const OUTCOMES = ["succeeded", "rejected", "auth-failed", "no-acceptable-method", "incomplete", "malformed"];
  const GROUPS = ["outcome", "proxy", "client", "user", "destination", "anomaly"];

  /** Octets from and to the client; of a conversation inside another's tunnel none, as they count there. */
  const octets = (store, row) => {
    if (store.value("parent", row) !== null) return [0, 0];
    const udp = store.value("udp.datagrams_sent", row) !== null;
    const name = udp ? "udp.bytes_" : "bytes.";
    return [store.value(name + "sent", row) ?? 0, store.value(name + "received", row) ?? 0];
  };

  /** What names of a group a row counts for: numbers that stand for them, and the name of such a number. */
  const grouping = (store, group) => {
    const word = (name) => {
      const column = store.columns.get(name);
      return { keys: (row) => (column[row] ? [column[row]] : []), name: (key) => store.words[key - 1] };
    };
    const endpoint = (host, port) => {
      const [hosts, ports] = [store.columns.get(host), store.columns.get(port)];
      return {
        keys: (row) => (hosts[row] ? [hosts[row] * 65536 + (ports[row] || 0)] : []),
        name: (key) => Text.endpoint(store.words[Math.floor(key / 65536) - 1], key % 65536),
      };
    };
    if (group === "outcome") return word("outcome");
    if (group === "client") return word("client.address");
    if (group === "user") return word("username");
    if (group === "proxy") return endpoint("proxy.address", "proxy.port");
    if (group === "destination") return endpoint("destination.host", "destination.port");
    const codes = store.columns.get("anomalies.code");
    const begins = store.beginnings("anomalies");
    return { keys: (row) => (begins[row] === begins[row + 1] ? [] : [...new Set(codes.subarray(begins[row], begins[row + 1]))]), name: (key) => store.words[key - 1] };
  };

  /** Conversations and octets by name, most first; the name null stands for others. */
  const counted = (store, rows, group, totals, rest) => {
    const { keys, name } = grouping(store, group);
    const counts = new Map();
    for (let at = 0; at < rows.length; at += 1) {
      for (const key of keys(rows[at])) {
        const entry = counts.get(key);
        if (entry) {
          entry.count += 1;
          entry.octets += totals[at];
        } else counts.set(key, { count: 1, octets: totals[at] });
      }
    }
    const named = new Map([...counts].map(([key, entry]) => [name(key), { name: name(key), ...entry }]));
    for (const [more, count, size] of rest?.groups[group] ?? []) {
      const entry = named.get(more) ?? { name: more, count: 0, octets: 0 };
      named.set(more, { name: more, count: entry.count + count, octets: entry.octets + size });
    }
    return [...named.values()].sort((a, b) => b.count - a.count || b.octets - a.octets);
  };

  /** Values of a step in seconds, ascending, each with how often it came; null where there is none. */
  const stepped = (store, rows, step, rest) => {
    const column = store.columns.get("timing." + step);
    const values = new Float64Array(rows.length);
    let count = 0;
    for (const row of rows) if (!Number.isNaN(column[row])) values[count++] = column[row];
    const sorted = values.subarray(0, count).sort();
    const more = rest?.steps[step] ?? [];
    if (!count && !more.length) return null;
    if (!more.length) return { values: sorted, weights: null, count };
    const pairs = [...Array.from(sorted, (value) => [value, 1]), ...more.map(([time, times]) => [time / 1e9, times])].sort((a, b) => a[0] - b[0]);
    return { values: Float64Array.from(pairs, ([value]) => value), weights: pairs.map(([, weight]) => weight), count: pairs.reduce((sum, [, weight]) => sum + weight, 0) };
  };

  /** A quantile with linear interpolation; of weighted values the one at that place. */
  const quantile = ({ values, weights, count }, share) => {
    const place = share * (count - 1);
    if (!weights) {
      const low = Math.floor(place);
      return values[low] + ((values[low + 1] ?? values[low]) - values[low]) * (place - low);
    }
    let seen = 0;
    for (let at = 0; at < values.length; at += 1) if ((seen += weights[at]) > place) return values[at];
    return values[values.length - 1];
  };

  /** When the first conversation started and the last one ended, in ms since 1970; null when there is none. */
  const span = (store, rest) => {
    const durations = store.columns.get("duration");
    let [first, last] = rest ? [rest.first, rest.last] : [Infinity, -Infinity];
    for (let row = 0; row < store.rows; row += 1) {
      const start = store.start(row);
      first = Math.min(first, start);
      last = Math.max(last, start + (durations[row] || 0) * 1000);
    }
    return first <= last ? [first, last] : null;
  };

  /** All that the page shows of these rows. */
  const of = (store, rows, rest) => {
    const totals = new Float64Array(rows.length);
    const figures = { conversations: rows.length, sent: 0, received: 0, groups: {}, steps: {} };
    for (let at = 0; at < rows.length; at += 1) {
      const [sent, received] = octets(store, rows[at]);
      totals[at] = sent + received;
      figures.sent += sent;
      figures.received += received;
    }
    if (rest) {
      figures.conversations += rest.conversations;
      figures.sent += rest.sent;
      figures.received += rest.received;
    }
    for (const group of GROUPS) figures.groups[group] = counted(store, rows, group, totals, rest);
    for (const step of STEPS) figures.steps[step] = store.has("timing." + step) ? stepped(store, rows, step, rest) : null;
    return figures;
  };

  /** Conversations by time and outcome: the begin of each span in seconds, and for each outcome its counts. */
  const overTime = (store, rows, rest, spans) => {
    let [first, last] = [Infinity, -Infinity];
    const look = (time) => {
      first = Math.min(first, time);
      last = Math.max(last, time);
    };
    for (const row of rows) look(store.start(row));
    for (const [begin] of rest?.spans ?? []) look(begin);
    if (first > last) return null;
    const width = Math.max((last - first) / (spans - 0.5), 0.001); // the last one lies within the last span
    const place = (time) => Math.min(Math.floor((time - first) / width), spans - 1);
    const outcomes = new Map(OUTCOMES.map((outcome) => [outcome, new Float64Array(spans)]));
    const add = (outcome, time, count) => {
      if (!outcomes.has(outcome)) outcomes.set(outcome, new Float64Array(spans));
      outcomes.get(outcome)[place(time)] += count;
    };
    const places = store.columns.get("outcome");
    for (const row of rows) add(store.words[places[row] - 1], store.start(row), 1);
    for (const [begin, outcome, count] of rest?.spans ?? []) add(outcome, begin, count);
    const begins = Float64Array.from({ length: spans }, (_, at) => (first + at * width) / 1000);
    return { begins, width: width / 1000, outcomes };
  };

  return { of, span, overTime, quantile, octets, STEPS, OUTCOMES };
})();
