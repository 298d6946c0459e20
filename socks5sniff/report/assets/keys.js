// The keys of a record that an expression can name, each with its kind; the same table as the command line's.

const Keys = (() => {
  const NUMBER = { kind: "number" };
  const TEXT = { kind: "text" };
  const HOST = { kind: "host" };
  const ADDRESS = { kind: "address" };
  const TRUTH = { kind: "truth" };
  const TIME = { kind: "time" };
  const words = (...known) => ({ kind: "text", words: known });
  const object = (meant, inside) => ({ kind: "object", meant, inside });
  const list = (meant, inside) => ({ kind: "object", many: true, meant, inside });
  const each = (names, key) => Object.fromEntries(names.map((name) => [name, key]));

  const side = words("client", "proxy");
  const endpoint = object("address", { address: ADDRESS, port: NUMBER });
  const target = object("host", { type: words("ipv4", "ipv6", "domain"), host: HOST, port: NUMBER });
  const reply = object("code", { code: NUMBER, name: TEXT });

  const RECORD = object(null, {
    id: NUMBER,
    parent: NUMBER,
    capture: TEXT,
    protocol: words("socks5", "socks4", "socks4a"),
    client: endpoint,
    proxy: endpoint,
    reversed: TRUTH,
    start: TIME,
    end: TIME,
    duration: NUMBER,
    phase: words("greeting", "authentication", "request", "relay"),
    outcome: words("succeeded", "rejected", "auth-failed", "no-acceptable-method", "incomplete", "malformed"),
    methods: { kind: "text", many: true },
    method: TEXT,
    username: TEXT,
    password: TEXT,
    authenticated: TRUTH,
    command: TEXT,
    destination: target,
    reply,
    bound: target,
    peer_reply: reply,
    peer: target,
    tunnel: object("protocol", { protocol: TEXT, server_name: HOST, alpn: { kind: "text", many: true }, detail: TEXT }),
    bytes: object(null, { sent: NUMBER, received: NUMBER }),
    udp: object(null, {
      ...each(["datagrams_sent", "datagrams_received", "bytes_sent", "bytes_received", "fragments"], NUMBER),
      destinations: list("host", { host: HOST, port: NUMBER, datagrams_sent: NUMBER, datagrams_received: NUMBER, dns: TEXT, server_name: HOST, quic: TEXT }),
    }),
    timing: object(null, each(["tcp_handshake", "negotiation", "authentication", "request", "first_byte", "upstream_handshake"], NUMBER)),
    close: words("reset", "fin", "open"),
    closed_by: side,
    packets: NUMBER,
    tcp_stream: NUMBER,
    community_id: TEXT,
    name_resolution: words("remote", "local", "address"),
    first_frame: NUMBER,
    last_frame: NUMBER,
    frames: list("type", {
      frame: NUMBER,
      time: TIME,
      sender: side,
      type: words("greeting", "method-selection", "auth-request", "auth-reply", "gssapi", "request", "reply", "udp"),
      length: NUMBER,
      summary: TEXT,
    }),
    anomalies: list("code", { code: TEXT, severity: words("note", "warning", "error"), frame: NUMBER, message: TEXT }),
    upstream: object(null, {
      source: endpoint,
      destination: endpoint,
      matched_by: words("bound-address", "destination-and-time", "octets"),
      outcome: words("established", "refused", "unanswered"),
    }),
    proxy_header: object(null, { version: NUMBER, source: endpoint, destination: endpoint, length: NUMBER }),
    network: TEXT,
    process: object("name", { pid: NUMBER, name: TEXT, container: TEXT }),
    interim: TRUTH,
  });

  /** Every name inside a key, those of inner keys with dots. */
  const names = (key, prefix = "") => Object.entries(key.inside ?? {}).flatMap(([name, inner]) => [prefix + name, ...names(inner, prefix + name + ".")]);

  return { RECORD, names };
})();
