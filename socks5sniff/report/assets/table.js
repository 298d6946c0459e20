// The table of conversations: only the rows in sight are elements, so that 100,000 scroll.

const Table = (() => {
  const { element, filled } = Text;
  const HEIGHT = 28;
  const SPARE = 8;
  const PRINTED = 500;
  const collator = new Intl.Collator("en", { numeric: true });

  const result = (store, row) => {
    const outcome = store.value("outcome", row);
    const reply = store.value("reply.name", row);
    if (outcome === "rejected" && reply) return `rejected: ${reply}`;
    return outcome === "incomplete" ? `incomplete: ${ended(store, row)}` : outcome;
  };

  /** Who ended a conversation without a verdict, and in which step. */
  const ended = (store, row) => {
    const phase = store.value("phase", row);
    if (phase === null) return "no handshake";
    const how = { fin: "closed", reset: "reset", open: "still open" }[store.value("close", row)];
    const by = store.value("closed_by", row);
    const half = store.value("anomalies", row) ? store.entries("anomalies", row).find((entry) => entry.code === "half-frame") : undefined;
    const frame = half?.message.split(" of ").slice(1).join(" of "); // "the proxy closed after 4 octets of its reply"
    return how + (by ? ` by ${by}` : "") + (frame ? ` after half of ${frame}` : ` in ${phase}`);
  };

  const time = (store, row, withDate) => Text.time(store.columns.get("start.seconds")[row] * 1000, store.columns.get("start.nanoseconds")[row], 3, withDate);
  const sent = (which) => (store, row) => {
    const udp = store.value("udp.datagrams_sent", row) !== null;
    return store.value((udp ? "udp.bytes_" : "bytes.") + which, row);
  };
  const process = (store, row) => {
    const found = store.parsed("process", row);
    return found === null ? null : `${found.name}[${found.pid}]`;
  };
  const tunnel = (store, row) => [store.value("tunnel.protocol", row), store.value("tunnel.server_name", row)].filter(Boolean).join(" ");
  const anomalies = (store, row) => store.entries("anomalies", row).map((entry) => entry.code);

  /**
   * Name, width in px, and how the cell is shown; `number` cells stand right, `by` is what they are sorted by. What
   * `grows` takes the room that is left, what `shrinks` leaves some to others on a narrow screen.
   */
  const COLUMNS = [
    { name: "id", width: 64, number: true, show: (s, r) => String(s.value("id", r)) },
    { name: "start", width: 108, show: time, by: (s, r) => s.start(r), number: false },
    { name: "result", width: 312, shrinks: true, show: result },
    { name: "destination", width: 230, grows: true, show: (s, r) => s.endpoint("destination", r) },
    { name: "client", width: 156, show: (s, r) => s.endpoint("client", r) },
    { name: "process", width: 120, show: process, has: (s) => s.columns.get("process").some((place) => place) },
    { name: "user", width: 96, show: (s, r) => s.value("username", r), has: (s) => s.columns.get("username").some((place) => place) },
    { name: "proxy", width: 146, show: (s, r) => s.endpoint("proxy", r) },
    { name: "command", width: 104, show: (s, r) => s.value("command", r) },
    { name: "tunnel", width: 170, show: tunnel },
    { name: "sent", width: 76, number: true, show: (s, r) => Text.octets(sent("sent")(s, r)), by: sent("sent") },
    { name: "received", width: 82, number: true, show: (s, r) => Text.octets(sent("received")(s, r)), by: sent("received") },
    { name: "request", width: 84, number: true, show: (s, r) => Text.seconds(s.value("timing.request", r)), by: (s, r) => s.value("timing.request", r) },
    { name: "duration", width: 84, number: true, show: (s, r) => Text.seconds(s.value("duration", r)), by: (s, r) => s.value("duration", r) },
    { name: "anomalies", width: 220, show: (s, r) => anomalies(s, r).join(", "), by: (s, r) => s.value("anomalies", r) },
  ];

  /** Rows in the order of a column; rows without a value come last, whichever way. */
  const sorted = (store, rows, column, down) => {
    const by = column.by ?? (column.number ? (s, r) => s.value(column.name, r) : column.show);
    const values = Array.from(rows, (row) => by(store, row));
    if (values.some((value) => typeof value === "string")) {
      const ranks = new Map([...new Set(values)].filter((value) => value !== null && value !== "").sort(collator.compare).map((value, rank) => [value, rank]));
      for (let at = 0; at < values.length; at += 1) values[at] = ranks.get(values[at]) ?? null;
    }
    const keys = Float64Array.from(values, (value) => (value === null ? Infinity : down ? -value : value));
    const order = Uint32Array.from(rows.keys()).sort((a, b) => (keys[a] === keys[b] ? a - b : keys[a] - keys[b]));
    return order.map((at) => rows[at]);
  };

  class Table {
    /** `open` is called with a row when one is chosen. */
    constructor(host, store, open) {
      this.host = host;
      this.store = store;
      this.open = open;
      this.rows = new Uint32Array(0);
      this.order = { name: "id", down: false };
      this.current = 0;
      this.elements = new Map();
      this.build();
    }

    build() {
      this.columns = COLUMNS.filter((column) => !column.has || column.has(this.store));
      this.head = element("div", { role: "row", class: "row head", "aria-rowindex": 1 });
      this.body = element("div", { role: "rowgroup", class: "body" });
      this.grid = element(
        "div",
        { role: "grid", class: "grid", tabindex: 0, "aria-label": Languages.say("conversations"), onkeydown: (event) => this.key(event), onscroll: () => this.draw() },
        element("div", { role: "rowgroup", class: "heads" }, this.head),
        this.body,
      );
      filled(this.host, this.grid);
      this.drawHead();
      new ResizeObserver(() => this.draw()).observe(this.grid);
    }

    drawHead() {
      const { name, down } = this.order;
      const several = new Set(Array.from(this.store.rows ? [0, this.store.rows - 1] : [], (row) => Text.time(this.store.start(row), 0, 0).slice(0, 10))).size > 1;
      this.withDate = several;
      const widths = this.columns.map(({ name: column, width, grows, shrinks }) =>
        grows ? `minmax(${width}px, 1fr)` : shrinks ? `min(${width}px, 48vw)` : column === "start" && several ? "190px" : width + "px",
      );
      this.grid.style.setProperty("--columns", widths.join(" "));
      this.grid.style.setProperty("--width", this.columns.reduce((sum, { width }) => sum + width, several ? 82 : 0) + "px");
      filled(
        this.head,
        this.columns.map((column, index) =>
          element(
            "div",
            { role: "columnheader", class: column.number ? "number" : "", "aria-colindex": index + 1, "aria-sort": column.name === name ? (down ? "descending" : "ascending") : "none" },
            element("button", { type: "button", title: Languages.say("sort"), onclick: () => this.sort(column.name) }, Languages.say("column " + column.name)),
          ),
        ),
      );
    }

    /** Sort by a column, or the other way round when it is sorted by that already. */
    sort(name) {
      this.order = { name, down: this.order.name === name ? !this.order.down : false };
      this.show(this.unsorted);
    }

    /** Show these rows of the store, sorted; `stay` keeps the place. */
    show(rows, stay = false) {
      this.unsorted = rows;
      const { name, down } = this.order;
      this.rows = name === "id" && !down ? rows : sorted(this.store, rows, this.columns.find((column) => column.name === name), down);
      this.current = Math.min(this.current, Math.max(this.rows.length - 1, 0));
      this.body.style.height = this.rows.length * HEIGHT + "px";
      this.grid.setAttribute("aria-rowcount", this.rows.length + 1);
      if (!stay) this.grid.scrollTop = 0;
      this.drawHead();
      this.redraw();
    }

    redraw() {
      for (const node of this.elements.values()) node.remove();
      this.elements.clear();
      this.draw();
    }

    draw() {
      const { scrollTop, clientHeight } = this.grid;
      const first = Math.max(Math.floor(scrollTop / HEIGHT) - SPARE, 0);
      const last = Math.min(Math.ceil((scrollTop + clientHeight) / HEIGHT) + SPARE, this.rows.length);
      this.drawRows(first, last);
    }

    drawRows(first, last) {
      for (const [at, node] of this.elements) {
        if (at >= first && at < last) continue;
        node.remove();
        this.elements.delete(at);
      }
      for (let at = first; at < last; at += 1) if (!this.elements.has(at)) this.elements.set(at, this.body.appendChild(this.rowElement(at)));
    }

    rowElement(at) {
      const row = this.rows[at];
      const node = element(
        "div",
        { role: "row", class: "row" + (at === this.current ? " current" : ""), id: "row-" + at, "aria-rowindex": at + 2, onclick: () => this.choose(at) },
        this.columns.map((column, index) => this.cell(column, row, index)),
      );
      node.style.top = at * HEIGHT + "px";
      return node;
    }

    cell(column, row, index) {
      const text = column.show(this.store, row, this.withDate) ?? "";
      const cell = element("div", { role: "gridcell", class: column.number ? "number" : "", "aria-colindex": index + 1, title: text.length > 14 ? text : null });
      if (column.name === "result") cell.append(element("span", { class: "dot " + this.store.value("outcome", row) }));
      cell.append(Text.visible(text));
      return cell;
    }

    choose(at) {
      this.move(at);
      this.open(this.rows[at]);
    }

    move(to) {
      const before = this.elements.get(this.current);
      before?.classList.remove("current");
      this.current = Math.min(Math.max(to, 0), Math.max(this.rows.length - 1, 0));
      const top = this.current * HEIGHT;
      const room = this.grid.clientHeight - this.head.offsetHeight;
      if (top < this.grid.scrollTop) this.grid.scrollTop = top;
      else if (top + HEIGHT > this.grid.scrollTop + room) this.grid.scrollTop = top + HEIGHT - room;
      this.draw();
      this.elements.get(this.current)?.classList.add("current");
      this.grid.setAttribute("aria-activedescendant", "row-" + this.current);
    }

    key(event) {
      if (event.target !== this.grid || event.ctrlKey || event.metaKey || event.altKey) return;
      const page = Math.max(Math.floor(this.grid.clientHeight / HEIGHT) - 2, 1);
      const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
      if (event.key in moves) this.move(this.current + moves[event.key]);
      else if (event.key === "Enter" && this.rows.length) this.open(this.rows[this.current]);
      else return;
      event.preventDefault();
    }

    /** Before printing, as many rows as are reasonable on paper. */
    print() {
      this.drawRows(0, Math.min(this.rows.length, PRINTED));
    }
  }

  return { Table, result };
})();
