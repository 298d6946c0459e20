// Community ID, version 1 with seed 0, of a connection: what the data leaves out because the endpoints tell it.

const Community = (() => {
  const TCP = 6;
  const rotated = (word, bits) => (word << bits) | (word >>> (32 - bits));

  /** SHA-1 of fewer than 56 octets, as 20 octets. */
  const sha1 = (octets) => {
    const block = new DataView(new ArrayBuffer(64));
    octets.forEach((octet, at) => block.setUint8(at, octet));
    block.setUint8(octets.length, 0x80);
    block.setUint32(60, octets.length * 8);
    const words = new Int32Array(80);
    for (let at = 0; at < 80; at += 1) words[at] = at < 16 ? block.getInt32(at * 4) : rotated(words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16], 1);
    const start = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
    let [a, b, c, d, e] = start;
    for (let at = 0; at < 80; at += 1) {
      const [mixed, constant] = at < 20 ? [(b & c) | (~b & d), 0x5a827999] : at < 40 ? [b ^ c ^ d, 0x6ed9eba1] : at < 60 ? [(b & c) | (b & d) | (c & d), 0x8f1bbcdc] : [b ^ c ^ d, 0xca62c1d6];
      [a, b, c, d, e] = [(rotated(a, 5) + mixed + e + constant + words[at]) | 0, a, rotated(b, 30), c, d];
    }
    const digest = new DataView(new ArrayBuffer(20));
    [a, b, c, d, e].forEach((word, at) => digest.setUint32(at * 4, word + start[at]));
    return new Uint8Array(digest.buffer);
  };

  const before = (one, other) => {
    for (let at = 0; at < one.length; at += 1) if (one[at] !== other[at]) return one[at] < other[at];
    return true;
  };

  /** The ID of the TCP connection between two endpoints, null where they are no addresses of one kind. */
  const id = (address, port, otherAddress, otherPort) => {
    const ends = [[address, port], [otherAddress, otherPort]].map(([text, number]) => ({ octets: Networks.octets(text), port: [number >> 8, number & 255] }));
    const [one, other] = ends;
    if (!one.octets || !other.octets || one.octets.length !== other.octets.length) return null;
    const [low, high] = before([...one.octets, ...one.port], [...other.octets, ...other.port]) ? [one, other] : [other, one];
    const digest = sha1([0, 0, ...low.octets, ...high.octets, TCP, 0, ...low.port, ...high.port]);
    return "1:" + btoa(String.fromCharCode(...digest));
  };

  /** The ID of a row: what its data says, else what its endpoints tell. */
  const of = (store, row) =>
    store.value("community_id", row) ?? id(store.value("client.address", row), store.value("client.port", row), store.value("proxy.address", row), store.value("proxy.port", row));

  return { id, of };
})();
