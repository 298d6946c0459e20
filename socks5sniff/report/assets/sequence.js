// What happened in a conversation, in the order of frames: the lines of its ladder as plain values.

const Sequence = (() => {
  const say = (...words) => Languages.say(...words);
  const LATER = 1e6;

  /** Rows of the conversations inside a row's tunnel. */
  const children = (store, row) => {
    if (store.childrenVersion !== store.version) {
      store.childrenVersion = store.version;
      store.children = new Map();
      const parents = store.columns.get("parent");
      for (let each = 0; each < store.rows; each += 1) {
        if (Number.isNaN(parents[each])) continue;
        if (!store.children.has(parents[each])) store.children.set(parents[each], []);
        store.children.get(parents[each]).push(each);
      }
    }
    return store.children.get(store.value("id", row)) ?? [];
  };

  /** Datagrams in a row become one event. */
  const folded = (frames) => {
    const found = [];
    for (const frame of frames) {
      const last = found.at(-1);
      if (frame.type === "udp" && last?.datagrams) last.datagrams.push(frame);
      else found.push(frame.type === "udp" ? { datagrams: [frame], frame: frame.frame, time: frame.time } : frame);
    }
    return found;
  };

  const parties = (datagrams) => new Set(datagrams.map((each) => each.summary.replace(/^UDP (?:to|from) /, "").replace(/, \d+ octets.*$/s, ""))).size;

  class Ladder {
    constructor(store, row) {
      this.store = store;
      this.origin = store.start(row);
      this.lifelines = [];
      this.events = [];
      this.add(row, null);
      this.events.sort((a, b) => a.frame - b.frame || a.rank - b.rank);
    }

    lifeline(role, name, dashed) {
      return this.lifelines.push({ role, name, dashed }) - 1;
    }

    /** A row's events, and those of the conversations inside its tunnel. */
    add(row, outer) {
      const { store } = this;
      const upstream = store.parsed("upstream", row);
      const target = this.target(row);
      const from = outer ? outer[0] : this.lifeline("client", store.endpoint("client", row));
      const via = outer ? outer[1] : this.lifeline("proxy", store.value("parent", row) === null ? store.endpoint("proxy", row) : this.parentTarget(row));
      const to = target === null ? null : this.lifeline("destination", target, upstream === null);
      new Events(this, row, [from, via, to], upstream, outer !== null).tell();
      for (const child of children(store, row)) this.add(child, [from, to ?? via]);
    }

    /** Where it leads: what was asked for, or of an association whom its datagrams went to; null for nowhere. */
    target(row) {
      const parties = this.store.entries("udp.destinations", row);
      if (parties.length === 1) return Text.endpoint(parties[0].host, parties[0].port);
      if (parties.length > 1) return say("destinations of datagrams", parties.length);
      return this.store.endpoint("destination", row);
    }

    /** The proxy of a conversation inside a tunnel is what the tunnel leads to. */
    parentTarget(row) {
      const { store } = this;
      const at = rowOf(store, store.value("parent", row));
      return at === null ? store.endpoint("proxy", row) : (store.endpoint("destination", at) ?? store.endpoint("proxy", row));
    }
  }

  class Events {
    constructor(ladder, row, lines, upstream, inner) {
      this.ladder = ladder;
      this.store = ladder.store;
      this.row = row;
      [this.client, this.proxy, this.target] = lines;
      this.upstream = upstream;
      this.inner = inner;
      this.shift = (this.store.start(row) - ladder.origin) / 1000;
      this.frame = this.value("first_frame");
      this.anomalies = this.store.entries("anomalies", row);
    }

    value(name) {
      return this.store.value(name, this.row);
    }

    /** One line: between lifelines `from` and `to`, at `time` (seconds after the conversation's start, null unknown). */
    event(kind, from, to, time, text, more = {}) {
      const { events } = this.ladder;
      this.frame = more.frame ?? this.frame;
      const { rank = events.length } = more;
      const made = { kind, from, to, text, time: time === null ? null : time + this.shift, frame: this.frame, shown: more.frame ?? null, rank, id: this.value("id"), anomalies: [] };
      if (more.frame !== undefined) {
        made.anomalies = this.anomalies.filter((each) => each.frame === more.frame && !each.told);
        for (const each of made.anomalies) each.told = true;
      }
      events.push(made);
      return made;
    }

    tell() {
      this.handshake();
      const frames = folded(this.store.entries("frames", this.row));
      const last = frames.findLast((frame) => frame.type === "reply");
      for (const frame of frames) {
        if (frame.type === "reply") this.leg();
        this.told(frame);
        if (frame.type === "reply" && frame === last) this.tunnel();
      }
      this.leg(); // where no reply came
      this.datagrams(frames);
      this.carried();
      if (!this.inner && this.value("parent") === null) this.close();
      this.leftOver();
    }

    handshake() {
      const took = this.value("timing.tcp_handshake");
      const header = this.store.parsed("proxy_header", this.row);
      const [opener, other] = this.value("reversed") ? [this.proxy, this.client] : [this.client, this.proxy];
      if (took !== null && !this.inner) {
        this.event("tcp", opener, other, 0, "SYN", { frame: this.value("first_frame") });
        this.event("tcp", other, opener, took, "SYN, ACK");
      }
      if (header !== null) this.event("frame", this.client, this.proxy, null, `PROXY ${header.version}: ${ends(header.source)} → ${ends(header.destination)}`);
    }

    told(frame) {
      if (frame.datagrams) return this.fold(frame.datagrams);
      const [from, to] = frame.sender === "client" ? [this.client, this.proxy] : [this.proxy, this.client];
      return this.event(frame.type === "reply" ? "reply" : "frame", from, to, frame.time / 1e9, frame.summary, { frame: frame.frame });
    }

    fold(datagrams) {
      const [first] = datagrams;
      const sides = new Set(datagrams.map((each) => each.sender));
      const far = this.target ?? this.proxy;
      const [from, to] = first.sender === "client" ? [this.client, far] : [far, this.client];
      const text = datagrams.length === 1 ? first.summary : say("datagrams with", datagrams.length, parties(datagrams));
      this.event(sides.size > 1 ? "both" : "through", from, to, first.time / 1e9, text, { frame: first.frame });
      const frames = new Set(datagrams.map((each) => each.frame));
      const made = this.ladder.events.at(-1);
      made.anomalies = this.anomalies.filter((each) => frames.has(each.frame));
      for (const each of made.anomalies) each.told = true;
    }

    /** The proxy's own connection to the destination. */
    leg() {
      if (this.upstream === null || this.legTold || this.target === null) return;
      this.legTold = true;
      const { source, destination, outcome } = this.upstream;
      const took = this.value("timing.upstream_handshake");
      const text = say("own leg", ends(source), ends(destination), outcome) + (took === null ? "" : ", " + Text.seconds(took));
      this.event(outcome === "established" ? "leg" : "failed", this.proxy, this.target, null, text);
    }

    /** The first octets through the relay. */
    tunnel() {
      if (this.target === null || this.value("outcome") !== "succeeded" || children(this.store, this.row).length) return;
      const protocol = this.value("tunnel.protocol");
      const named = [protocol, this.value("tunnel.server_name"), this.value("tunnel.detail")].filter(Boolean);
      if (protocol !== null && protocol !== "unknown") this.event("through", this.client, this.target, null, named.join(" · "));
      const after = this.value("timing.first_byte");
      const first = this.store.entries("frames", this.row).find((frame) => frame.type === "reply");
      if (after !== null) this.event("through", this.target, this.client, first.time / 1e9 + after, say("first octet"));
    }

    /** Datagrams that the record counts without listing them. */
    datagrams(frames) {
      const sent = this.value("udp.datagrams_sent");
      if (sent === null || frames.some((frame) => frame.datagrams)) return;
      const received = this.value("udp.datagrams_received");
      const destinations = this.store.entries("udp.destinations", this.row);
      if (sent + received) this.event("both", this.client, this.target ?? this.proxy, null, say("datagrams between", sent, received, destinations.length));
    }

    carried() {
      const [sent, received] = [this.value("bytes.sent"), this.value("bytes.received")];
      if (sent === null || this.target === null || !(sent || received)) return;
      const made = this.event("note", this.client, this.target, null, say("octets through", Text.number(sent), Text.number(received)));
      if (!children(this.store, this.row).length) return;
      made.frame = this.value("last_frame");
      made.rank = LATER - this.target; // the totals of an inner tunnel come first
    }

    close() {
      const [how, by] = [this.value("close"), this.value("closed_by")];
      const frame = { frame: this.value("last_frame") };
      const [from, to] = by === "proxy" ? [this.proxy, this.client] : [this.client, this.proxy];
      const time = this.value("duration");
      frame.rank = 2 * LATER;
      if (how === "open") this.event("note", this.client, this.proxy, time, say("still open"), frame);
      else if (by === null) this.event("note", this.client, this.proxy, time, how === "reset" ? "RST" : "FIN", frame);
      else this.event("tcp", from, to, time, say("closed by", how === "reset" ? "RST" : "FIN", say(by)), frame);
    }

    /** Anomalies on frames that have no line of their own. */
    leftOver() {
      for (const each of this.anomalies) {
        if (each.told) continue;
        this.event("note", this.client, this.proxy, null, each.code, { frame: each.frame });
      }
    }
  }

  const ends = (endpoint) => (endpoint ? Text.endpoint(endpoint.address, endpoint.port) : "?");

  /** The row of a conversation's id, null where the page does not hold it. */
  const rowOf = (store, id) => {
    const ids = store.columns.get("id");
    for (let row = 0; row < store.rows; row += 1) if (ids[row] === id) return row;
    return null;
  };

  /** Lifelines and events of a row. */
  const of = (store, row) => new Ladder(store, row);

  return { of, rowOf, children };
})();
