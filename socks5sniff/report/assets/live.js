// Conversations from the server that the page came from, as server-sent events.

const Live = (() => {
  const HELD = 50000;
  const CUT = 10000;

  class Live {
    /** `changed` is called after each event with its kind. */
    constructor(store, changed) {
      this.store = store;
      this.changed = changed;
      this.open = [];
      this.opened = 0;
      this.rates = new Map();
      this.health = null;
      this.besides = {};
      this.missed = 0;
      this.after = null;
      this.connect();
    }

    connect() {
      this.state = "connecting";
      this.source = new EventSource(this.after === null ? "events" : "events?after=" + encodeURIComponent(this.after));
      const listen = (kind, take) =>
        this.source.addEventListener(kind, (event) => {
          if (event.lastEventId) this.after = event.lastEventId;
          take(JSON.parse(event.data));
          this.changed(kind);
        });
      this.source.onopen = () => this.become("connected");
      this.source.onerror = () => this.become(this.state === "ended" ? "ended" : "lost");
      listen("records", (records) => this.take(records));
      listen("current", (state) => this.measure(state));
      listen("health", (health) => (this.health = health));
      listen("besides", (besides) => (this.besides = besides));
      listen("missed", (missed) => (this.missed += missed.conversations));
      listen("end", () => this.finish());
    }

    become(state) {
      this.state = state;
      this.changed("state");
    }

    take(records) {
      for (const record of records) this.store.push(record);
      if (this.store.rows > HELD) this.store.drop(CUT + this.store.rows - HELD);
    }

    /** Open conversations with their rates, out of this list and the one before. */
    measure({ time, count, conversations }) {
      const rates = new Map();
      for (const each of conversations) {
        const key = each.tcp_stream + " " + each.first_frame;
        const octets = each.udp ? { sent: each.udp.bytes_sent, received: each.udp.bytes_received } : (each.bytes ?? { sent: 0, received: 0 });
        const before = this.rates.get(key);
        const seconds = before ? time - before.time : 0;
        each.rate = seconds > 0 ? { sent: Math.max(octets.sent - before.sent, 0) / seconds, received: Math.max(octets.received - before.received, 0) / seconds } : { sent: 0, received: 0 };
        rates.set(key, { time, ...octets });
      }
      this.rates = rates;
      this.opened = count;
      this.open = conversations.sort((a, b) => b.rate.sent + b.rate.received - a.rate.sent - a.rate.received || b.id - a.id);
    }

    /** Stop listening; what comes meanwhile is asked for when it goes on, as far as the server keeps it. */
    pause() {
      this.source.close();
      this.become("paused");
    }

    resume() {
      this.connect();
      this.changed("state");
    }

    finish() {
      this.source.close();
      this.state = "ended";
    }
  }

  return { Live };
})();
