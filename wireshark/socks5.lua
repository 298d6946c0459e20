-- SOCKS4, SOCKS4A and SOCKS5 for Wireshark and tshark 3.6 to 4.6, on any port.
--
-- How it works
--   Wireshark's TCP calls this script with each segment's octets in stream order. `read` turns the octets of one side
--   into SOCKS frames: `due` says what the state asks for, `resynchronise` what octets are that do not fit it, and
--   `apply` what a frame changes. `present` puts frames into the packet details; `tunnel` hands what the proxy relays
--   to the dissector that fits.
--   A packet's first dissection (`pinfo.visited` is false) is the only one that changes state, and leaves a record of
--   which frames lie where; every later dissection of the packet, in whatever order, shows that record.
--   Roles come from octets: the client is the side that sends the greeting or the SOCKS4 request.
--
-- Rules that keep Wireshark alive and quick, each learnt from a failure
--   * No field extractor (`Field.new`): one of them makes Wireshark build the tree of every packet. So there are no
--     sequence numbers here; that octets are missing is told from what the others mean.
--   * What a packet costs is calls into Wireshark and objects that it makes for them: attributes are read through the
--     functions behind them, one address finds the conversation, and where there is no tree nothing is put into it.
--     `read_usual` takes the segment that is one frame, as most are; `read` takes all others. `relay` hands on what
--     comes later in a tunnel, where there is no tree.
--   * The built-in socks dissector is never called (it crashes without TCP's data), nor DissectorTable.try_heuristics.
--   * A C dissector that raises skips the rest of our function. State is therefore complete before any dissector of
--     the payload is called, and such calls are counted: see `call_payload`.
--   * `pinfo.can_desegment` is raised only where TCP has set it: HTTP's dissector loops for ever on octets that are
--     cut short when it is told that more will come.
--   * Lua 5.2 and 5.4 both load this file: no integer operators, no bit32, no utf8 library.

set_plugin_info({
  version = "2.0.0",
  description = "SOCKS4, SOCKS4A and SOCKS5 on any port",
  author = "the socks5sniff project",
})

-- BEGIN GENERATED CODE POINTS
-- from socks5sniff/codec/codes.py by `python -m socks5sniff.dissector.generate`; edit there
local DEFAULT_PORTS = "1080,9050,9150"
local METHODS = {
  [0x00] = "no-authentication",
  [0x01] = "gssapi",
  [0x02] = "username-password",
  [0x03] = "chap",
  [0x05] = "challenge-response",
  [0x06] = "ssl",
  [0x07] = "nds",
  [0x08] = "multi-authentication-framework",
  [0x09] = "json-parameter-block",
  [0xFF] = "no-acceptable-method",
}
local COMMANDS = {
  [0x01] = "connect",
  [0x02] = "bind",
  [0x03] = "udp-associate",
  [0x05] = "fwd-udp",
  [0x80] = "ping",
  [0x81] = "traceroute",
  [0xF0] = "resolve",
  [0xF1] = "resolve-ptr",
  [0xF2] = "mux-bind",
  [0xF3] = "udp-over-tcp",
}
local SOCKS4_COMMANDS = { [0x01] = true, [0x02] = true, [0xF0] = true, [0xF1] = true }
local ADDRESS_TYPES = {
  [0x01] = "ipv4",
  [0x03] = "domain",
  [0x04] = "ipv6",
}
local REPLIES = {
  [0x00] = "succeeded",
  [0x01] = "general SOCKS server failure",
  [0x02] = "connection not allowed by ruleset",
  [0x03] = "network unreachable",
  [0x04] = "host unreachable",
  [0x05] = "connection refused",
  [0x06] = "TTL expired",
  [0x07] = "command not supported",
  [0x08] = "address type not supported",
  [0x09] = "invalid address",
  [0xF0] = "onion service descriptor not found",
  [0xF1] = "descriptor invalid",
  [0xF2] = "introduction failed",
  [0xF3] = "rendezvous failed",
  [0xF4] = "missing client authorization",
  [0xF5] = "wrong client authorization",
  [0xF6] = "invalid onion address",
  [0xF7] = "introduction timed out",
}
local SOCKS4_REPLIES = {
  [0x5A] = "request granted",
  [0x5B] = "request rejected or failed",
  [0x5C] = "no identd reachable",
  [0x5D] = "identd mismatch",
}
local GSSAPI_MESSAGES = {
  [0x01] = "authentication",
  [0x02] = "protection-level negotiation",
  [0x03] = "encapsulated user data",
  [0xFF] = "abort",
}
local PROTECTION_LEVELS = {
  [0x01] = "integrity",
  [0x02] = "integrity and confidentiality",
  [0x03] = "selective",
}
local ANOMALIES = { -- code, severity, description
  { "bad-version", "error",
    "VER is not what the state allows" },
  { "no-methods-offered", "warning",
    "the greeting offers no method (NMETHODS is 0)" },
  { "duplicate-methods", "note",
    "the greeting lists a method twice" },
  { "method-not-offered", "error",
    "the proxy chose a method that the client did not offer" },
  { "no-acceptable-method", "note",
    "the proxy accepts none of the offered methods (METHOD is FF)" },
  { "cleartext-credentials", "warning",
    "a password crossed the network in clear" },
  { "empty-credential", "warning",
    "user name or password is empty (ULEN or PLEN is 0)" },
  { "auth-version", "warning",
    "VER of the sub-negotiation is not 01" },
  { "auth-failed", "note",
    "the proxy refused the credentials (STATUS is not 00)" },
  { "reserved-nonzero", "warning",
    "RSV is not zero" },
  { "unknown-command", "warning",
    "the command is in no table" },
  { "unknown-address-type", "error",
    "the address type is in no table, so the frame's end is unknown" },
  { "unknown-reply", "warning",
    "the reply code is in no table" },
  { "empty-domain", "warning",
    "the domain name is empty" },
  { "domain-not-ascii", "note",
    "the domain name holds octets outside ASCII" },
  { "domain-is-ip-literal", "note",
    "the domain name is an IP address in text" },
  { "domain-has-nul", "error",
    "the domain name holds a NUL octet" },
  { "zero-port", "note",
    "CONNECT to port 0" },
  { "early-data", "note",
    "the client sent data before the success reply (optimistic data)" },
  { "data-after-failure", "warning",
    "payload after a failure reply" },
  { "server-spoke-first", "error",
    "the proxy sent before the client's greeting" },
  { "reply-before-request", "error",
    "the proxy replied before the client's request" },
  { "split-frame", "note",
    "a SOCKS frame came in several segments" },
  { "pipelined-frames", "note",
    "several SOCKS frames came in one segment" },
  { "bound-unspecified", "note",
    "UDP ASSOCIATE was answered with 0.0.0.0 or ::" },
  { "associate-names-target", "warning",
    "the address of UDP ASSOCIATE looks like the remote target, not the client's own" },
  { "refusal-too-long", "warning",
    "octets follow the choice METHOD FF" },
  { "gssapi-level-unprotected", "warning",
    "the GSSAPI protection level was sent unwrapped (NEC variant)" },
  { "late-close", "note",
    "the connection stayed open more than 10 s after a failure" },
  { "handshake-gap", "error",
    "octets of the handshake are missing from the capture" },
  { "midstream", "note",
    "the start of the TCP connection is not in the capture" },
  { "conflicting-retransmission", "warning",
    "a retransmitted octet differs from its first copy" },
  { "not-socks-on-socks-port", "warning",
    "another protocol on a proxy port" },
  { "local-dns", "warning",
    "the client resolved the name itself before it asked the proxy (DNS leak)" },
  { "udp-fragmented", "note",
    "a relay datagram is a fragment (FRAG is not 0)" },
  { "udp-unassociated", "warning",
    "a relay datagram from a party that the association does not name" },
  { "auth-unasked", "error",
    "a username/password sub-negotiation although another method was chosen" },
  { "proxy-protocol", "note",
    "a PROXY protocol header came first" },
  { "closed-without-data", "note",
    "success, but the proxy closed before one octet came from the destination, and before the client did" },
  { "unreachable-bound", "warning",
    "the address for datagrams cannot be reached from where the client is" },
  { "udp-one-way", "warning",
    "datagrams went to the relay and none came back" },
  { "udp-no-header", "error",
    "a datagram between client and relay without a SOCKS header" },
  { "udp-names-client", "warning",
    "the header of an answer names the client instead of the remote sender" },
  { "udp-after-close", "warning",
    "datagrams after the association's TCP connection had ended" },
  { "udp-fragments-incomplete", "warning",
    "a sequence of fragments (FRAG) that never was completed" },
  { "odd-destination", "note",
    "the domain name is a URL, holds a port, or is a number in another notation than an address" },
  { "half-frame", "warning",
    "a side closed in the middle of a frame" },
  { "internal-error", "error",
    "socks5sniff failed at this connection; what it had read by then is shown" },
}
-- END GENERATED CODE POINTS

local byte, sub, find, format, rep = string.byte, string.sub, string.find, string.format, string.rep
local concat, floor, min, max = table.concat, math.floor, math.min, math.max

local MAX_SOCKS4_STRING = 512 -- the codec's limit, for the codec's reason: a NUL is not waited for any longer
local MAX_LEAKS = 60 -- payload dissectors that raised through us; near 95 Lua itself would fail
local UDP_PORT_TYPE = 3 -- pinfo.port_type of a UDP datagram
local DNS_PORT = 53

---------------------------------------------------------------------------------------------------------------------
-- Names
---------------------------------------------------------------------------------------------------------------------

-- What a frame is. `lost` is what cannot be read, `extra` comes after a failure, `opaque` is a private method's.
local TYPES = {
  "greeting", "method-selection", "auth-request", "auth-reply", "gssapi", "request", "reply", "udp", "tunnel",
  "opaque", "extra", "lost", "proxy-protocol",
}
local TYPE = {}
for number, name in ipairs(TYPES) do TYPE[name] = number end

local OUTCOMES = {
  [0] = "incomplete", "succeeded", "rejected", "auth-failed", "no-acceptable-method", "malformed",
}
local OUTCOME = {}
for number, name in pairs(OUTCOMES) do OUTCOME[name] = number end

local function hex2(value)
  return format("0x%02x", value)
end

local function method_name(value)
  return METHODS[value] or (value >= 0x80 and "private-" or "unassigned-") .. hex2(value)
end

local function command_name(value)
  return COMMANDS[value] or "unknown-" .. hex2(value)
end

local COMMAND_TITLES = {}
for value, name in pairs(COMMANDS) do COMMAND_TITLES[value] = name:upper():gsub("-", " ") end
COMMAND_TITLES[0xF1] = "RESOLVE_PTR"

local function command_title(value)
  return COMMAND_TITLES[value] or "command " .. hex2(value)
end

local function reply_name(value)
  return REPLIES[value] or "unassigned " .. hex2(value)
end

local function socks4_reply_name(value)
  return SOCKS4_REPLIES[value] or "unassigned " .. hex2(value)
end

local function address_type_name(value)
  return ADDRESS_TYPES[value] or "unknown-" .. hex2(value)
end

local function auth_status_name(value)
  return value == 0 and "success" or "failure"
end

local function gssapi_message_name(value)
  return GSSAPI_MESSAGES[value] or "unknown " .. hex2(value)
end

local function protection_level_name(value)
  return PROTECTION_LEVELS[value] or "unknown " .. hex2(value)
end

-- A name for each of the 256 values, as a ProtoField's value strings.
local function every_value(name_of)
  local names = {}
  for value = 0, 255 do names[value] = name_of(value) end
  return names
end

---------------------------------------------------------------------------------------------------------------------
-- Protocol, fields, expert information, preferences
---------------------------------------------------------------------------------------------------------------------

local P = Proto("socks5", "SOCKS proxy protocol (versions 4, 4A and 5)")

local F = {
  type = ProtoField.uint8("socks5.type", "Frame type", base.DEC, TYPES),
  stream = ProtoField.uint32("socks5.stream", "Conversation"),
  outcome = ProtoField.uint8("socks5.outcome", "Outcome", base.DEC, OUTCOMES),
  sender = ProtoField.string("socks5.sender", "Sender"),
  depth = ProtoField.uint8("socks5.depth", "Nesting depth"),
  version = ProtoField.uint8("socks5.version", "Version"),
  method_count = ProtoField.uint8("socks5.methods.count", "Number of methods"),
  methods = ProtoField.uint8("socks5.methods", "Offered method", base.HEX, every_value(method_name)),
  method = ProtoField.uint8("socks5.method", "Chosen method", base.HEX, every_value(method_name)),
  username = ProtoField.string("socks5.username", "User name"),
  username_octets = ProtoField.bytes("socks5.username.octets", "User name octets"),
  username_length = ProtoField.uint8("socks5.username.length", "User name length"),
  password = ProtoField.string("socks5.password", "Password"),
  password_length = ProtoField.uint8("socks5.password.length", "Password length"),
  auth_status = ProtoField.uint8("socks5.auth.status", "Status", base.HEX, every_value(auth_status_name)),
  authenticated = ProtoField.bool("socks5.authenticated", "Authenticated"),
  gssapi_type = ProtoField.uint8("socks5.gssapi.type", "GSSAPI message", base.HEX, every_value(gssapi_message_name)),
  gssapi_length = ProtoField.uint16("socks5.gssapi.length", "Token length"),
  gssapi_token = ProtoField.bytes("socks5.gssapi.token", "Token"),
  gssapi_level = ProtoField.uint8("socks5.gssapi.level", "Protection", base.HEX, every_value(protection_level_name)),
  gssapi_encrypted = ProtoField.bool("socks5.gssapi.encrypted", "Encrypted"),
  command = ProtoField.uint8("socks5.command", "Command", base.HEX, every_value(command_name)),
  reserved = ProtoField.uint8("socks5.reserved", "Reserved", base.HEX),
  reply_code = ProtoField.uint8("socks5.reply.code", "Reply", base.DEC, every_value(reply_name)),
  reply_code4 = ProtoField.uint8("socks5.reply.code", "Reply", base.DEC, every_value(socks4_reply_name)),
  reply_peer = ProtoField.bool("socks5.reply.peer", "Second reply of BIND"),
  udp_reserved = ProtoField.uint16("socks5.udp.reserved", "Reserved", base.HEX),
  udp_fragment = ProtoField.uint8("socks5.udp.fragment", "Fragment", base.HEX),
  udp_position = ProtoField.uint8("socks5.udp.fragment.position", "Position", base.DEC, nil, 0x7f),
  udp_last = ProtoField.bool("socks5.udp.fragment.last", "Last fragment", 8, nil, 0x80),
  udp_header_length = ProtoField.uint8("socks5.udp.header_length", "Header length"),
  udp_data_length = ProtoField.uint32("socks5.udp.data_length", "Data length"),
  tunnel_early = ProtoField.bool("socks5.tunnel.early", "Before the reply"),
  request_in = ProtoField.framenum("socks5.request_in", "Request in", base.NONE, frametype.NONE),
  response_in = ProtoField.framenum("socks5.response_in", "Response in", base.NONE, frametype.RESPONSE),
  response_to = ProtoField.framenum("socks5.response_to", "Response to", base.NONE, frametype.REQUEST),
  time = ProtoField.relative_time("socks5.time", "Time since request"),
  data = ProtoField.bytes("socks5.data", "Octets"),
  anomaly = ProtoField.string("socks5.anomaly", "Anomaly"),
}

-- DST, BND and the UDP header's address have fields of their own, so that a filter tells them apart.
local DST, BND, PEER, UDP
do
  local function address_fields(prefix, title)
    local name = "socks5." .. prefix
    return {
      type = ProtoField.uint8(name .. ".type", title .. " address type", base.DEC, every_value(address_type_name)),
      length = ProtoField.uint8(name .. ".length", title .. " name length"),
      host = ProtoField.string(name .. ".host", title .. " host"),
      port = ProtoField.uint16(name .. ".port", title .. " port"),
      ipv4 = ProtoField.ipv4(name .. ".ipv4", title .. " IPv4 address"),
      ipv6 = ProtoField.ipv6(name .. ".ipv6", title .. " IPv6 address"),
      domain = ProtoField.string(name .. ".domain", title .. " domain name"),
      octets = ProtoField.bytes(name .. ".octets", title .. " domain name octets"),
    }
  end

  DST = address_fields("destination", "Destination")
  BND = address_fields("bound", "Bound")
  PEER = address_fields("peer", "Peer")
  UDP = address_fields("udp", "UDP")
end

local E = {}
do
  local severities = { note = expert.severity.NOTE, warning = expert.severity.WARN, error = expert.severity.ERROR }
  local security = { ["cleartext-credentials"] = true, ["local-dns"] = true, ["gssapi-level-unprotected"] = true }
  local experts = {}
  for _, anomaly in ipairs(ANOMALIES) do
    local code, severity, description = anomaly[1], anomaly[2], anomaly[3]
    local group = security[code] and expert.group.SECURITY or expert.group.PROTOCOL
    E[code] = ProtoExpert.new("socks5.anomaly." .. code, description, group, severities[severity])
    experts[#experts + 1] = E[code]
  end
  P.experts = experts

  local fields = {}
  for _, group in ipairs({ F, DST, BND, PEER, UDP }) do
    for _, field in pairs(group) do fields[#fields + 1] = field end
  end
  P.fields = fields
end

P.prefs.ports = Pref.range("TCP ports of SOCKS proxies", DEFAULT_PORTS,
  "On these ports a greeting alone is SOCKS, and another protocol is pointed out", 65535)
P.prefs.heuristic = Pref.bool("Find SOCKS on any TCP port", true,
  "Look at the first octets of every TCP connection that no other dissector claims")
P.prefs.show_passwords = Pref.bool("Show passwords", false, "Else a password is shown as ********")
P.prefs.payload = Pref.bool("Dissect what the proxy relays", true,
  "Hand tunnel octets and relayed datagrams to the dissector that fits")
P.prefs.local_dns = Pref.bool("Point out names that the client resolved itself", false,
  "Read DNS answers on port 53, and note requests for addresses that one gave to the same client (local-dns)")

-- Kept here, since a packet's dissection asks for it each time.
local dissect_payload
local function read_preferences()
  dissect_payload = P.prefs.payload
end

-- Methods and attributes of Wireshark's objects as functions, from the first objects seen. `pinfo.number` looks for its
-- name first, which costs more than to read the number does: `number_of(pinfo)`, `set_source_port(pinfo, 80)`.
local length_of, octets_of, offset_of
local add, set_generated, set_text, refers_to
local is_tree -- whether there is a tree at all: in it Wireshark hides an item of its own, which we are given
local number_of, is_visited, seconds_of, port_type_of, match_of, columns_of -- seconds: since the first packet
local source_of, destination_of, source_port_of, destination_port_of, address_text
local desegments -- how much TCP lets a dissector ask for: 0 is nothing
local set_source_port, set_destination_port, set_desegments, set_conversation

local use_methods -- what others use of this
do
  local function in_metatable(object, what, name)
    local meta = getmetatable(object)
    local functions = type(meta) == "table" and meta[what]
    return type(functions) == "table" and functions[name]
  end

  local function getter(object, name)
    return in_metatable(object, "__getters", name) or function(owner) return owner[name] end
  end

  local function setter(object, name)
    return in_metatable(object, "__setters", name) or function(owner, value) owner[name] = value end
  end

  function use_methods(tvb, pinfo, tree)
    length_of, octets_of, offset_of = tvb.len, tvb.raw, tvb.offset
    set_generated, set_text, refers_to = tree.set_generated, tree.set_text, tree.referenced
    is_tree = getter(tree, "hidden")
    number_of, is_visited, seconds_of = getter(pinfo, "number"), getter(pinfo, "visited"), getter(pinfo, "rel_ts")
    port_type_of, match_of, columns_of = getter(pinfo, "port_type"), getter(pinfo, "match_uint"), getter(pinfo, "cols")
    source_of, source_port_of = getter(pinfo, "src"), getter(pinfo, "src_port")
    destination_of, destination_port_of = getter(pinfo, "dst"), getter(pinfo, "dst_port")
    desegments = getter(pinfo, "can_desegment")
    set_source_port, set_destination_port = setter(pinfo, "src_port"), setter(pinfo, "dst_port")
    set_desegments, set_conversation = setter(pinfo, "can_desegment"), setter(pinfo, "conversation")
    local meta = getmetatable(pinfo.src)
    address_text = type(meta) == "table" and meta.__tostring or tostring
    add = tree.add -- last: it tells that all is there
  end
end

local tcp_table = DissectorTable.get("tcp.port")
local udp_table = DissectorTable.get("udp.port")
local dns_in_udp = udp_table:get_dissector(DNS_PORT)

---------------------------------------------------------------------------------------------------------------------
-- Text from the wire
---------------------------------------------------------------------------------------------------------------------

local text -- what others use of this
do
  -- Length of the valid UTF-8 sequence at `at`, or nil (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
  local function utf8_length(octets, at)
    local a, b, c, d = byte(octets, at, at + 3)
    if a < 0x80 then return 1 end
    if not b or a < 0xC2 or b < 0x80 or b > 0xBF then return nil end
    if a < 0xE0 then return 2 end
    if not c or c < 0x80 or c > 0xBF then return nil end
    if a < 0xF0 then
      if (a == 0xE0 and b < 0xA0) or (a == 0xED and b > 0x9F) then return nil end
      return 3
    end
    if a > 0xF4 or not d or d < 0x80 or d > 0xBF then return nil end
    if (a == 0xF0 and b < 0x90) or (a == 0xF4 and b > 0x8F) then return nil end
    return 4
  end

  local function code_point(octets, at, length)
    local a, b, c, d = byte(octets, at, at + length - 1)
    if length == 1 then return a end
    if length == 2 then return (a - 0xC0) * 64 + b - 0x80 end
    if length == 3 then return ((a - 0xE0) * 64 + b - 0x80) * 64 + c - 0x80 end
    return (((a - 0xF0) * 64 + b - 0x80) * 64 + c - 0x80) * 64 + d - 0x80
  end

  -- Code points that do not show as themselves: controls, marks that turn the direction of text, what has no width,
  -- line ends, private use. Each pair is the first and the last of a range.
  local UNSEEN = {
    { 0x00, 0x1F }, { 0x7F, 0xA0 }, { 0xAD, 0xAD }, { 0x61C, 0x61C }, { 0x180E, 0x180E }, { 0x2000, 0x200F },
    { 0x2028, 0x202F }, { 0x205F, 0x206F }, { 0x3000, 0x3000 }, { 0xE000, 0xF8FF }, { 0xFEFF, 0xFEFF },
    { 0xFFF0, 0xFFFB }, { 0xE0000, 0x10FFFF },
  }

  local function escape_of(point)
    for _, range in ipairs(UNSEEN) do
      if point >= range[1] and point <= range[2] then
        return format(point < 0x100 and "\\x%02x" or point < 0x10000 and "\\u%04x" or "\\U%08x", point)
      end
    end
    return nil
  end

  -- Octets as UTF-8. Those that are none show as \xNN, characters that would not show as themselves as \xNN, \uNNNN or
  -- \UNNNNNNNN: Wireshark's strings end at a NUL, its XML is broken by controls, and its columns are turned by others.
  function text(octets)
    if not find(octets, "[%c\128-\255]") then return octets end
    local out, at, size = {}, 1, #octets
    while at <= size do
      local length = utf8_length(octets, at)
      if length then
        out[#out + 1] = escape_of(code_point(octets, at, length)) or sub(octets, at, at + length - 1)
      else
        length = 1
        out[#out + 1] = format("\\x%02x", byte(octets, at))
      end
      at = at + length
    end
    return concat(out)
  end
end

local function ipv4_text(octets)
  return format("%d.%d.%d.%d", byte(octets, 1, 4))
end

-- The groups from one to another in hexadecimal.
local function groups_text(groups, first, last)
  local words = {}
  for i = first, last do words[#words + 1] = groups[i] == 0 and "0" or format("%x", groups[i]) end
  return concat(words, ":")
end

-- RFC 5952: the longest (first) run of two zero groups or more becomes "::".
local function ipv6_text(octets)
  if sub(octets, 1, 12) == rep("\0", 10) .. "\255\255" then return "::ffff:" .. ipv4_text(sub(octets, 13)) end
  local bytes, groups, best, best_length, start = { byte(octets, 1, 16) }, {}, nil, 1, nil
  for i = 1, 8 do
    groups[i] = bytes[2 * i - 1] * 256 + bytes[2 * i]
    if groups[i] ~= 0 then
      start = nil
    else
      start = start or i
      if i - start + 1 > best_length then best, best_length = start, i - start + 1 end
    end
  end
  if not best then return groups_text(groups, 1, 8) end
  return groups_text(groups, 1, best - 1) .. "::" .. groups_text(groups, best + best_length, 8)
end

local IPV4, DOMAIN, IPV6 = 1, 3, 4

local function host_text(kind, octets)
  if kind == IPV4 then return ipv4_text(octets) end
  if kind == IPV6 then return ipv6_text(octets) end
  return text(octets)
end

local function endpoint_text(kind, host, port)
  return (kind == IPV6 and "[" .. host .. "]:" or host .. ":") .. port
end

-- A frame's host, and host and port, made when they are first asked for. Conversations share frames, and each of their
-- packets names the destination; what a reply names is hardly ever shown.
local function host_of(frame)
  local host = frame.host
  if not host then
    host = host_text(frame.host_type, frame.raw_host)
    frame.host = host
  end
  return host
end

local function endpoint_of(frame)
  local endpoint = frame.endpoint
  if not endpoint then
    local kind = frame.host_type
    endpoint = endpoint_text(kind, frame.host or host_text(kind, frame.raw_host), frame.port)
    frame.endpoint = endpoint
  end
  return endpoint
end

---------------------------------------------------------------------------------------------------------------------
-- Octets to frames. Each decoder: octets that begin with the frame -> frame | nil (more needed) | false (never).
-- A frame has kind, size and its fields, places in it count from 1, and `odd` lists code, message, code, message, ...
-- It says nothing about the conversation, and is not changed after: many packets share one (see `decode`).
---------------------------------------------------------------------------------------------------------------------

local odd, note, check_domain, decoders, PROXY_2, decode, decode_head, unwrap -- what others use of this
do
  function odd(frame, code, message)
    local list = frame.odd
    if not list then
      list = {}
      frame.odd = list
    end
    list[#list + 1] = code
    list[#list + 1] = message
  end

  function note(notes, code, message)
    notes[#notes + 1] = code
    notes[#notes + 1] = message
  end

  local function check_version(frame, what, wanted, code)
    if frame.version ~= wanted then
      odd(frame, code or "bad-version", format("%s has version %d, not %d", what, frame.version, wanted))
    end
  end

  local function is_ip_literal(name)
    name = name:match("^%[(.*)%]$") or name
    local a, b, c, d = name:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    if a then
      for _, part in ipairs({ a, b, c, d }) do
        if #part > 3 or tonumber(part) > 255 or (#part > 1 and byte(part) == 48) then return false end
      end
      return true
    end
    if not name:find(":", 1, true) or #name > 64 then return false end
    name = name:gsub("%%.+$", "")
    -- The last 32 bits may be a dotted quad.
    local head, quad = name:match("^(.*:)(%d+%.%d+%.%d+%.%d+)$")
    if head then
      if not is_ip_literal(quad) then return false end
      name = head .. "0:0"
    end
    local before, after = name:match("^(.-)::(.*)$")
    local count = 0
    for _, half in ipairs({ before or name, after or "" }) do
      if half ~= "" then
        for group in (half .. ":"):gmatch("(.-):") do
          if not group:match("^%x%x?%x?%x?$") then return false end
          count = count + 1
        end
      end
    end
    return before and count <= 7 or count == 8
  end

  function check_domain(frame, name)
    if name == "" then
      odd(frame, "empty-domain", "the domain name is empty")
      return
    end
    if find(name, "[\128-\255]") then
      odd(frame, "domain-not-ascii", "the domain name holds octets outside ASCII")
    elseif is_ip_literal(name) then
      odd(frame, "domain-is-ip-literal", "the domain name is an IP address in text")
    end
    if find(name, "%z") then odd(frame, "domain-has-nul", "the domain name holds a NUL octet") end
  end

  -- The address that begins with ATYP, the fourth octet, into `frame`. Returns the place after it.
  local function read_address(frame, octets)
    local kind, length = byte(octets, 4, 5)
    local host_at, size = 5, 4
    if kind == nil then return nil end
    if kind == IPV6 then
      size = 16
    elseif kind == DOMAIN then
      if not length then return nil end
      host_at, size = 6, length
    elseif kind ~= IPV4 then
      return false
    end
    local high, low = byte(octets, host_at + size, host_at + size + 1)
    if not low then return nil end
    frame.host_type, frame.raw_host = kind, sub(octets, host_at, host_at + size - 1)
    frame.port = high * 256 + low
    return host_at + size + 2
  end

  -- Space for all that such a frame gets as a rule (8 names, since the next size is 16): a table that grows key by key
  -- is allocated four times. The last is for `command` or `code`.
  local function addressed_frame(kind)
    return {
      kind = kind, version = nil, size = nil, host_type = nil, raw_host = nil, port = nil, endpoint = nil, code = nil,
    }
  end

  decoders = {}

  function decoders.greeting(octets)
    local version, count = byte(octets, 1, 2)
    if not count or #octets < 2 + count then return nil end
    local methods = sub(octets, 3, 2 + count)
    local seen = {}
    local frame = { kind = "greeting", size = 2 + count, version = version, methods = methods, offers = seen }
    check_version(frame, "the greeting", 5)
    if count == 0 then
      odd(frame, "no-methods-offered", "the greeting offers no method")
    end
    local twice = {}
    for i = 1, count do
      local method = byte(methods, i)
      if seen[method] == 1 then twice[#twice + 1] = method end
      seen[method] = (seen[method] or 0) + 1
    end
    if #twice > 0 then
      table.sort(twice)
      for i, method in ipairs(twice) do twice[i] = hex2(method) end
      odd(frame, "duplicate-methods", "offered more than once: " .. concat(twice, ", "))
    end
    return frame
  end

  decoders["method-selection"] = function(octets)
    local version, method = byte(octets, 1, 2)
    if not method then return nil end
    local frame = { kind = "method-selection", size = 2, version = version, method = method }
    check_version(frame, "the method choice", 5)
    return frame
  end

  decoders["auth-request"] = function(octets)
    local version, user_size = byte(octets, 1, 2)
    if not user_size then return nil end
    local password_at = 4 + user_size
    local password_size = byte(octets, password_at - 1)
    if not password_size or #octets < password_at + password_size - 1 then return nil end
    local frame = {
      kind = "auth-request", size = 3 + user_size + password_size, version = version,
      username = sub(octets, 3, 2 + user_size), user_size = user_size, password_size = password_size,
    }
    check_version(frame, "the username/password request", 1, "auth-version")
    if user_size == 0 then odd(frame, "empty-credential", "the user name is empty") end
    if password_size == 0 then odd(frame, "empty-credential", "the password is empty") end
    return frame
  end

  decoders["auth-reply"] = function(octets)
    local version, status = byte(octets, 1, 2)
    if not status then return nil end
    local frame = { kind = "auth-reply", size = 2, version = version, status = status }
    check_version(frame, "the username/password reply", 1, "auth-version")
    return frame
  end

  function decoders.gssapi(octets)
    local version, message_type, high, low = byte(octets, 1, 4)
    if not message_type then return nil end
    local frame = { kind = "gssapi", size = 2, version = version, message_type = message_type }
    if message_type ~= 0xFF then
      if not low then return nil end
      frame.size = 4 + high * 256 + low
      if #octets < frame.size then return nil, frame.size end
      frame.token = sub(octets, 5, frame.size)
    end
    check_version(frame, "the GSSAPI message", 1, "auth-version")
    return frame
  end

  -- RSV is kept only where it is not 0.
  local function check_reserved(frame, octets, what)
    local reserved = byte(octets, 3)
    if reserved == 0 then return end
    frame.reserved = reserved
    odd(frame, "reserved-nonzero", format("RSV of %s is 0x%02x", what, reserved))
  end

  -- An address type in no table: where the frame ends is unknown, what comes before is not.
  local function unknown_address(frame, octets)
    frame.size, frame.host_type = #octets, byte(octets, 4)
    odd(frame, "unknown-address-type", format("no address type 0x%02x is known", byte(octets, 4)))
  end

  -- What a request and a reply end with: address and port, as far as the address type is known.
  local function finish_addressed(frame, octets, after, what)
    check_reserved(frame, octets, what)
    if not after then
      unknown_address(frame, octets)
      return
    end
    frame.size = after - 1
    if frame.host_type == DOMAIN then check_domain(frame, frame.raw_host) end
  end

  function decoders.request(octets)
    local frame = addressed_frame("request")
    local after = read_address(frame, octets)
    if after == nil then return nil end
    frame.version, frame.command = byte(octets, 1, 2)
    check_version(frame, "the request", 5)
    if not COMMANDS[frame.command] then
      odd(frame, "unknown-command", format("no command 0x%02x is known", frame.command))
    end
    finish_addressed(frame, octets, after, "the request")
    if frame.command == 1 and frame.port == 0 then odd(frame, "zero-port", "CONNECT to port 0") end
    return frame
  end

  function decoders.reply(octets)
    local frame = addressed_frame("reply")
    local after = read_address(frame, octets)
    if after == nil then return nil end
    frame.version, frame.code = byte(octets, 1, 2)
    check_version(frame, "the reply", 5)
    if not REPLIES[frame.code] then
      odd(frame, "unknown-reply", format("reply code 0x%02x is unassigned", frame.code))
    end
    finish_addressed(frame, octets, after, "the reply")
    return frame
  end

  -- The place of the NUL that ends a SOCKS4 string, nil (more needed) or false (too long for one).
  local function socks4_string(octets, from)
    local nul = find(octets, "\0", from, true)
    if nul and nul <= from + MAX_SOCKS4_STRING then return nul end
    if nul or #octets >= from + MAX_SOCKS4_STRING then return false end
    return nil
  end

  decoders["socks4-request"] = function(octets)
    if #octets < 8 then return nil end
    local version, command, high, low, a, b, c, d = byte(octets, 1, 8)
    local user_end = socks4_string(octets, 9)
    if not user_end then return user_end end
    local frame = {
      kind = "request", socks4 = true, version = version, command = command, port = high * 256 + low,
      username = sub(octets, 9, user_end - 1), size = user_end,
      host_type = IPV4, raw_host = sub(octets, 5, 8),
    }
    check_version(frame, "the SOCKS4 request", 4)
    if not SOCKS4_COMMANDS[command] then
      odd(frame, "unknown-command", format("SOCKS4 has no command 0x%02x", command))
    end
    if command == 1 and frame.port == 0 then odd(frame, "zero-port", "CONNECT to port 0") end
    if a == 0 and b == 0 and c == 0 and d ~= 0 then
      local host_end = socks4_string(octets, user_end + 1)
      if not host_end then return host_end end
      frame.host_type, frame.size = DOMAIN, host_end
      frame.raw_host = sub(octets, user_end + 1, host_end - 1)
      check_domain(frame, frame.raw_host)
    end
    return frame
  end

  decoders["socks4-reply"] = function(octets)
    if #octets < 8 then return nil end
    local version, code, high, low = byte(octets, 1, 4)
    local frame = {
      kind = "reply", socks4 = true, size = 8, version = version, code = code, port = high * 256 + low,
      host_type = IPV4, raw_host = sub(octets, 5, 8),
    }
    check_version(frame, "the SOCKS4 reply", 0)
    if not SOCKS4_REPLIES[code] then odd(frame, "unknown-reply", format("SOCKS4 has no reply code %d", code)) end
    return frame
  end

  -- RSV, FRAG and the address before a relayed datagram.
  function decoders.udp(octets)
    local frame = addressed_frame("udp")
    local after = read_address(frame, octets)
    if not after then return after end
    local high, low, fragment = byte(octets, 1, 3)
    frame.reserved, frame.fragment, frame.size = high * 256 + low, fragment, after - 1
    return frame
  end

  -- The header that a load balancer puts before a connection's own octets: version 1 is a line, 2 has a length.
  PROXY_2 = "\r\n\r\n\0\r\nQUIT\n"
  local MAX_PROXY_1 = 107

  decoders["proxy-protocol"] = function(octets)
    local frame = { kind = "proxy-protocol" }
    if sub(octets, 1, 6) == "PROXY " then
      local line_end = find(octets, "\r\n", 1, true)
      if not line_end and #octets >= MAX_PROXY_1 then return false end
      if not line_end then return nil end
      frame.version, frame.size = 1, line_end + 1
      local family, source, port = octets:match("^PROXY (TCP[46]) (%S+) %S+ (%d+) ")
      if family then frame.named = (family == "TCP6" and "[" .. source .. "]:" or source .. ":") .. port end
    else
      local command, family, high, low = byte(octets, 13, 16)
      if not low then return nil end
      frame.version, frame.size = 2, 16 + high * 256 + low
      if #octets < frame.size then return nil, frame.size end
      family = floor(family / 16)
      local width = family == 1 and 4 or family == 2 and 16
      if command % 16 == 1 and width and high * 256 + low >= 2 * width + 4 then
        local a, b = byte(octets, 17 + 2 * width, 18 + 2 * width)
        local kind = width == 4 and IPV4 or IPV6
        frame.named = endpoint_text(kind, host_text(kind, sub(octets, 17, 16 + width)), a * 256 + b)
      end
    end
    odd(frame, "proxy-protocol", format("a PROXY protocol header (version %d, %d octets) came first, and names %s",
      frame.version, frame.size, frame.named and text(frame.named) or "no client"))
    return frame
  end

  -- Octets that are not a SOCKS frame: what follows a failure, or a sub-negotiation that nobody outside can read.
  local function remainder(kind)
    return function(octets)
      return { kind = kind, size = #octets }
    end
  end
  decoders.opaque = remainder("opaque")
  decoders.extra = remainder("extra")
  decoders.lost = remainder("lost")

  -- Identical octets are decoded once: handshakes repeat themselves.
  local MAX_REMEMBERED = 4096
  local remembered, remembered_count = {}, 0

  -- A frame, nil (more needed; then perhaps how many octets it takes), or false (never).
  function decode(kind, octets)
    local by_octets = remembered[kind]
    if not by_octets then
      by_octets = {}
      remembered[kind] = by_octets
    end
    if by_octets[octets] then return by_octets[octets] end
    local frame, needed = decoders[kind](octets)
    if frame and frame.size == #octets and frame.size < 300 then
      if remembered_count >= MAX_REMEMBERED then
        remembered, remembered_count = {}, 0
        by_octets = {}
        remembered[kind] = by_octets
      end
      remembered_count = remembered_count + 1
      by_octets[octets] = frame
    end
    return frame, needed
  end

  -- What can be said of a frame whose end is not in the capture: the fields before the cut, and no address.
  local heads = {}

  function heads.greeting(octets)
    return { methods = sub(octets, 3) }
  end

  heads["auth-request"] = function()
    return {}
  end

  function heads.request(octets)
    local _, command, reserved, kind = byte(octets, 1, 4)
    return command and { command = command, reserved = reserved, host_type = kind }
  end

  function heads.reply(octets)
    local _, code, reserved, kind = byte(octets, 1, 4)
    return code and { code = code, reserved = reserved, host_type = kind }
  end

  heads["socks4-request"] = function(octets)
    local _, command, high, low, a, b, c, d = byte(octets, 1, 8)
    if not command then return nil end
    local frame = { socks4 = true, command = command, kind = "request", host_type = IPV4, username = sub(octets, 9) }
    if d and not (a == 0 and b == 0 and c == 0 and d ~= 0) then
      frame.port, frame.raw_host = high * 256 + low, sub(octets, 5, 8)
    elseif d then
      frame.host_type, frame.port = DOMAIN, high * 256 + low
    end
    return frame
  end

  function decode_head(kind, octets)
    local frame = heads[kind] and heads[kind](octets)
    if not frame then return decode("lost", octets) end
    frame.kind, frame.head = frame.kind or kind, true
    frame.version, frame.size = byte(octets), #octets
    return frame
  end

  -- The plaintext of a Kerberos wrap token that is not sealed (RFC 4121 s4.2.6.2, RFC 1964 s1.2.2), or nil.
  function unwrap(token)
    local a, b, flags, filler, c, d, e, f = byte(token, 1, 8)
    if a == 5 and b == 4 then
      if #token < 16 or flags % 4 >= 2 or filler ~= 0xFF then return nil end
      local checksum, body = c * 256 + d, sub(token, 17)
      if checksum > #body then return nil end
      if #body > 0 then
        local rotation = (e * 256 + f) % #body
        body = sub(body, rotation + 1) .. sub(body, 1, rotation)
      end
      return sub(body, 1, #body - checksum)
    end
    if a == 0x60 and b then
      local oid_at = 3 + (b >= 0x80 and b - 0x80 or 0)
      if byte(token, oid_at) ~= 6 then return nil end
      token = sub(token, oid_at + 2 + (byte(token, oid_at + 1) or 0))
      a, b = byte(token, 1, 2)
    end
    if a ~= 2 or b ~= 1 or sub(token, 5, 8) ~= "\255\255\255\255" then return nil end
    local body = sub(token, 16 + (sub(token, 3, 4) == "\4\0" and 20 or 8) + 8 + 1)
    local padding = byte(body, #body)
    if not padding or padding < 1 or padding > 8 or padding > #body then return nil end
    if sub(body, -padding) ~= rep(string.char(padding), padding) then return nil end
    return sub(body, 1, #body - padding)
  end
end

---------------------------------------------------------------------------------------------------------------------
-- The conversation
---------------------------------------------------------------------------------------------------------------------

local sessions -- all, in the order of their first packets, and how many
local by_end -- address -> ports -> the latest session there, which leads to earlier ones by `before`
local records -- (frame, offset, depth) -> what the first dissection found there
local relays -- UDP port -> associations, and as `previous` the dissector that the port belongs to
local datagrams -- frame -> what the first dissection found in that datagram
local resolved, resolved_count -- client -> address -> name, from DNS answers
local headers -- addresses and ports -> the PROXY protocol header that Wireshark's own dissector shows
local in_flight, leaks -- see call_payload
local visited -- whether the packet in hand has been dissected before: `pinfo.visited`
local last_number, last_key -- of the last call: several calls for one packet share its Info column

local function restore_relays()
  for port, there in pairs(relays or {}) do
    udp_table:remove(port, P)
    if there.previous then udp_table:add(port, there.previous) end
  end
end

local function forget_all()
  restore_relays()
  sessions, by_end, records, headers = { count = 0 }, {}, {}, {}
  relays, datagrams, resolved, resolved_count = {}, {}, {}, 0
  in_flight, leaks, last_number, last_key = false, 0, nil, nil
end

-- The ports of the preference as {first, last} pairs: a proxy's port is trusted whoever calls us.
local proxy_ports = {}
local function read_ports(ranges)
  proxy_ports = {}
  for first, last in ranges:gmatch("(%d+)%-?(%d*)") do
    proxy_ports[#proxy_ports + 1] = { tonumber(first), tonumber(last) or tonumber(first) }
  end
end

local function is_proxy_port(port)
  for _, range in ipairs(proxy_ports) do
    if port >= range[1] and port <= range[2] then return true end
  end
  return false
end

local function is_loopback(address)
  return address == "::1" or find(address, "^127%.") ~= nil or find(address, "^::ffff:127%.") ~= nil
end

-- A session's numbers stand in the array of its table, where each takes 16 octets, not 40: at `AT.spent + side` the
-- octets of a side that are not the tunnel's, at `AT.passed` the packet behind which `relay` has the tunnel, and of the
-- first packet and each step's the number (nil before it came), with its time in the next place.
local AT = {
  spent = 1, passed = 3, first = 4, greeting = 6, selection = 8, auth_request = 10, auth_reply = 12, request = 14,
  reply = 16, peer = 18,
}

-- One SOCKS conversation: a TCP connection, or the inside of another's tunnel. Sides are 0 (sent first) and 1.
-- Its steps are greeting, selection, auth_request, auth_reply, request, reply and peer (BIND's second reply): each is a
-- frame. `handler` is what the tunnel's octets are given to; `gssapi`, `partial`, `noted` and others are there when
-- they are needed. The table has room at once for what nearly every conversation gets, which is 16 names: the next size
-- is 32, with 40 octets for each.
local function new_session(source, source_port, destination, destination_port, trusted, number, now)
  return {
    0, 0, nil, number, now, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
    address0 = source, port0 = source_port, address1 = destination, port1 = destination_port,
    trusted = trusted or nil, id = nil, client = nil, greeting = nil, selection = nil, auth_request = nil,
    auth_reply = nil, request = nil, reply = nil, open = nil, handler = nil, next = nil,
  }
end

local function new_nested_session(parent, number, now)
  local session = new_session(parent.address0, parent.port0, parent.address1, parent.port1, false, number, now)
  session.parent, session.depth = parent, (parent.depth or 0) + 1
  return session
end

local latest_between, remember -- what others use of this
do
  local function is_between(session, source, destination)
    local one, other = session.address0, session.address1
    return (one == source and other == destination) or (one == destination and other == source)
  end

  -- A session is found by its end with the higher port, which is the client's as a rule, and a number for both ports:
  -- Wireshark makes an object of each address that it is asked for, so that one costs as much as all that we keep of a
  -- packet. Ends with the same port have no higher one; there it is the lesser address.
  local function end_of(source, source_port, destination, destination_port)
    if source_port ~= destination_port then return source_port > destination_port and source or destination end
    return source < destination and source or destination
  end

  local function sessions_at(address, source_port, destination_port)
    local there = by_end[address]
    if source_port < destination_port then return there and there[source_port * 65536 + destination_port] end
    return there and there[destination_port * 65536 + source_port]
  end

  -- The latest session between two ends that had begun by packet `number`, or nil.
  function latest_between(source, source_port, destination, destination_port, number)
    local address = end_of(source, source_port, destination, destination_port)
    local session = sessions_at(address, source_port, destination_port)
    while session and (session[AT.first] > number or not is_between(session, source, destination)) do
      session = session.before
    end
    return session
  end

  function remember(session)
    local id = sessions.count + 1
    session.id, sessions.count, sessions[id] = id, id, session
    if session.parent then return end
    local low, high = session.port0, session.port1
    if low > high then low, high = high, low end
    local address = end_of(session.address0, session.port0, session.address1, session.port1)
    local there = by_end[address]
    if not there then
      there = {}
      by_end[address] = there
    end
    session.before = there[low * 65536 + high]
    there[low * 65536 + high] = session
  end
end

local function target_of(session)
  local frame = session.request
  return frame and frame.raw_host and endpoint_of(frame)
end

local function protocol_of(session)
  if not session.socks4 then return "SOCKS5" end
  return session.request and session.request.host_type == DOMAIN and "SOCKS4A" or "SOCKS4"
end

local function outcome_of(session)
  if session.failed then return OUTCOME[session.failed] end
  if session.reply and (session.open or session.resolving) then return OUTCOME.succeeded end
  return session.unreadable and OUTCOME.malformed or OUTCOME.incomplete
end

local function is_client(session, side)
  return session.client == side
end

local function side_name(session, side)
  return session.client == side and "client" or "proxy"
end

local function client_address(session)
  return session.client == 0 and session.address0 or session.address1
end

local function proxy_address(session)
  return session.client == 0 and session.address1 or session.address0
end

local function spend(session, side, octets)
  session[AT.spent + side] = session[AT.spent + side] + octets
end

-- Whether the proxy has said something that fits what the client said.
local function confirmed(session)
  return session.selection ~= nil or session.reply ~= nil
end

local function method_of(session)
  return session.selection and session.selection.method
end

local function binds(session)
  return session.request ~= nil and session.request.command == 2
end

-- Anomalies that what follows would only repeat are noted once a conversation (or association).
local function note_once(noted, notes, code, message)
  if noted[code] then return end
  noted[code] = true
  note(notes, code, message)
end

local function noted_of(session)
  session.noted = session.noted or {}
  return session.noted
end

---------------------------------------------------------------------------------------------------------------------
-- What octets can be
---------------------------------------------------------------------------------------------------------------------

local VERSION_DUE, HTTP_METHODS, foreign_name, is_proxy_header, looks_like_greeting, looks_like_socks4, sound,
  sound_frame, due -- what others use of this
do
  VERSION_DUE = {
    greeting = 5, ["method-selection"] = 5, ["auth-request"] = 1, ["auth-reply"] = 1, gssapi = 1,
    request = 5, reply = 5, ["socks4-request"] = 4, ["socks4-reply"] = 0,
  }

  HTTP_METHODS = {}
  for name in ("GET POST HEAD PUT DELETE OPTIONS PATCH CONNECT TRACE PROPFIND PRI"):gmatch("%S+") do
    HTTP_METHODS[name] = true
  end

  -- The protocol that the first octets of a side show, where it is worth a name.
  function foreign_name(octets, at)
    local a, b = byte(octets, at, at + 1)
    if a == 6 then return "SOCKS6" end
    if a == 0x16 and b == 3 then return "TLS" end
    if sub(octets, at, at + 3) == "SSH-" then return "SSH" end
    if sub(octets, at, at + 4) == "HTTP/" then return "HTTP" end
    local word = octets:match("^(%u+) ", at)
    return word and HTTP_METHODS[word] and "HTTP" or nil
  end

  function is_proxy_header(octets, at)
    local first = byte(octets, at)
    if first == 0x50 then return sub(octets, at, at + 5) == "PROXY " end
    return first == 13 and sub(octets, at, at + 11) == PROXY_2
  end

  -- Whether octets can begin a greeting. Without trust in the port, methods must be distinct and known (or private).
  function looks_like_greeting(octets, at, trusted)
    local version, count = byte(octets, at, at + 1)
    if version ~= 5 then return false end
    if not count then return true end
    local whole = #octets - at + 1 == 2 + count
    if whole and (trusted or count == 0) then return true end
    if count == 0 then return false end
    local seen = {}
    for i = at + 2, min(#octets, at + 1 + count) do
      local method = byte(octets, i)
      local odd_one = method == 4 or method == 0xFF or (method > 9 and method < 0x80)
      if seen[method] or (odd_one and not trusted) then return false end
      seen[method] = true
    end
    local after = byte(octets, at + 2 + count)
    return after == nil or after == 1 or after == 5
  end

  -- A SOCKS4A request with a NUL too many behind USERID: its name lies behind what is then an empty one.
  local function doubled_nul(frame, octets, at)
    return frame.raw_host == "" and find(octets, "^[%w%.%-_]+%z$", at + frame.size) ~= nil
  end

  function looks_like_socks4(octets, at, trusted)
    local version, command = byte(octets, at, at + 1)
    if version ~= 4 then return false end
    if command and not SOCKS4_COMMANDS[command] then return false end
    if trusted then return true end
    local frame = decode("socks4-request", sub(octets, at))
    if frame == nil then return #octets - at < 9 or not find(sub(octets, at + 8), "[%c\127-\255]") end
    if not frame or find(frame.username, "[%c\127-\255]") or #frame.username > 64 then return false end
    if frame.host_type == DOMAIN then
      if doubled_nul(frame, octets, at) then return true end
      if frame.raw_host == "" or find(frame.raw_host, "[%c\127-\255 ]") then return false end
    elseif byte(frame.raw_host) == 0 then
      return false
    end
    return #octets - at + 1 == frame.size and (frame.port ~= 0 or frame.command ~= 1)
  end

  -- Whether a decoded frame is what it seems beyond doubt, whatever the state of the conversation.
  sound = {}

  function sound.request(frame)
    return frame.version == 5 and COMMANDS[frame.command] ~= nil and not frame.reserved and frame.raw_host ~= nil
  end

  function sound.reply(frame)
    return frame.version == 5 and REPLIES[frame.code] ~= nil and not frame.reserved and frame.raw_host ~= nil
  end

  sound["auth-request"] = function(frame, octets)
    return frame.version == 1 and frame.user_size > 0 and (frame.size == #octets or byte(octets, frame.size + 1) == 5)
  end

  sound["auth-reply"] = function(frame, octets)
    return frame.version == 1 and (#octets == 2 or byte(octets, 3) == 5)
  end

  sound["socks4-reply"] = function(frame)
    return (frame.version == 0 or frame.version == 4) and SOCKS4_REPLIES[frame.code] ~= nil
  end

  function sound_frame(kind, octets)
    local frame = decode(kind, octets)
    return frame and sound[kind](frame, octets) and frame or nil
  end

  -- Whether the port tells that a side is the proxy.
  local function speaks_for_proxy(session, side)
    local own, other = session.port0, session.port1
    if side == 1 then own, other = other, own end
    return is_proxy_port(own) and not is_proxy_port(other)
  end

  -- A first frame that is no greeting: a proxy's, where nothing of the client is known (its side is not in the capture,
  -- or later), or a request. None is as short as most greetings, but for the choice of a method.
  local function alone_of(session, side, octets, at)
    local size = #octets - at + 1
    if size > 2 and size < 7 then return nil end
    if speaks_for_proxy(session, side) then
      if size == 2 and METHODS[byte(octets, at + 1)] then return "method-selection" end
      local reply = sound_frame("reply", sub(octets, at))
      if reply and reply.size == size then return "reply" end
    end
    local request = sound_frame("request", sub(octets, at))
    return request and request.size == size and "request" or nil
  end

  -- A reply to a SOCKS4 request whose end has not come.
  local function answers_socks4(session, side, octets, at)
    local asked = session.partial and session.partial[1 - side]
    return asked and asked.kind == "socks4-request" and asked.size >= 8
      and sound_frame("socks4-reply", sub(octets, at)) ~= nil
  end

  -- What a connection can begin with: a decoder's name, or nil.
  local function beginning(session, side, octets, at)
    local trusted = session.trusted
    if is_proxy_header(octets, at) then return "proxy-protocol" end
    local alone = trusted and byte(octets, at) == 5 and alone_of(session, side, octets, at)
    if alone then return alone end
    if looks_like_greeting(octets, at, trusted) then return "greeting" end
    if looks_like_socks4(octets, at, trusted) then return "socks4-request" end
    if answers_socks4(session, side, octets, at) then
      session.client, session.socks4 = 1 - side, true
      return "socks4-reply"
    end
    return nil
  end

  local function after_greeting(session, octets, at, inside)
    local method = method_of(session)
    if method == 0 then return "request" end
    local first = byte(octets, at)
    if method == nil then -- pipelined: the choice has not come yet
      local methods = session.greeting and session.greeting.methods or "\2"
      if first == 5 then return "request" end
      if find(methods, "\2", 1, true) and not session.auth_request then return "auth-request" end
      if find(methods, "\1", 1, true) then return "gssapi" end
      return "request"
    elseif method == 2 then
      if session.auth_request or first == 5 then return "request" end
      return "auth-request"
    elseif method == 1 then
      return (inside or first == 5) and "request" or "gssapi"
    end
    return first == 5 and "request" or "opaque"
  end

  local function due_from_client(session, octets, at, inside)
    if session.request or session.open then return session.resolving and "extra" or "tunnel" end
    if session.socks4 then return "socks4-request" end
    if not session.greeting and looks_like_greeting(octets, at, false) then return "greeting" end
    return after_greeting(session, octets, at, inside)
  end

  local function due_from_proxy(session, octets, at, inside)
    local reply, selection = session.reply, session.selection
    if reply and (session.peer or not binds(session)) then return session.resolving and "extra" or "tunnel" end
    if session.socks4 then return "socks4-reply" end
    if reply then return "reply" end
    local method = selection and selection.method
    if method == nil then return (session.auth_reply or not session.greeting) and "reply" or "method-selection" end
    if method == 2 and not session.auth_reply and not session.skipped_auth then return "auth-reply" end
    if method == 0 and not session.auth_request then return "reply" end
    local first = byte(octets, at)
    if session.auth_request and not session.auth_reply and first == 1 then return "auth-reply" end
    if not session.request and not inside then
      if method == 1 then return "gssapi" end
      if method ~= 0 and method ~= 2 then return first == 5 and "reply" or "opaque" end
    elseif method == 1 and first == 1 and not inside then
      return "gssapi"
    end
    return "reply"
  end

  -- What the octets at `at` of a side have to be: a decoder's name, "tunnel", or nil when they cannot be SOCKS.
  -- `inside` is set for octets that came out of GSSAPI frames.
  function due(session, side, octets, at, inside)
    -- A rejection may come before the request, which is still read.
    if session.failed and (session.request or session.failed ~= "rejected" or side ~= session.client) then
      return "extra"
    end
    if session.client == nil then return beginning(session, side, octets, at) end
    if session.gssapi and session.gssapi.sealed and not inside then return "gssapi" end
    if side == session.client then return due_from_client(session, octets, at, inside) end
    return due_from_proxy(session, octets, at, inside)
  end
end

---------------------------------------------------------------------------------------------------------------------
-- What a frame changes in its conversation, and what is odd about it there
---------------------------------------------------------------------------------------------------------------------

local apply -- what others use of this
do
  apply = {}

  local function take_step(session, step, frame, number, now)
    local at = AT[step]
    session[step], session[at], session[at + 1] = frame, number, now
  end

  apply["proxy-protocol"] = function() end

  function apply.greeting(session, side, frame, notes, number, now)
    if session.client == nil then
      session.client = side
    elseif session.selection then
      note(notes, "server-spoke-first", "the proxy sent before the client's first frame was whole")
    end
    take_step(session, "greeting", frame, number, now)
  end

  apply["method-selection"] = function(session, side, frame, notes, number, now)
    if session.client == nil then session.client = 1 - side end
    take_step(session, "selection", frame, number, now)
    local greeting = session.greeting
    if frame.method == 0xFF then
      note(notes, "no-acceptable-method", "the proxy accepts none of the offered methods")
      session.failed = "no-acceptable-method"
    elseif greeting and not greeting.head and not greeting.offers[frame.method] then
      note(notes, "method-not-offered", format("the proxy chose 0x%02x, which was not offered", frame.method))
    end
  end

  apply["auth-request"] = function(session, _, frame, notes, number, now)
    take_step(session, "auth_request", frame, number, now)
    local method = method_of(session)
    if method and method ~= 2 then
      note(notes, "auth-unasked",
        format("user name and password came although the proxy chose %s", method_name(method)))
    end
    if not (is_loopback(session.address0) and is_loopback(session.address1)) then
      note(notes, "cleartext-credentials", "user name and password crossed in clear")
    end
  end

  apply["auth-reply"] = function(session, _, frame, notes, number, now)
    take_step(session, "auth_reply", frame, number, now)
    if frame.status and frame.status ~= 0 then
      note(notes, "auth-failed", format("the proxy refused the credentials (status 0x%02x)", frame.status))
      session.failed = "auth-failed"
    end
  end

  function apply.gssapi(session, side, frame, notes)
    local state = session.gssapi or { pending = {}, sent = 0, received = 0 }
    session.gssapi = state
    if frame.message_type == 0xFF then
      session.failed = "auth-failed"
      note(notes, "auth-failed", format("the %s refused the GSSAPI security context", side_name(session, side)))
    elseif frame.message_type == 2 and #frame.token == 1 then
      note_once(noted_of(session), notes, "gssapi-level-unprotected", "the protection level was sent unwrapped")
    elseif frame.message_type == 3 then
      state.sealed = true
    end
  end

  local function unmapped(address)
    return (address:gsub("^::ffff:", ""))
  end

  local function check_associate(session, frame, notes)
    local own = unmapped(client_address(session))
    if frame.host_type == DOMAIN then
      note(notes, "associate-names-target", "UDP ASSOCIATE for a domain name")
    elseif find(frame.raw_host, "[^%z]") and unmapped(host_of(frame)) ~= own then
      note(notes, "associate-names-target", format("UDP ASSOCIATE for %s, but the client is %s", host_of(frame), own))
    end
  end

  function apply.request(session, side, frame, notes, number, now)
    if session.client == nil then session.client = side end
    if frame.socks4 then session.socks4 = true end
    take_step(session, "request", frame, number, now)
    if frame.command == 0xF0 or frame.command == 0xF1 then session.resolving = true end
    local selection = session.selection
    if selection and selection.method == 2 and not session.auth_request and session.greeting then
      session.skipped_auth = true
    end
    if session.skipped_auth then note(notes, "bad-version", "a request came where user name and password were due") end
    local reply = session.reply
    if reply and not session.settled then
      note(notes, "reply-before-request", "the proxy sent before the client's request")
      if reply.code == 0 and frame.command ~= 2 and not session.resolving then session.open = number end
    end
    if frame.command == 3 and not frame.socks4 and frame.raw_host then check_associate(session, frame, notes) end
  end

  local function open_relay(session, frame, notes, number)
    local port = frame.port
    local address = host_of(frame)
    if frame.host_type == DOMAIN then
      address = nil
    elseif not find(frame.raw_host, "[^%z]") then
      note(notes, "bound-unspecified", format("the relay's address is %s: that of the proxy",
        endpoint_of(frame)))
      address = proxy_address(session)
    elseif is_loopback(host_of(frame)) and not is_loopback(client_address(session)) then
      note(notes, "unreachable-bound", format("the relay's address %s cannot be reached from %s", host_of(frame),
        client_address(session)))
      address = nil
    end
    if port == 0 then
      note(notes, "unreachable-bound", "the relay's port is 0")
      return
    end
    local there = relays[port]
    if not there then
      there = { previous = udp_table:get_dissector(port) }
      relays[port] = there
      udp_table:add(port, P)
    end
    local asked = session.request
    local own = asked and asked.raw_host and asked.host_type ~= DOMAIN
      and (unmapped(host_of(asked)) == unmapped(client_address(session)) or not find(asked.raw_host, "[^%z]"))
    there[#there + 1] = {
      session = session, address = address, client = client_address(session), client_port = own and asked.port or 0,
      first = number, queues = {}, sent = 0, received = 0, remotes = {}, noted = {},
    }
    session.relay = there[#there]
  end

  local function apply_peer(session, frame, number, now)
    take_step(session, "peer", frame, number, now)
    if frame.code ~= (session.socks4 and 90 or 0) then
      session.failed = "rejected"
    else
      session.open = number
    end
  end

  function apply.reply(session, side, frame, notes, number, now)
    if session.client == nil then session.client = 1 - side end
    if session.reply then return apply_peer(session, frame, number, now) end
    take_step(session, "reply", frame, number, now)
    if frame.code ~= (session.socks4 and 90 or 0) then
      session.failed = "rejected"
      return
    end
    local asked = session.request
    if asked and asked.command == 3 and not session.socks4 and frame.raw_host then
      open_relay(session, frame, notes, number)
    end
    -- Without a request, what the client sends next tells whether that is late or lost.
    if (asked or session.unreadable) and not session.resolving and not binds(session) then session.open = number end
  end
end

---------------------------------------------------------------------------------------------------------------------
-- From octets to frames
---------------------------------------------------------------------------------------------------------------------

local WORDS, read, read_usual -- what others use of this
do
  local FAILURES = {
    ["no-acceptable-method"] = "the refusal", ["auth-failed"] = "a failed authentication", rejected = "a failure reply",
  }

  WORDS = {
    greeting = "the greeting", ["method-selection"] = "the method choice", ["auth-request"] = "user name and password",
    ["auth-reply"] = "the answer to user name and password", gssapi = "a GSSAPI message", request = "the request",
    reply = "the reply", ["socks4-request"] = "the request", ["socks4-reply"] = "the reply",
    ["proxy-protocol"] = "the PROXY header",
  }

  -- Whether the proxy's first frame fits what the client said. Without trust in the port, SOCKS is claimed only then.
  local function fits(session, frame, size)
    if session.trusted or confirmed(session) then return true end
    if frame.kind == "method-selection" then
      local methods = session.greeting and session.greeting.methods or ""
      if frame.version ~= 5 then return false end
      return frame.method == 0xFF or (methods == "" and frame.method == 0)
        or find(methods, string.char(frame.method), 1, true) ~= nil
    elseif frame.socks4 and frame.kind == "reply" then
      return sound["socks4-reply"](frame) and (frame.version == 0 or size == frame.size)
    end
    return true
  end

  -- What octets after a failure mean. Each anomaly is noted once a conversation.
  local function judge_rest(session, side, notes)
    if session.failed == "no-acceptable-method" and not is_client(session, side) then
      note_once(noted_of(session), notes, "refusal-too-long", "octets follow the refusal of all methods")
    elseif session.failed then
      note_once(noted_of(session), notes, "data-after-failure",
        format("octets of the %s after %s", side_name(session, side), FAILURES[session.failed]))
    end
  end

  -- Octets that are no frame that is due, nor another: the reading goes on with what comes after them.
  local function unreadable(session, kind, octets, notes)
    local first, version = byte(octets), VERSION_DUE[kind]
    if first ~= version then
      local name = foreign_name(octets, 1)
      note_once(noted_of(session), notes, "bad-version",
        format("version %d where %d is due%s", first, version or 5, name and " (" .. name .. ")" or ""))
    else
      note_once(noted_of(session), notes, "not-socks-on-socks-port",
        format("no SOCKS4: a string has no NUL within %d octets", MAX_SOCKS4_STRING))
    end
    session.unreadable = true
    return decode("lost", octets)
  end

  -- Frames that a side may send instead of the one that is due.
  local OTHERS = { client = { "auth-request", "request" }, proxy = { "reply", "auth-reply" } }
  local CAME = {
    ["auth-request"] = "auth_request", ["auth-reply"] = "auth_reply", request = "request", reply = "reply",
  }

  -- The one resynchroniser: what octets are that do not begin as the frame that is due. A frame that is sound on its
  -- own is taken, and what it shows to be missing is noted. Nil when they are nothing.
  local function resynchronise(session, side, kind, octets, notes)
    if session.socks4 or session.client == nil then return nil end
    for _, other in ipairs(OTHERS[side_name(session, side)]) do
      local possible = other ~= kind and not session[CAME[other]]
        and (other ~= "reply" or session.request ~= nil or session.unreadable)
        and (other ~= "auth-reply" or session.auth_request ~= nil or method_of(session) == 2)
      local frame = possible and sound_frame(other, octets)
      if frame then
        if other == "reply" and (kind == "method-selection" or kind == "auth-reply") then
          session.withheld = (session.withheld or 0) + 2
          note_once(noted_of(session), notes, "handshake-gap", WORDS[kind] .. " (2 octets) is missing")
        end
        return frame
      end
    end
    return nil
  end

  -- Whether octets begin as a frame of this kind does.
  local function in_step(session, kind, octets)
    if byte(octets) ~= VERSION_DUE[kind] then return false end
    if kind ~= "method-selection" or #octets == 2 or not session.request then return true end
    local method, after = byte(octets, 2, 3) -- a reply has RSV there
    return after == 5 or after == 1 or method == 0xFF or after == nil
  end

  -- The frame that octets begin with; nil (and perhaps its size) when its end has not come; false when they are none.
  local function next_frame(session, side, kind, octets, notes)
    if not VERSION_DUE[kind] or in_step(session, kind, octets) then return decode(kind, octets) end
    local other = resynchronise(session, side, kind, octets, notes)
    if other then return other end
    if foreign_name(octets, 1) then return false end
    if byte(octets) > 9 then return false end -- more than a slip of the version
    local frame = decode(kind, octets)
    if frame and frame.host_type and not frame.raw_host then return false end
    return frame
  end

  -- A side relays although the other's last frame was not seen: the client after a reply without a request, the proxy
  -- after data of the client without a reply. The relay is open, then.
  local function opened_unseen(session, side, notes, number)
    local client = is_client(session, side)
    if client and (session.request or not session.reply) then return false end
    if not client and (session.reply or not session.request or not session.tunnelled) then return false end
    local missing = WORDS[client and "request" or "reply"]
    note_once(noted_of(session), notes, "handshake-gap", missing .. " is not in the capture")
    session.settled, session.open = true, number
    return true
  end

  local spare -- a list for notes that nobody used
  local unseal, settle -- below: the inside of a GSSAPI frame; a frame that was never finished

  -- One more frame for `found`, which lists them. `at[i]` is the place of the i-th (nil: 1), `notes[i]` what is odd
  -- about it here, `inner[i]` what a GSSAPI frame encloses; `peer` is the index of BIND's second reply.
  local function put(found, frame, at, notes)
    local i = #found + 1
    found[i] = frame
    if at > 1 then
      found.at = found.at or {}
      found.at[i] = at
    end
    if #notes > 0 then
      found.notes = found.notes or {}
      found.notes[i] = notes
    end
    return i
  end

  -- What is said once a segment: that it held more than one frame, and which.
  local function note_pipelined(session, side, when, notes, kind)
    if session.piped == when.number then return end
    session.piped = when.number
    note(notes, "pipelined-frames",
      format("frames of the %s came in one segment: %s, then %s", side_name(session, side), when.whole, WORDS[kind]))
  end

  -- A frame takes effect.
  local function take(session, side, found, frame, notes, when)
    local known = apply[frame.kind]
    if known then
      if frame.kind == "reply" then
        settle(session, side, when)
        if session.reply then found.peer = #found + 1 end
      end
      known(session, side, frame, notes, when.number, when.now)
      if frame.message_type == 3 then
        found.inner = found.inner or {}
        found.inner[#found + 1] = unseal(session, side, frame, when)
      end
      if frame.kind ~= "proxy-protocol" then
        if when.split then note(notes, "split-frame", WORDS[frame.kind] .. " came in several segments") end
        if when.whole then note_pipelined(session, side, when, notes, frame.kind) end
        when.whole = WORDS[frame.kind]
      end
    elseif frame.kind == "extra" then
      judge_rest(session, side, notes)
    end
    when.split = false
  end

  -- The last octets are a frame's beginning: kept for the segment that has its end.
  local function keep(session, side, found, kind, octets, at, needed, when)
    local rest = at == 1 and octets or sub(octets, at)
    session.partial = session.partial or {}
    session.partial[side] = { rest, kind = kind, size = #rest, needed = needed }
    found.partial, found.tail = kind, at - 1
    if when.whole and session.piped ~= when.number then
      found.notes = found.notes or {}
      found.notes[#found] = found.notes[#found] or {}
      note_pipelined(session, side, when, found.notes[#found], kind)
    end
    return found
  end

  -- CONNECT's replies differ in what they name, and nobody asks: BND is shown in the packet's details, if at all. One
  -- frame stands for all that begin alike and are as long.
  local alike = {}

  local function reply_like(octets)
    local size = #octets
    if size ~= 10 and size ~= 22 then return nil end
    local start = sub(octets, 1, 4)
    local frame = alike[start]
    if not frame then
      frame = decode("reply", octets)
      if not frame or frame.odd or frame.size ~= size then return nil end
      alike[start] = frame
    end
    return frame.size == size and frame or nil
  end

  -- What comes next where nothing is odd, from a greeting on, and whether the client sends it.
  local NEXT = { greeting = "method-selection", ["method-selection"] = "request", request = "reply" }
  local FROM_CLIENT = { ["method-selection"] = false, request = true, reply = false }

  -- Most segments are one frame that is due, with nothing odd, on a connection that is surely SOCKS: what `read` would
  -- say of it, quicker. `session.next` is what `due` would answer, as long as all frames came in order. Returns the
  -- decoder's name, the frame (or one like it, see above), and what is odd about it here; nil where `read` has to look.
  function read_usual(session, side, octets, number, now)
    local kind = session.next
    local in_order = kind and FROM_CLIENT[kind] == (side == session.client)
    if not in_order then
      if session.partial or session.header or not (session.trusted or confirmed(session)) then return nil end
      kind = due(session, side, octets, 1)
      if not VERSION_DUE[kind] or kind == "gssapi" then return nil end
      in_order = kind == "greeting"
    end
    local asked = kind == "reply" and session.request
    local frame = asked and asked.command == 1 and reply_like(octets) or decode(kind, octets)
    if not frame or frame.odd or frame.size ~= #octets then return nil end -- another version than is due is odd
    local frame_kind = frame.kind
    if frame_kind == "reply" and session.reply then return nil end
    local notes = spare or {}
    apply[frame_kind](session, side, frame, notes, number, now)
    if #notes == 0 then
      spare, session.next = notes, in_order and frame.method ~= 2 and NEXT[kind] or nil
      return kind, frame
    end
    spare, session.next = nil, nil
    return kind, decode(kind, octets), notes
  end

  -- Turn the octets of a side into frames. `when` says of the segment: number, now, split (its first frame began in an
  -- earlier one), inside (of GSSAPI) and cut (the capture lacks its end). Returns `found`, an empty list, with them, or
  -- nil when this is not SOCKS; `tail` is the place, from 0, of what is no frame: a `tunnel`, or the beginning
  -- (`partial`) of a frame.
  function read(session, side, octets, when, found)
    local at, size = 1, #octets
    local notes = spare or {}
    spare, when.whole = nil, nil
    while at <= size do
      local kind = due(session, side, octets, at, when.inside)
      if kind == nil then return nil end
      if kind == "tunnel" then break end
      local rest = at == 1 and octets or sub(octets, at)
      local frame, needed = next_frame(session, side, kind, rest, notes)
      if frame == nil then
        if not when.cut then return keep(session, side, found, kind, octets, at, needed, when) end
        frame = decode_head(kind, rest)
        note_once(noted_of(session), notes, "handshake-gap",
          "the capture holds only the beginning of " .. (WORDS[kind] or "a frame"))
      end
      if not frame or (frame.host_type and not frame.raw_host and not frame.head) then
        if session.client == nil or not (confirmed(session) or session.trusted) then return nil end
        if not frame then
          if opened_unseen(session, side, notes, when.number) then
            found.remarks, notes = notes, {}
            break
          end
          frame = unreadable(session, kind, rest, notes)
        end
      elseif not fits(session, frame, #rest) then
        return nil
      end
      take(session, side, found, frame, notes, when)
      put(found, frame, at, notes)
      if #notes > 0 then notes = {} end
      at = at + frame.size
    end
    if at <= size then found.tunnel, found.tail = true, at - 1 end
    spare = notes
    return found
  end

  -- What a GSSAPI frame that is not encrypted encloses: SOCKS frames, then tunnel octets. Nil where it is encrypted.
  function unseal(session, side, frame, when)
    local plain = unwrap(frame.token)
    local state = session.gssapi
    if not plain then
      state.encrypted = true
      return nil
    end
    local before = state.pending[side]
    local octets = (before or "") .. plain
    local partial = session.partial
    session.partial = nil
    local found = read(session, side, octets, {
      number = when.number, now = when.now, inside = true, split = before ~= nil,
    }, {}) or {}
    session.partial = partial
    state.pending[side] = found.partial and #octets < 1024 and sub(octets, found.tail + 1) or nil
    return { octets = octets, found = found, tunnel = found.tunnel and found.tail + 1, early = not session.open }
  end

  -- A reply shows that the frame it answers will not be finished: what there is of it is the frame.
  function settle(session, side, when)
    local waiting = session.partial and session.partial[1 - side]
    if not waiting or not waiting.key or session.request then return end
    if waiting.kind ~= "request" and waiting.kind ~= "socks4-request" then return end
    local octets = concat(waiting)
    local frame = decode_head(waiting.kind, octets)
    if frame.kind ~= "request" then return end
    session.partial[1 - side] = nil
    local notes = {}
    if waiting.kind == "request" then
      note_once(noted_of(session), notes, "handshake-gap", "the end of the request is not in the capture")
    end
    apply.request(session, 1 - side, frame, notes, waiting.number, when.now)
    local record = records[waiting.key]
    if not record or not record.partial then return end
    local at = record.tail + 1
    record.partial, record.tail, record.silent = nil, nil, nil
    put(record, frame, at, notes)
  end
end

---------------------------------------------------------------------------------------------------------------------
-- Packet details and columns
---------------------------------------------------------------------------------------------------------------------

local add_anomalies, show_address, show_conversation, show_frame, show_frames, our_dissector, wanted, set_info,
  words_for, words_for_all
do
  local function masked(octets)
    return P.prefs.show_passwords and text(octets) or "********"
  end

  local function level_of(frame)
    local plain = #frame.token == 1 and frame.token or unwrap(frame.token)
    return plain and #plain == 1 and byte(plain) or nil
  end

  -- One line for a frame; for most kinds the same whatever the conversation, and then made once (see `words_for`).
  local words_of, fixed_words_of = {}, {}

  function fixed_words_of.greeting(frame)
    local names = {}
    for i = 1, #frame.methods do names[i] = method_name(byte(frame.methods, i)) end
    return "Greeting: " .. (#names > 0 and concat(names, ", ") or "no methods")
  end

  fixed_words_of["method-selection"] = function(frame)
    return "Method selection: " .. method_name(frame.method)
  end

  fixed_words_of["auth-request"] = function(frame)
    return "Username/password: " .. (frame.username and text(frame.username) or "?")
  end

  fixed_words_of["auth-reply"] = function(frame)
    if frame.status == 0 then return "Authentication succeeded" end
    return format("Authentication failed (status %s)", hex2(frame.status))
  end

  function fixed_words_of.gssapi(frame)
    local level = frame.message_type == 2 and level_of(frame)
    return "GSSAPI: " .. gssapi_message_name(frame.message_type)
      .. (level and ", " .. protection_level_name(level) or "")
  end

  function words_of.request(_, frame)
    local target = frame.raw_host and endpoint_of(frame) or "(unreadable)"
    return "Request: " .. command_title(frame.command) .. " " .. target
  end

  function words_of.reply(session, frame, peer)
    local code, socks4, asked = frame.code, frame.socks4, session.request
    local name = socks4 and socks4_reply_name(code) or REPLIES[code] or reply_name(code)
    if code == (socks4 and 90 or 0) and frame.raw_host and not (asked and asked.command == 1) then
      if session.resolving then
        name = name .. ", " .. host_of(frame)
      elseif peer then
        return "Reply: " .. name .. ", peer " .. endpoint_of(frame)
      elseif binds(session) then
        return "Reply: " .. name .. ", listening on " .. endpoint_of(frame)
      elseif session.relay then
        return "Reply: " .. name .. ", relay " .. endpoint_of(frame)
      end
    end
    local target = asked and asked.raw_host and (asked.endpoint or endpoint_of(asked))
    return target and "Reply: " .. name .. " (" .. target .. ")" or "Reply: " .. name
  end

  function words_of.opaque(session)
    return "Negotiation of " .. method_name(method_of(session) or 0xFF)
  end

  function words_of.extra(session, frame)
    return format("%d octets after the %s", frame.size, session.failed and "failure" or "answer")
  end

  function fixed_words_of.lost(frame)
    return format("%d octets that cannot be read", frame.size)
  end

  fixed_words_of["proxy-protocol"] = function(frame)
    return "PROXY header: " .. (frame.named and text(frame.named) or "no client")
  end

  function words_for(session, frame, peer)
    local words = frame.words
    if words then return words end
    local fixed = fixed_words_of[frame.kind]
    if not fixed then return words_of[frame.kind](session, frame, peer) end
    words = fixed(frame)
    frame.words = words
    return words
  end

  -- One line for all that was found in a packet, with what GSSAPI frames enclose.
  function words_for_all(session, found)
    if #found == 1 and not found.inner then return words_for(session, found[1], found.peer == 1) end
    local words = {}
    for i, frame in ipairs(found) do
      words[i] = words_for(session, frame, found.peer == i)
      local inner = found.inner and found.inner[i]
      if inner and #inner.found > 0 then words[i] = words[i] .. " (" .. words_for_all(session, inner.found) .. ")" end
    end
    return concat(words, ", ")
  end

  function add_anomalies(item, list)
    for i = 1, list and #list or 0, 2 do
      local expert_info = E[list[i]]
      if expert_info then item:add_proto_expert_info(expert_info, list[i + 1]) end
      set_generated(add(item, F.anomaly, list[i]))
    end
  end

  -- The place of the host in its frame, from 0: SOCKS4A's name ends the frame, but for a NUL.
  local function place_of_host(frame)
    if frame.host_type ~= DOMAIN then return 4 end
    return frame.socks4 and frame.size - 1 - #frame.raw_host or 5
  end

  -- ATYP, host and port of `frame`, which begins at `at` in the tvb.
  function show_address(item, tvb, at, frame, fields)
    local kind = frame.host_type
    local host_at, host_size = at + place_of_host(frame), #frame.raw_host
    local host = tvb(host_at, host_size)
    if frame.socks4 then
      add(item, fields.port, tvb(at + 2, 2), frame.port)
      set_generated(add(item, fields.type, host, kind))
    else
      add(item, fields.type, tvb(at + 3, 1), kind)
      if kind == DOMAIN then add(item, fields.length, tvb(at + 4, 1), host_size) end
    end
    add(item, fields.host, host, host_of(frame))
    if kind == IPV4 then
      add(item, fields.ipv4, host)
    elseif kind == IPV6 then
      add(item, fields.ipv6, host)
    else
      add(item, fields.domain, host, host_of(frame))
      if host_size > 0 and host_size ~= #host_of(frame) then add(item, fields.octets, host) end
    end
    if not frame.socks4 then add(item, fields.port, tvb(host_at + host_size, 2), frame.port) end
  end

  -- The fields before the cut, or before an address type that is unknown.
  local function show_head(frame, item, tvb, at)
    add(item, F.version, tvb(at, 1), frame.version)
    if frame.command then
      add(item, F.command, tvb(at + 1, 1), frame.command)
    elseif frame.code then
      add(item, F.reply_code, tvb(at + 1, 1), frame.code)
    end
    if frame.reserved or not frame.head then add(item, F.reserved, tvb(at + 2, 1)) end
    if frame.host_type and not frame.socks4 and not frame.head then
      add(item, (frame.code and BND or DST).type, tvb(at + 3, 1), frame.host_type)
    end
    if frame.raw_host then
      add(item, DST.host, tvb(at + 4, 4), host_of(frame))
      add(item, DST.ipv4, tvb(at + 4, 4))
      add(item, DST.port, tvb(at + 2, 2), frame.port)
    end
    for i = 1, frame.methods and #frame.methods or 0 do
      add(item, F.methods, tvb(at + 1 + i, 1), byte(frame.methods, i))
    end
    add(item, F.data, tvb(at, frame.size))
  end

  local function show_username(item, range, octets)
    add(item, F.username, range, text(octets))
    if find(octets, "[%z\128-\255]") then add(item, F.username_octets, range) end
  end

  local function link_answer(item, answered_in)
    if answered_in then set_generated(add(item, F.response_in, answered_in)) end
  end

  local function link_question(item, session, asked, answered)
    local asked_in, answered_in = session[asked], session[answered]
    if not asked_in or not answered_in then return end
    local after = session[answered + 1] - session[asked + 1]
    if after < 0 or answered_in < asked_in then return end
    set_generated(add(item, F.response_to, asked_in))
    local seconds = floor(after)
    set_generated(add(item, F.time, NSTime.new(seconds, floor((after - seconds) * 1e9 + 0.5))))
  end

  local show = {}

  function show.greeting(session, frame, item, tvb, at)
    local count = #frame.methods
    add(item, F.version, tvb(at, 1), frame.version)
    add(item, F.method_count, tvb(at + 1, 1), count)
    for i = 1, count do add(item, F.methods, tvb(at + 1 + i, 1), byte(frame.methods, i)) end
    link_answer(item, session[AT.selection])
  end

  show["method-selection"] = function(session, frame, item, tvb, at)
    add(item, F.version, tvb(at, 1), frame.version)
    add(item, F.method, tvb(at + 1, 1), frame.method)
    link_question(item, session, AT.greeting, AT.selection)
  end

  show["auth-request"] = function(session, frame, item, tvb, at)
    local password_at = at + 3 + frame.user_size
    add(item, F.version, tvb(at, 1), frame.version)
    add(item, F.username_length, tvb(at + 1, 1), frame.user_size)
    show_username(item, tvb(at + 2, frame.user_size), frame.username)
    add(item, F.password_length, tvb(password_at - 1, 1), frame.password_size)
    local range = tvb(password_at, frame.password_size)
    add(item, F.password, range, masked(frame.password_size > 0 and range:raw() or ""))
    link_answer(item, session[AT.auth_reply])
  end

  show["auth-reply"] = function(session, frame, item, tvb, at)
    add(item, F.version, tvb(at, 1), frame.version)
    add(item, F.auth_status, tvb(at + 1, 1), frame.status)
    set_generated(add(item, F.authenticated, frame.status == 0))
    link_question(item, session, AT.auth_request, AT.auth_reply)
  end

  function show.gssapi(_, frame, item, tvb, at)
    add(item, F.version, tvb(at, 1), frame.version)
    add(item, F.gssapi_type, tvb(at + 1, 1), frame.message_type)
    if not frame.token then return end
    add(item, F.gssapi_length, tvb(at + 2, 2), #frame.token)
    local token = tvb(at + 4, #frame.token)
    if #frame.token > 0 then add(item, F.gssapi_token, token) end
    if frame.message_type == 2 then
      local level = level_of(frame)
      if level then set_generated(add(item, F.gssapi_level, token, level)) end
    elseif frame.message_type == 3 then
      set_generated(add(item, F.gssapi_encrypted, unwrap(frame.token) == nil))
    end
  end

  -- Whether the client learnt the request's address from a DNS answer to itself.
  local function note_local_dns(session, frame, item)
    -- DST of UDP ASSOCIATE is where the client comes from, and an unspecified one may stand for any place.
    local place = frame.command == 1 or (frame.command ~= 3 and find(frame.raw_host, "[^%z]"))
    local names = place and frame.host_type ~= DOMAIN and resolved[client_address(session)]
    local name = names and names[host_of(frame)]
    if name and name[2] < session[AT.request] then
      add_anomalies(item, { "local-dns", format("a DNS answer gave %s for %s", host_of(frame), name[1]) })
    end
  end

  -- What is odd about a frame beyond what its reading told.
  local later = {}

  function later.request(session, frame, item)
    if resolved_count > 0 then note_local_dns(session, frame, item) end
  end

  -- Now that all is read: a request that came late has said so itself.
  function later.reply(session, _, item)
    if visited and session.greeting and not (session.request or session.settled or session.unreadable) then
      add_anomalies(item, { "handshake-gap", "the request is not in the capture" })
    end
  end

  function show.request(session, frame, item, tvb, at)
    later.request(session, frame, item)
    add(item, F.version, tvb(at, 1), frame.version)
    add(item, F.command, tvb(at + 1, 1), frame.command)
    if not frame.socks4 then add(item, F.reserved, tvb(at + 2, 1)) end
    show_address(item, tvb, at, frame, DST)
    if frame.socks4 then show_username(item, tvb(at + 8, #frame.username), frame.username) end
    link_answer(item, session[AT.reply])
  end

  function show.reply(session, frame, item, tvb, at, peer)
    add(item, F.version, tvb(at, 1), frame.version)
    add(item, frame.socks4 and F.reply_code4 or F.reply_code, tvb(at + 1, 1), frame.code)
    if not frame.socks4 then add(item, F.reserved, tvb(at + 2, 1)) end
    show_address(item, tvb, at, frame, peer and PEER or BND)
    if peer then set_generated(add(item, F.reply_peer, true)) end
    link_question(item, session, AT.request, peer and AT.peer or AT.reply)
    later.reply(session, frame, item)
  end

  local SPEAKERS = {
    greeting = "client", ["method-selection"] = "proxy", ["auth-request"] = "client", ["auth-reply"] = "proxy",
    request = "client", reply = "proxy",
  }

  -- What every frame of a conversation shows of it, so that one filter finds them all.
  function show_conversation(session, item, kind)
    set_generated(add(item, F.type, TYPE[kind]))
    set_generated(add(item, F.stream, session.id))
    set_generated(add(item, F.outcome, outcome_of(session)))
    if session.depth then set_generated(add(item, F.depth, session.depth)) end
    local asked = session.request
    if asked and asked.raw_host and kind ~= "request" then
      set_generated(add(item, DST.host, host_of(asked)))
      set_generated(add(item, DST.port, asked.port))
    end
  end

  local function show_fields(session, side, frame, item, at, peer, tvb)
    set_text(item, protocol_of(session) .. ", " .. words_for(session, frame, peer))
    show_conversation(session, item, frame.kind)
    if not SPEAKERS[frame.kind] and session.client then -- the type does not tell
      set_generated(add(item, F.sender, side_name(session, side)))
    end
    local details = show[frame.kind]
    if not details then
      add(item, F.data, tvb(at, frame.size))
    elseif frame.head or (frame.host_type and not frame.raw_host) then
      show_head(frame, item, tvb, at)
    else
      details(session, frame, item, tvb, at, peer)
    end
  end

  -- A frame that begins at `at` of a tvb. Our layer is there wherever a tree is, its fields only when somebody looks
  -- (`all`), and what is odd always: expert information counts even where nobody looks at the tree.
  function show_frame(session, side, frame, at, notes, peer, tvb, tree, all)
    local plain = not all and not frame.odd and not notes and (resolved_count == 0 or frame.kind ~= "request")
    if plain and not is_tree(tree) then return end
    local range = frame.size == length_of(tvb) and tvb or tvb(at, frame.size)
    local item = add(tree, P, range)
    if plain then return end
    if all then
      show_fields(session, side, frame, item, at, peer, tvb)
    elseif later[frame.kind] and frame.raw_host and not frame.head then
      later[frame.kind](session, frame, item)
    end
    if frame.odd then add_anomalies(item, frame.odd) end
    if notes then add_anomalies(item, notes) end
  end

  -- The frames that were found in a tvb.
  function show_frames(session, side, found, tvb, tree, all)
    local places, notes = found.at, found.notes
    for i = 1, #found do
      local at = (places and places[i] or 1) - 1
      show_frame(session, side, found[i], at, notes and notes[i], found.peer == i, tvb, tree, all)
    end
  end

  -- Whether anybody looks at our part of the tree. When nobody does, building it would be the larger part of the cost.
  function wanted(tree)
    return refers_to(tree, our_dissector)
  end

  -- In the Info column the frames of a conversation inside another's tunnel say how deep they are.
  function set_info(pinfo, number, key, session, words)
    local cols = columns_of(pinfo)
    cols.protocol = session.socks4 and protocol_of(session) or "SOCKS5"
    if session.depth then words = "SOCKS " .. session.depth + 1 .. ": " .. words end
    if last_number == number and last_key ~= key then
      cols.info:append(", " .. words)
    else
      cols.info = words
    end
    last_number, last_key = number, key
  end

end

---------------------------------------------------------------------------------------------------------------------
-- What the proxy relays
---------------------------------------------------------------------------------------------------------------------

local dissector, names_port, call_payload, count_leaks, call_datagram, dissect_octets, may_dissect, tunnel, relay
do
  local MAX_TRIES = 6 -- segments of a tunnel that are looked at for what its protocol is
  local MAX_DEPTH = 8 -- SOCKS inside SOCKS inside SOCKS ...
  local dissectors = {}
  function dissector(name)
    local found = dissectors[name]
    if found == nil then
      local ok, there = pcall(Dissector.get, name)
      found = ok and there or false
      dissectors[name] = found
    end
    return found
  end

  -- The dissector that a port of the table names, unless that is SOCKS itself (the built-in one must not be called).
  function names_port(ports, port)
    local found = ports:get_dissector(port)
    return found ~= nil and not find(tostring(found):lower(), "socks", 1, true)
  end

  -- A payload's handler: {dissector = ...}, {port = ...} (by the port table), {smb = true}, {nested = true} or nil. One
  -- for all conversations with such a payload, but for nested ones.
  local handlers = {}

  local function by_dissector(name)
    local handler = handlers[name]
    if handler == nil then
      local found = dissector(name)
      handler = found and { dissector = found, call = found.call } or false
      handlers[name] = handler
    end
    return handler
  end

  local function by_port(port)
    local handler = handlers[port]
    if not handler then
      handler = { port = port }
      handlers[port] = handler
    end
    return handler
  end

  local SMB = { smb = true }

  local function by_words(octets)
    if sub(octets, 1, 14) == "PRI * HTTP/2.0" then return by_dissector("http2") end
    local word = octets:match("^(%u+) ")
    if (word and HTTP_METHODS[word]) or find(octets, "^HTTP/1%.") then return by_dissector("http") end
    if find(octets, "^SSH%-") then return by_port(22) end
    if find(octets, "^220[ %-]") and find(octets, "SMTP", 1, true) then return by_port(25) end
    if find(octets, "^[EeHhLl][HhEe][Ll][Oo] ") then return by_port(25) end
    return nil
  end

  local function by_content(octets)
    local a, b, c = byte(octets, 1, 3)
    if a == 0x16 then return b == 3 and c and c <= 4 and by_dissector("tls") or nil end
    if a == 0x32 or (a and a >= 0x41 and a <= 0x7A) then return by_words(octets) end -- 2, or a letter
    if a == 0x13 and find(octets, "^\19BitTorrent protocol") then return by_dissector("bittorrent.tcp") end
    if a == 3 and b == 0 and byte(octets, 6) == 0xE0 then return by_dissector("tpkt") end
    if a == 0 and find(octets, "^%z...[\253\254\255]SMB") then return SMB end
    return nil
  end

  local BEGINNINGS = {
    "HTTP/1.", "SSH-", "220 ", "220-", "EHLO ", "HELO ", "\22\3", "\5\1\0", "\5\2\0", "\4\1", "PROXY ", PROXY_2,
  }
  for name in pairs(HTTP_METHODS) do BEGINNINGS[#BEGINNINGS + 1] = name .. " " end

  -- Whether a few octets may go on to be something that `by_content` knows.
  local function says_too_little(octets)
    for _, start in ipairs(BEGINNINGS) do
      if #octets < #start and sub(start, 1, #octets) == octets then return true end
    end
    return false
  end

  local function begins_socks(session, octets)
    local first, at = byte(octets), 1
    if first ~= 5 and first ~= 4 and first ~= 0x50 and first ~= 13 then return false end
    if (session.depth or 0) + 1 >= MAX_DEPTH or #octets <= 2 then return false end
    if is_proxy_header(octets, 1) then
      local header = decode("proxy-protocol", octets)
      if not header then return false end
      at = header.size + 1
      if at > #octets then return true end
    end
    return looks_like_greeting(octets, at, false) or looks_like_socks4(octets, at, false)
  end

  local function choose_payload(session, octets)
    if begins_socks(session, octets) then return { nested = true } end
    local found = by_content(octets)
    if found ~= nil then return found or nil end
    local port = session.request and session.request.port or 0
    if port == 139 or port == 445 then return SMB end
    if port ~= 0 and names_port(tcp_table, port) then return by_port(port) end
    return nil
  end

  -- Call a dissector with what the proxy relays. One that raises a C exception never comes back here: `in_flight` then
  -- stays set, and is counted at the next packet. Each such exit uses up some of Lua's C stack, hence the limit.
  function call_payload(pinfo, call, ...)
    in_flight = true
    -- C gives us 1, and a dissector that we call would get none. It is set back when we return.
    if desegments(pinfo) > 0 then set_desegments(pinfo, 2) end
    local ok, taken = pcall(call, ...)
    in_flight = false
    return ok and taken or 0
  end

  function count_leaks()
    if in_flight then
      in_flight = false
      leaks = leaks + 1
    end
  end

  -- SMB's NetBIOS dissector wants TCP's own data, which Lua has not got; the exported-PDU dissector makes it from tags:
  -- each a number, a length and a value of so many octets.
  local function tag(number, value)
    return string.char(floor(number / 256), number % 256, floor(#value / 256), #value % 256) .. value
  end

  local TAG_END, TAG_TABLE, TAG_TABLE_VALUE, TAG_TCP_INFO = 0, 14, 32, 34
  local TCP_INFO_VERSION, TCP_INFO_REST = "\0\1", 17 -- only the version is looked at
  local SMB_TAGS = tag(TAG_TABLE, "tcp.port") .. tag(TAG_TABLE_VALUE, "\0\0\0\139")
    .. tag(TAG_TCP_INFO, TCP_INFO_VERSION .. rep("\0", TCP_INFO_REST)) .. tag(TAG_END, "")

  local function call_smb(payload, pinfo, tree)
    local exported = dissector("exported_pdu")
    if not exported then return end
    local whole = ByteArray.new(SMB_TAGS .. payload:raw(), true):tvb("Relayed octets")
    call_payload(pinfo, exported.call, exported, whole, pinfo, tree)
    if pinfo.desegment_len ~= 0 then pinfo.desegment_offset = max(0, pinfo.desegment_offset - #SMB_TAGS) end
  end

  local function call_by_port(ports, port, is_from_client, payload, pinfo, tree)
    local source, destination = source_port_of(pinfo), destination_port_of(pinfo)
    if is_from_client then set_destination_port(pinfo, port) else set_source_port(pinfo, port) end
    call_payload(pinfo, ports.try, ports, port, payload, pinfo, tree)
    set_source_port(pinfo, source)
    set_destination_port(pinfo, destination)
  end

  function call_datagram(port, is_from_client, payload, pinfo, tree)
    if port == DNS_PORT then -- our own reader of DNS answers may have the port
      call_payload(pinfo, dns_in_udp.call, dns_in_udp, payload, pinfo, tree)
    else
      call_by_port(udp_table, port, is_from_client, payload, pinfo, tree)
    end
  end


  function may_dissect()
    return dissect_payload and leaks < MAX_LEAKS
  end

  local function ask_for_more(pinfo, at)
    pinfo.desegment_offset = at
    pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
  end

  -- One datagram on the TCP stream: data length, header length (or FRAG), ATYP, address, port, data.
  local function show_stream_datagram(session, item, frame, tvb, at)
    local header = add(item, P, tvb(at, frame.size))
    local remote = endpoint_of(frame)
    set_text(header, format("UDP in TCP, %s, %d octets", remote, frame.reserved))
    add(header, F.udp_data_length, tvb(at, 2), frame.reserved)
    if session.request.command == 5 then add(header, F.udp_header_length, tvb(at + 2, 1), frame.fragment) end
    show_address(header, tvb, at, frame, UDP)
  end

  -- DNS looks at whether TCP carries the packet, and then expects a length before each message.
  local function as_dns_in_tcp(payload)
    local size = length_of(payload)
    local length = string.char(floor(size / 256), size % 256)
    return ByteArray.new(length .. octets_of(payload), true):tvb("DNS message with its length")
  end

  -- Datagrams on the TCP stream: hev-socks5's FWD UDP (0x05) and GOST's UDP over TCP (0xF3).
  local function stream_datagrams(session, side, tvb, at, pinfo, tree, item)
    local octets = octets_of(tvb, at)
    local place = 1
    while place <= #octets do
      local frame = decoders.udp(sub(octets, place, place + 262))
      if frame == false then return end
      if frame == nil or #octets < place + frame.size + frame.reserved - 1 then
        if desegments(pinfo) > 0 then ask_for_more(pinfo, at + place - 1) end
        return
      end
      if frame.reserved == 0 and item then
        add_anomalies(item, { "udp-no-header", "a datagram in TCP with data length 0" })
      end
      if item then show_stream_datagram(session, item, frame, tvb, at + place - 1) end
      if may_dissect() and frame.reserved > 0 and names_port(udp_table, frame.port) then
        local payload = tvb(at + place - 1 + frame.size, frame.reserved):tvb()
        if frame.port == DNS_PORT then payload = as_dns_in_tcp(payload) end
        call_datagram(frame.port, is_client(session, side), payload, pinfo, tree)
      end
      if frame.reserved == 0 then return end -- its end is unknown
      place = place + frame.size + frame.reserved
    end
  end

  local CARRY_DATAGRAMS = { [0x05] = true, [0xF3] = true }

  local function carries_datagrams(session)
    local asked = session.request
    return asked and CARRY_DATAGRAMS[asked.command] and not session.socks4
  end

  local function show_tunnel(session, range, tree, number, early, remarks)
    local first_early = early and session.early == number
    local odd_one = first_early or remarks
    if not odd_one and not is_tree(tree) then return nil end
    local item = add(tree, P, range)
    if not (odd_one or wanted(tree)) then return nil end
    set_text(item, protocol_of(session) .. ", Tunnel: " .. (target_of(session) or "?"))
    show_conversation(session, item, "tunnel")
    if early then set_generated(add(item, F.tunnel_early, true)) end
    if first_early then add_anomalies(item, { "early-data", "data from the client before the reply" }) end
    add_anomalies(item, remarks)
    return item
  end

  -- The handler of a tunnel whose first octets these are; nil when there is none (yet), and whether more would tell.
  local function new_handler(session, octets, number)
    local handler = choose_payload(session, octets)
    if not handler and #octets <= 8 and says_too_little(octets) then return nil, true end
    if handler then
      session.handler = handler
      if session.tries then session.handled_since = number end
    else
      session.tries = (session.tries or 0) + 1
      if session.tries >= MAX_TRIES then session.handler = false end
    end
    return handler
  end

  -- From the next packet on, all that this connection's octets need is the payload's dissector (see `relay`), unless
  -- the beginning of a frame still waits for its end.
  local function pass_on(session, handler, number)
    local waiting = session.partial
    if not handler.dissector or session.parent or session.gssapi or (waiting and (waiting[0] or waiting[1])) then
      return
    end
    session[AT.passed] = number
  end

  local function handler_of(session, tvb, at, number, early)
    local handler = session.handler
    if visited then
      if handler and session.handled_since and number < session.handled_since then return nil end
      return handler
    end
    if early and not confirmed(session) and not session.trusted then
      return nil -- no octet of the proxy has confirmed that this is SOCKS
    end
    return new_handler(session, octets_of(tvb, at, min(length_of(tvb) - at, 600)), number)
  end

  -- SOCKS in the tunnel. What turns out to be none goes by the destination's port from here on.
  local function call_nested(session, side, payload, pinfo, tree, number, cut)
    local handler = session.handler
    if not handler.session then handler.session = new_nested_session(session, number, seconds_of(pinfo)) end
    if dissect_octets(handler.session, side, payload, pinfo, tree, number, cut) or visited then return end
    session.tries, session.handled_since = MAX_TRIES, number
    session.handler = choose_payload(session, "") or false
  end

  local function call_handler(session, handler, side, payload, pinfo, tree, number, cut)
    if handler.nested then
      call_nested(session, side, payload, pinfo, tree, number, cut)
    elseif cut then
      return -- octets that are cut short make dissectors raise, or ask for what will not come
    elseif handler.dissector then
      call_payload(pinfo, handler.call, handler.dissector, payload, pinfo, tree)
    elseif handler.port then
      call_by_port(tcp_table, handler.port, is_client(session, side), payload, pinfo, tree)
    else
      call_smb(payload, pinfo, tree)
    end
  end

  local function name_tunnel(session, item, tvb, at, pinfo)
    local length = length_of(tvb) - at
    if item then add(item, F.data, tvb(at, length)) end
    if at == 0 then
      local cols = columns_of(pinfo)
      cols.protocol = protocol_of(session)
      cols.info = "Tunnel: " .. (target_of(session) or "?") .. ", " .. length .. " octets"
    end
  end

  -- Octets of an open tunnel (or sent early into one), from `at` to the end of the tvb.
  function tunnel(session, side, tvb, at, pinfo, tree, number, early, cut, remarks)
    if not session.reply then session.tunnelled = true end
    early = early and is_client(session, side)
    if early then session.early = session.early or number end
    local range, item = at == 0 and tvb or tvb(at), nil
    if early or remarks or is_tree(tree) then item = show_tunnel(session, range, tree, number, early, remarks) end
    if carries_datagrams(session) then return stream_datagrams(session, side, tvb, at, pinfo, tree, item) end
    local handler, unsure
    if may_dissect() then
      handler = session.handler
      if handler == nil or visited then handler, unsure = handler_of(session, tvb, at, number, early) end
    end
    if unsure and desegments(pinfo) > 0 then return ask_for_more(pinfo, at) end
    if not handler or (cut and not handler.nested) then return name_tunnel(session, item, tvb, at, pinfo) end
    if session.open and not visited and not session[AT.passed] then pass_on(session, handler, number) end
    call_handler(session, handler, side, at == 0 and tvb or range:tvb(), pinfo, tree, number, cut)
    if at > 0 and pinfo.desegment_len ~= 0 then pinfo.desegment_offset = pinfo.desegment_offset + at end
    -- A payload dissector may have made itself the connection's dissector.
    if not session.parent then set_conversation(pinfo, P) end
  end

  -- What `tunnel` does with most packets: those behind the one that told the payload's dissector, where there is no
  -- tree, and TCP lets its dissectors ask for more.
  function relay(handler, tvb, pinfo, tree)
    in_flight = true
    set_desegments(pinfo, 2)
    pcall(handler.call, handler.dissector, tvb, pinfo, tree)
    in_flight = false
    set_conversation(pinfo, P)
  end
end

---------------------------------------------------------------------------------------------------------------------
-- TCP
---------------------------------------------------------------------------------------------------------------------

local dissect_tcp, find_anywhere -- what others use of this
do
  local function key_of(number, offset, depth)
    return (number * 131072 + offset) * 16 + (depth or 0)
  end

  -- Octets of a tunnel inside a GSSAPI frame. What their dissector asks for comes in another such frame, if at all:
  -- TCP, which would look for it behind this one, must not hear of it.
  local function enclosed_tunnel(session, side, inner, plain, pinfo, tree, number)
    local offset, length = pinfo.desegment_offset, pinfo.desegment_len
    local state, octets = session.gssapi, visited and 0 or #inner.octets - inner.tunnel + 1
    if is_client(session, side) then state.sent = state.sent + octets else state.received = state.received + octets end
    pinfo.desegment_len = 0
    tunnel(session, side, plain, inner.tunnel - 1, pinfo, tree, number, inner.early)
    if pinfo.desegment_len ~= 0 and not visited then
      local nested = session.handler and session.handler.session
      if nested then nested.unreadable = true end
    end
    pinfo.desegment_offset, pinfo.desegment_len = offset, length
  end

  local function present_inside(session, side, inner, pinfo, tree, number, all)
    if #inner.octets == 0 then return end
    local plain = ByteArray.new(inner.octets, true):tvb("GSSAPI plaintext")
    show_frames(session, side, inner.found, plain, tree, all)
    if inner.tunnel then enclosed_tunnel(session, side, inner, plain, pinfo, tree, number) end
  end

  -- The beginning of a frame. On a port that nobody named nothing is claimed by it.
  local function present_partial(session, found, tvb, pinfo, tree, number, key)
    if found.silent then return end
    local length = length_of(tvb) - max(0, found.tail - found.before)
    local item = add(tree, P, tvb(length_of(tvb) - length, length))
    local what = WORDS[found.partial] or "a frame"
    set_text(item, format("%s, part of %s, %d octets", protocol_of(session), what, length))
    if #found == 0 then set_info(pinfo, number, key, session, "Part of " .. what) end
  end

  -- Shows what a call found: SOCKS frames, then a tunnel's octets or the beginning of another frame. Where the first
  -- frame began in an earlier segment, `found.octets` are all of them, of which `found.before` came before this tvb.
  local function present(session, side, found, tvb, pinfo, tree, number, key, cut)
    local before = found.before or 0
    if #found > 0 then
      local all = wanted(tree)
      local shown = found.octets and ByteArray.new(found.octets, true):tvb("SOCKS frame") or tvb
      show_frames(session, side, found, shown, tree, all)
      set_info(pinfo, number, key, session, words_for_all(session, found))
      for i = 1, found.inner and #found or 0 do
        if found.inner[i] then present_inside(session, side, found.inner[i], pinfo, tree, number, all) end
      end
    end
    if found.partial then return present_partial(session, found, tvb, pinfo, tree, number, key) end
    if not found.tunnel then return end
    if #found > 0 then
      pinfo.cols.info:append(" | ")
      pinfo.cols.info:fence()
    end
    -- Octets that waited for the rest of a frame which never came may be the tunnel's; they are not in this tvb.
    local at = max(0, found.tail - before)
    tunnel(session, side, tvb, at, pinfo, tree, number, found.early, cut, found.remarks)
  end

  -- A frame that is all that a segment holds.
  local function present_frame(session, side, kind, tvb, pinfo, tree, number, key)
    local frame = decode(kind, octets_of(tvb))
    show_frame(session, side, frame, 0, nil, false, tvb, tree, wanted(tree))
    set_info(pinfo, number, key, session, words_for(session, frame, false))
  end

  -- Of a frame alone its decoder's name is enough.
  local function replay(session, side, tvb, pinfo, tree, number, cut)
    local key = key_of(number, offset_of(tvb), session.depth)
    local record = records[key]
    if decoders[record] then
      present_frame(session, side, record, tvb, pinfo, tree, number, key)
    elseif record then
      present(session, side, record, tvb, pinfo, tree, number, key, cut)
    elseif session.open and number >= session.open then
      tunnel(session, side, tvb, 0, pinfo, tree, number, false, cut)
    end
  end

  -- What a side's earlier segment left of an unfinished frame, and this one's octets; nil while they are too few.
  local function continue(partial, octets)
    partial[#partial + 1] = octets
    partial.size = partial.size + #octets
    if partial.needed and partial.size < partial.needed then return nil end
    return concat(partial), partial.size - #octets
  end

  -- Whether the capture lacks the end of this segment.
  local function is_cut(tvb, pinfo)
    return desegments(pinfo) == 0 and tvb:reported_len() > length_of(tvb)
  end

  local segment = {} -- what `read` is told of the one in hand

  -- The octets of one side in order, read for the first time. Returns what they hold, and how many are not the
  -- tunnel's; or nil when this is not SOCKS. `held` is set for octets that TCP held back as they came out of order.
  local function first_reading(session, side, octets, number, now, key, held, cut)
    local partial, before = session.partial and session.partial[side], 0
    local split = partial ~= nil or held
    if partial then
      local whole, already = continue(partial, octets)
      if not whole then return { partial = partial.kind, tail = 0, before = 0 }, #octets end
      octets, before, session.partial[side] = whole, already, nil
    end
    segment.number, segment.now, segment.split, segment.cut = number, now, split, cut
    local found = read(session, side, octets, segment, {})
    if not found then return nil end
    if before > 0 then found.octets, found.before = octets, before end
    if found.partial then found.before = found.before or 0 end
    local left = session.partial and session.partial[side]
    if left then left.key, left.number = key, number end
    if found.partial and not (session.trusted or confirmed(session)) then found.silent = true end
    if found.tunnel and not session.open then found.early = true end
    return found, (found.tunnel and found.tail or #octets) - before
  end

  -- The conversation's PROXY header came in a segment of its own, which Wireshark's own dissector has shown.
  local function note_header(session, side, found)
    found.notes = found.notes or {}
    found.notes[1] = found.notes[1] or {}
    note(found.notes[1], "proxy-protocol", "a PROXY protocol header came first, and names " .. session.header.named)
    spend(session, side, session.header.size)
    session.header = nil
  end

  -- Returns whether the octets are SOCKS.
  local function dissect_handshake(session, side, octets, tvb, pinfo, tree, number, now, key, held, cut)
    session.next = nil
    local found, spent = first_reading(session, side, octets, number, now, key, held, cut)
    if not found then
      session.foreign = true
      return false
    end
    if session.header and #found > 0 then note_header(session, side, found) end
    spend(session, side, spent)
    if not session.id then remember(session) end
    records[key] = found
    present(session, side, found, tvb, pinfo, tree, number, key, cut)
    return true
  end

  -- One call: the octets of one side in order. Returns whether they are SOCKS.
  function dissect_octets(session, side, tvb, pinfo, tree, number, cut)
    if session.foreign then return false end
    if visited then
      replay(session, side, tvb, pinfo, tree, number, cut or is_cut(tvb, pinfo))
      return true
    end
    if not session.next and session.open and not session.gssapi and not (session.partial and session.partial[side]) then
      tunnel(session, side, tvb, 0, pinfo, tree, number, false, cut or is_cut(tvb, pinfo))
      return true
    end
    local octets, offset, now = octets_of(tvb), offset_of(tvb), seconds_of(pinfo)
    local key = key_of(number, offset, session.depth)
    local held = offset == 0 and not session.parent
    local kind, frame, notes
    if not held then kind, frame, notes = read_usual(session, side, octets, number, now) end
    if not kind then
      cut = cut or is_cut(tvb, pinfo)
      return dissect_handshake(session, side, octets, tvb, pinfo, tree, number, now, key, held, cut)
    end
    spend(session, side, #octets)
    if not session.id then remember(session) end
    if notes then
      records[key] = { frame, notes = { notes } }
      present(session, side, records[key], tvb, pinfo, tree, number, key, cut)
    elseif is_tree(tree) then
      records[key] = kind
      present_frame(session, side, kind, tvb, pinfo, tree, number, key)
    else
      records[key] = kind
      set_info(pinfo, number, key, session, frame.words or words_for(session, frame, false))
    end
    return true
  end

  -- A protocol of another kind on a SOCKS port: pointed out once, without claiming the packet.
  local function point_out_foreign(session, tvb, pinfo, tree)
    if not session.trusted or session.pointed_out ~= number_of(pinfo) then return end
    local name = foreign_name(octets_of(tvb, 0, min(length_of(tvb), 16)), 1) or "unknown protocol"
    tree:add_proto_expert_info(E["not-socks-on-socks-port"], name .. " on a SOCKS port")
  end

  -- Of a client that put a PROXY header first.
  local function ends_of(pinfo)
    return format("%s %d %s %d", tostring(pinfo.src), pinfo.src_port, tostring(pinfo.dst), pinfo.dst_port)
  end

  -- Wireshark 4.4's dissector of PROXY headers stays the connection's, and has the heuristics asked about each segment.
  local function is_handed_on(session)
    return session.handed_on ~= nil and headers[session.ends] == session.handed_on
  end

  -- The conversation of a packet, or nil, and both addresses where it had to be looked for by them. TCP calls a
  -- connection's dissector once it has one, and we are that from our first frame on: the session there is this one, if
  -- there is only one. When the port table or the heuristics (`unasked`) name us although we know a conversation
  -- between these ends, it is another connection.
  local function find_session(pinfo, unasked, number, source_port, destination_port)
    if not unasked then
      local matched = match_of(pinfo)
      unasked = matched == source_port or matched == destination_port
    end
    if not unasked and source_port ~= destination_port then
      local ends, address
      if source_port > destination_port then
        ends, address = destination_port * 65536 + source_port, source_of(pinfo)
      else
        ends, address = source_port * 65536 + destination_port, destination_of(pinfo)
      end
      local there = by_end[address_text(address)]
      local session = there and there[ends]
      if session and not session.before then return session[AT.first] <= number and session or nil end
    end
    local source, destination = address_text(source_of(pinfo)), address_text(destination_of(pinfo))
    local session = latest_between(source, source_port, destination, destination_port, number)
    local known = session and (not unasked or session.foreign or is_handed_on(session) or is_visited(pinfo))
    return known and session, source, destination
  end

  local function begin_session(pinfo, trusted, number, source, source_port, destination, destination_port)
    source = source or address_text(source_of(pinfo))
    destination = destination or address_text(destination_of(pinfo))
    trusted = trusted or is_proxy_port(source_port) or is_proxy_port(destination_port)
    local now = seconds_of(pinfo)
    local session = new_session(source, source_port, destination, destination_port, trusted, number, now)
    if next(headers) then
      session.ends = ends_of(pinfo)
      session.header = headers[session.ends]
      session.handed_on = session.header
    end
    return session
  end

  -- Should another version of Wireshark hide no item in a tree that somebody looks at, all packets are taken to have
  -- one.
  local function distrust_trees(tree)
    if not is_tree(tree) and wanted(tree) then
      is_tree = function() return true end
    end
  end

  -- Which side of a session sends the packet, where both have the same port.
  local function side_by_address(session, pinfo)
    return address_text(source_of(pinfo)) == session.address0 and 0 or 1
  end

  -- The first packet of a conversation. Returns whether it is SOCKS.
  local function dissect_first(session, tvb, pinfo, tree, number)
    if sessions.count == 0 then distrust_trees(tree) end
    if dissect_octets(session, 0, tvb, pinfo, tree, number) then
      set_conversation(pinfo, P)
      return true
    end
    if session.trusted then
      -- Remembered, so that no later octets of a foreign connection are taken for a greeting.
      session.pointed_out = number
      remember(session)
    end
    point_out_foreign(session, tvb, pinfo, tree)
    return false
  end

  -- `unasked` is set where the heuristics ask, `more` is how much TCP lets us ask for.
  function dissect_tcp(tvb, pinfo, tree, trusted, unasked, more)
    if in_flight then count_leaks() end
    local number, source_port, destination_port = number_of(pinfo), source_port_of(pinfo), destination_port_of(pinfo)
    local session, source, destination = find_session(pinfo, unasked, number, source_port, destination_port)
    local passed = session and more > 0 and session[AT.passed]
    if passed and number > passed and dissect_payload and leaks < MAX_LEAKS and not is_tree(tree) then
      relay(session.handler, tvb, pinfo, tree)
      return true
    end
    visited = is_visited(pinfo)
    if not session then
      if visited then return false end
      session = begin_session(pinfo, trusted, number, source, source_port, destination, destination_port)
      return dissect_first(session, tvb, pinfo, tree, number)
    end
    local side = source_port == session.port0 and 0 or 1
    if source_port == destination_port then side = side_by_address(session, pinfo) end
    if dissect_octets(session, side, tvb, pinfo, tree, number) then return true end
    point_out_foreign(session, tvb, pinfo, tree)
    return false
  end

  -- A PROXY header alone is left to Wireshark's own dissector, which hands on what follows.
  local function leave_header(tvb, pinfo)
    local octets = tvb:raw()
    if not is_proxy_header(octets, 1) then return true end
    local frame = decode("proxy-protocol", octets)
    if not frame or frame.size < #octets then return false end
    headers[ends_of(pinfo)] = { named = frame.named and text(frame.named) or "no client", size = frame.size }
    return true
  end

  -- Whether these octets come in a conversation that we know and whose PROXY header was left to Wireshark's dissector.
  local function goes_on(pinfo)
    if not next(headers) then return false end
    local source, destination = address_text(source_of(pinfo)), address_text(destination_of(pinfo))
    local source_port, destination_port = source_port_of(pinfo), destination_port_of(pinfo)
    local session = latest_between(source, source_port, destination, destination_port, number_of(pinfo))
    return session and is_handed_on(session)
  end

  -- On a port that nobody named.
  function find_anywhere(tvb, pinfo, tree)
    if not add then use_methods(tvb, pinfo, tree) end
    local first = byte(octets_of(tvb, 0, 1))
    if first ~= 5 and first ~= 4 and first ~= 0x50 and first ~= 13 and not goes_on(pinfo) then return false end
    if not P.prefs.heuristic then return false end
    if first > 5 and leave_header(tvb, pinfo) and not goes_on(pinfo) then return false end
    return dissect_tcp(tvb, pinfo, tree, false, true, desegments(pinfo))
  end
end

---------------------------------------------------------------------------------------------------------------------
-- UDP
---------------------------------------------------------------------------------------------------------------------

local find_association, dissect_datagram, dissect_udp_port -- what others use of this
do
  local MAX_FRAGMENTED = 65536 -- octets put together from UDP fragments
  local FRAGMENT_LIFE = 5 -- seconds, RFC 1928 s7
  -- The association of a datagram: of those on its port the latest that was open by then.
  function find_association(list, address, number)
    for i = #list, 1, -1 do
      local association = list[i]
      if association.first <= number and (association.address == nil or association.address == address) then
        return association
      end
    end
    return nil
  end

  -- Fragments of one direction on their way to being one datagram (RFC 1928 s7). Returns its octets when it is whole,
  -- and whether a sequence that had begun was given up.
  local function put_together(association, outward, fragment, octets, now)
    local position = fragment % 128
    local queue = association.queues[outward]
    if not queue then
      queue = { highest = 0, began = 0, size = 0 }
      association.queues[outward] = queue
    end
    local given_up = false
    if position <= queue.highest or now - queue.began > FRAGMENT_LIFE then
      given_up, queue.highest = queue.highest > 0, 0
    end
    if position ~= queue.highest + 1 or queue.size + #octets > MAX_FRAGMENTED then
      given_up = given_up or queue.highest > 0 or position ~= 1
      queue.highest, queue.size, queue.parts = 0, 0, nil
      if position ~= 1 then return nil, given_up end
    end
    if position == 1 then queue.began, queue.parts, queue.size = now, {}, 0 end
    queue.highest = position
    queue.parts[position] = octets
    queue.size = queue.size + #octets
    if fragment < 128 then return nil, given_up end
    queue.highest = 0
    return concat(queue.parts), given_up
  end

  -- The association, whether the datagram goes out through it, and the party at the other end of this leg.
  local function association_of(pinfo, number)
    local source, destination = tostring(pinfo.src), tostring(pinfo.dst)
    local there = relays[pinfo.dst_port]
    local association = there and find_association(there, destination, number)
    if association then return association, true, source, pinfo.src_port end
    there = relays[pinfo.src_port]
    association = there and find_association(there, source, number)
    return association, false, destination, pinfo.dst_port
  end

  -- A datagram of somebody whom the association does not name: pointed out when it is a SOCKS datagram to the relay.
  local function look_at_stranger(look, frame, party, port)
    if not look.outward or not frame or frame.reserved ~= 0 or frame.odd then return nil end
    look.stranger = true
    local who = party .. ":" .. port
    local seen = look.association.strangers or {}
    look.association.strangers = seen
    if not seen[who] then
      seen[who] = true
      note(look.odd, "udp-unassociated", who .. " sends to the relay, which is not its own")
    end
    return look
  end

  local function look_at_unreadable(look, frame, octets)
    local noted = look.association.noted
    if frame == false and look.outward and sub(octets, 1, 2) == "\0\0" then
      note_once(noted, look.odd, "unknown-address-type", format("no address type 0x%02x is known", byte(octets, 4)))
    elseif look.outward and (frame == false or #octets >= 10) then
      note_once(noted, look.odd, "udp-no-header", "a datagram of the client without a SOCKS header")
    elseif not look.outward then
      note_once(noted, look.odd, "udp-no-header", "a datagram of the relay without a SOCKS header")
    else
      return nil
    end
    look.bad = true
    return look
  end

  local function check_header(look, frame, party)
    local association, noted = look.association, look.association.noted
    if frame.reserved ~= 0 then
      note_once(noted, look.odd, "reserved-nonzero", format("RSV of the UDP header is 0x%04x", frame.reserved))
    end
    if frame.host_type ~= DOMAIN then
      if not look.outward and host_of(frame) == party and party ~= association.address then
        note_once(noted, look.odd, "udp-names-client", "the header of an answer names the client, not the sender")
      end
      association.remotes[host_of(frame) .. ":" .. frame.port] = true
      return
    end
    check_domain(frame, frame.raw_host)
    for i = 1, #(frame.odd or {}), 2 do note_once(noted, look.odd, frame.odd[i], frame.odd[i + 1]) end
  end

  local function collect(look, frame, octets, now)
    local association = look.association
    local data = sub(octets, frame.size + 1)
    note_once(association.noted, look.odd, "udp-fragmented",
      format("datagram %s:%d is sent in fragments", host_of(frame), frame.port))
    local given_up
    look.whole, given_up = put_together(association, look.outward, frame.fragment, data, now)
    if given_up then
      note_once(association.noted, look.odd, "udp-fragments-incomplete", "a sequence of fragments was not completed")
    end
    return look.whole and #look.whole or 0
  end

  local function first_look(tvb, pinfo, number)
    local association, outward, party, port = association_of(pinfo, number)
    if not association or association.remotes[party .. ":" .. port] then
      return nil -- nobody's, or the proxy's leg to the destination: no header
    end
    local octets = octets_of(tvb)
    local frame = decoders.udp(octets)
    local look = { association = association, outward = outward, odd = {} }
    local declared = association.client_port
    if party ~= association.client or (outward and declared ~= 0 and declared ~= port) then
      return look_at_stranger(look, frame, party, port)
    end
    if not frame then return look_at_unreadable(look, frame, octets) end
    check_header(look, frame, party)
    local size = #octets - frame.size
    if frame.fragment ~= 0 then size = collect(look, frame, octets, pinfo.rel_ts) end
    local counter = outward and "sent" or "received"
    association[counter] = association[counter] + size
    return look
  end

  local function show_datagram(look, frame, tvb, tree)
    local session = look.association.session
    local item = add(tree, P, tvb(0, frame.size))
    set_text(item, format("SOCKS5, UDP %s %s, %d octets", look.outward and "to" or "from",
      endpoint_of(frame), length_of(tvb) - frame.size))
    set_generated(add(item, F.type, TYPE.udp))
    set_generated(add(item, F.stream, session.id))
    set_generated(add(item, F.outcome, outcome_of(session)))
    set_generated(add(item, F.sender, look.outward and "client" or "proxy"))
    add(item, F.udp_reserved, tvb(0, 2), frame.reserved)
    local fragment = add(item, F.udp_fragment, tvb(2, 1), frame.fragment)
    if frame.fragment ~= 0 then
      add(fragment, F.udp_position, tvb(2, 1))
      add(fragment, F.udp_last, tvb(2, 1))
    end
    show_address(item, tvb, 0, frame, UDP)
    set_generated(add(item, DST.host, host_of(frame)))
    set_generated(add(item, DST.port, frame.port))
    set_generated(add(item, F.udp_data_length, length_of(tvb) - frame.size))
    set_generated(add(item, F.request_in, session[AT.request]))
    add_anomalies(item, look.odd)
  end

  -- A datagram that says nothing to us but that it is there.
  local function show_odd_datagram(look, tvb, pinfo, tree)
    local words = look.stranger and "UDP from a stranger to the association" or "UDP without a readable SOCKS header"
    pinfo.cols.info:set(words)
    local item = add(tree, P, tvb)
    set_generated(add(item, F.stream, look.association.session.id))
    set_generated(add(item, F.request_in, look.association.session[AT.request]))
    add(item, F.data, tvb(0))
    add_anomalies(item, look.odd)
    return length_of(tvb)
  end

  local function call_relayed(look, frame, tvb, pinfo, tree)
    local payload
    if frame.fragment ~= 0 then
      payload = look.whole and #look.whole > 0 and ByteArray.new(look.whole, true):tvb("Reassembled datagram")
    elseif length_of(tvb) > frame.size then
      payload = tvb(frame.size):tvb()
    end
    local cut = tvb:reported_len() > length_of(tvb)
    if payload and may_dissect() and not cut and names_port(udp_table, frame.port) then
      call_datagram(frame.port, look.outward, payload, pinfo, tree)
    elseif payload and tree.visible then
      Dissector.get("data"):call(payload, pinfo, tree)
    end
  end

  -- Whether the datagram is one of an association; then it is dissected.
  function dissect_datagram(tvb, pinfo, tree)
    if pinfo.in_error_pkt then return false end
    count_leaks()
    local number = pinfo.number
    local look
    if pinfo.visited then
      look = datagrams[number]
    else
      look = first_look(tvb, pinfo, number)
      datagrams[number] = look
    end
    if not look then return false end
    pinfo.cols.protocol:set("SOCKS5")
    local frame = decoders.udp(octets_of(tvb))
    if not frame or look.stranger then return show_odd_datagram(look, tvb, pinfo, tree) > 0 end
    if wanted(tree) or #look.odd > 0 then show_datagram(look, frame, tvb, tree) end
    pinfo.cols.info:set(format("UDP %s %s, %d octets%s, ", look.outward and "to" or "from",
      endpoint_of(frame), length_of(tvb) - frame.size,
      frame.fragment ~= 0 and format(", fragment %d", frame.fragment % 128) or ""))
    pinfo.cols.info:fence()
    call_relayed(look, frame, tvb, pinfo, tree)
    return true
  end

  -- The dissector that had a relay's port before: datagrams of others stay its own.
  local function owner_of_port(pinfo)
    local there = relays[pinfo.match_uint]
    local owner = there and there.previous
    if not owner or find(tostring(owner):lower(), "socks", 1, true) then return nil end
    return owner
  end

  function dissect_udp_port(tvb, pinfo, tree)
    if dissect_datagram(tvb, pinfo, tree) then return length_of(tvb) end
    local owner = not pinfo.in_error_pkt and owner_of_port(pinfo)
    return owner and call_payload(pinfo, owner.call, owner, tvb, pinfo, tree) or 0
  end
end

---------------------------------------------------------------------------------------------------------------------
-- Names that clients resolved themselves (local-dns)
---------------------------------------------------------------------------------------------------------------------

local learn_names, listen_to_dns -- what others use of this
do
  local MAX_RESOLVED = 100000 -- addresses remembered from DNS answers
  local MAX_LABELS = 128

  -- The name at a place of a DNS message, and the place behind it; nil where it cannot be read.
  local function dns_name(octets, at)
    local labels, behind, jumps = {}, nil, 0
    while true do
      local length, low = byte(octets, at, at + 1)
      if not length then return nil end
      if length == 0 then return #labels > 0 and concat(labels, ".") or "<Root>", behind or at + 1 end
      if length >= 0xC0 then
        if not low or jumps >= MAX_LABELS then return nil end
        behind = behind or at + 2
        at, jumps = (length - 0xC0) * 256 + low + 1, jumps + 1
      else
        if length > 63 or #labels >= MAX_LABELS then return nil end
        labels[#labels + 1] = text(sub(octets, at + 1, at + length))
        at = at + 1 + length
      end
    end
  end

  local function learn(client, name, number, address)
    local names = resolved[client]
    if not names then
      names = {}
      resolved[client] = names
    end
    if not names[address] and resolved_count < MAX_RESOLVED then
      resolved_count = resolved_count + 1
      names[address] = { name, number }
    end
  end

  -- The addresses that a DNS answer gives for its question.
  local function read_answer(octets, client, number)
    local _, _, flags, _, _, questions, count_high, count_low = byte(octets, 1, 8)
    if not count_low or flags < 128 or questions ~= 1 then return end
    local name, at = dns_name(octets, 13)
    at = at and at + 4
    for _ = 1, count_high * 256 + count_low do
      local _, behind = nil, nil
      if at then _, behind = dns_name(octets, at) end
      local kind_high, kind, _, _, _, _, _, _, size_high, size_low = byte(octets, behind or 1, (behind or 1) + 9)
      if not behind or not size_low then return end
      local size = size_high * 256 + size_low
      local address = sub(octets, behind + 10, behind + 9 + size)
      if kind_high == 0 and kind == 1 and #address == 4 then learn(client, name, number, ipv4_text(address)) end
      if kind_high == 0 and kind == 28 and #address == 16 then learn(client, name, number, ipv6_text(address)) end
      at = behind + 10 + size
    end
  end

  -- Stands before Wireshark's DNS dissector on port 53 when the preference says so, and hands everything on.
  local DNS = Proto("dns_names", "Names that clients resolved")

  local listens = false

  -- An answer on port 53, unless it is one to a relay's own question.
  function learn_names(tvb, pinfo)
    if not listens or pinfo.visited or pinfo.src_port ~= DNS_PORT or pinfo.in_error_pkt then return end
    local there = relays[pinfo.dst_port]
    local client = tostring(pinfo.dst)
    if there and find_association(there, client, pinfo.number) then return end
    read_answer(octets_of(tvb), client, pinfo.number)
  end

  function DNS.dissector(tvb, pinfo, tree)
    if not add then use_methods(tvb, pinfo, tree) end
    if pinfo.port_type == UDP_PORT_TYPE then learn_names(tvb, pinfo) end
    count_leaks()
    if leaks >= MAX_LEAKS then return 0 end
    return call_payload(pinfo, dns_in_udp.call, dns_in_udp, tvb, pinfo, tree)
  end

  function listen_to_dns(wish)
    if wish == listens or not dns_in_udp then return end
    listens = wish
    udp_table:add(DNS_PORT, wish and DNS or dns_in_udp)
  end
end

---------------------------------------------------------------------------------------------------------------------
-- Counting a connection's octets, and the statistics
---------------------------------------------------------------------------------------------------------------------

do
  local MAX_HOLE = 16777216 -- octets
  local MAX_HOLES = 64 -- of one side of a connection, while its octets are counted
  -- A payload's dissector may keep octets back until more come, so what reaches us is not what was sent. While
  -- statistics are asked for, a tap on TCP counts each side's octets by their sequence numbers, each once.
  local flows -- tcp.stream -> {address, port of side 0; next, sum, holes of both sides}
  local flow_of -- session -> its flow

  local function ahead(seq, from)
    local distance = (seq - from) % 4294967296
    return distance < 2147483648 and distance or distance - 4294967296
  end

  -- Octets from `seq` to `last` that fill a hole: how many.
  local function fill(holes, seq, last)
    local filled = 0
    for i = #holes, 1, -1 do
      local hole = holes[i]
      local first, past = max(0, ahead(seq, hole[1])), min(ahead(hole[2], hole[1]), ahead(last, hole[1]))
      if first < past then
        filled = filled + past - first
        local rest = { (hole[1] + past) % 4294967296, hole[2] }
        if first > 0 then
          hole[2] = (hole[1] + first) % 4294967296
          if rest[1] ~= rest[2] and #holes < MAX_HOLES then holes[#holes + 1] = rest end
        elseif rest[1] == rest[2] then
          table.remove(holes, i)
        else
          hole[1] = rest[1]
        end
      end
    end
    return filled
  end

  -- Octets that went by without being captured. What is further than a window can be is another sequence space.
  local function lost_octets(side)
    local lost = 0
    for _, hole in ipairs(side.holes) do
      local size = ahead(hole[2], hole[1])
      if size < MAX_HOLE then lost = lost + size end
    end
    return lost
  end

  local function count_octets(side, seq, length)
    local last = (seq + length) % 4294967296
    side.next = side.next or seq
    local distance = ahead(seq, side.next)
    if distance > 0 and #side.holes < MAX_HOLES then side.holes[#side.holes + 1] = { side.next, seq } end
    local new = min(length, length + distance)
    if new > 0 then
      side.next = last
      side.sum = side.sum + new
    end
    if distance < 0 then side.sum = side.sum + fill(side.holes, seq, last) end
  end

  local function count_segment(pinfo, info)
    local length, flags = info.th_seglen or 0, info.th_flags
    local syn, reset = flags % 4 >= 2, flags % 8 >= 4
    if reset or (length == 0 and not syn) then return end -- the payload of a reset is text for people
    local stream, source, port = info.th_stream, tostring(info.ip_src), info.th_sport
    local flow = flows[stream]
    if not flow then
      flow = { stream = stream, address = source, port = port }
      flow[0], flow[1] = { sum = 0, holes = {} }, { sum = 0, holes = {} }
      flows[stream] = flow
    end
    local side = flow[(flow.port == port and flow.address == source) and 0 or 1]
    if syn then side.next = side.next or (info.th_seq + 1) % 4294967296 end
    if length > 0 then count_octets(side, (info.th_seq + (syn and 1 or 0)) % 4294967296, length) end
    if length == 0 then return end
    local session = latest_between(source, port, tostring(info.ip_dst), info.th_dport, pinfo.number)
    if session and session[AT.first] == pinfo.number then flow_of[session] = flow end
  end

  -- Octets of a side through the tunnel.
  local function relayed_octets(session, side)
    if session.relay then
      return is_client(session, side) and session.relay.sent or session.relay.received
    end
    if session.gssapi and session.gssapi.sealed then
      return is_client(session, side) and session.gssapi.sent or session.gssapi.received
    end
    local spent = session[AT.spent + side]
    if session.parent then return max(0, relayed_octets(session.parent, side) - spent) end
    local flow = flow_of[session]
    if not flow then return 0 end
    local counted = flow[(flow.port == session.port0 and flow.address == session.address0) and side or 1 - side]
    if not is_client(session, side) and #counted.holes == 0 then spent = spent + (session.withheld or 0) end
    local gap = session.noted and session.noted["handshake-gap"] -- then a hole is not the tunnel's
    return max(0, counted.sum + (gap and 0 or lost_octets(counted)) - spent)
  end

  local TITLES = {
    "Id", "Protocol", "Client", "Proxy", "Command", "Destination", "Outcome", "Start", "Reply", "Sent", "Received",
  }
  local FIRST_NUMBER = 8 -- from this column on, to the right

  local function outcome_words(session)
    local outcome = OUTCOMES[outcome_of(session)]
    if outcome ~= "rejected" then return outcome end
    local code = (session.peer or session.reply).code
    return "rejected: " .. (session.socks4 and socks4_reply_name(code) or reply_name(code))
  end

  local function row_of(session)
    local client_port, proxy_port = session.port0, session.port1
    if session.client == 1 then client_port, proxy_port = proxy_port, client_port end
    local request, reply = session.request, session.reply
    local after = request and reply and session[AT.reply + 1] - session[AT.request + 1]
    return {
      session.id .. (session.parent and " in " .. session.parent.id or ""),
      protocol_of(session),
      client_address(session) .. ":" .. client_port,
      proxy_address(session) .. ":" .. proxy_port,
      request and command_name(request.command) or "-",
      target_of(session) or (session.gssapi and session.gssapi.encrypted and "(encrypted)" or "-"),
      outcome_words(session),
      format("%.6f", session[AT.first + 1]),
      after and format("%.6f", after) or "-",
      format("%d", relayed_octets(session, session.client)),
      format("%d", relayed_octets(session, 1 - session.client)),
    }
  end

  -- Conversations in which something of SOCKS was seen. One whose first frame never ended has a client all the same.
  local function listed()
    local list = {}
    for _, session in ipairs(sessions) do
      if session.client == nil and session.trusted and session.partial then
        session.client = session.partial[0] and 0 or session.partial[1] and 1 or nil
      end
      local seen = session.greeting or session.selection or session.request or session.reply or session.partial
      if session.client and seen and not session.foreign then list[#list + 1] = session end
    end
    return list
  end

  local function lined_up(rows)
    local widths, lines = {}, {}
    for _, row in ipairs(rows) do
      for i, value in ipairs(row) do widths[i] = max(widths[i] or 0, #value) end
    end
    for n, row in ipairs(rows) do
      local cells = {}
      for i, value in ipairs(row) do
        local padding = rep(" ", widths[i] - #value)
        cells[i] = i >= FIRST_NUMBER and padding .. value or value .. padding
      end
      lines[n] = concat(cells, "  ")
    end
    return lines
  end

  local function conversation_table()
    local rows = { TITLES }
    for _, session in ipairs(listed()) do rows[#rows + 1] = row_of(session) end
    local lines = lined_up(rows)
    lines[#lines + 1] = format("%d conversations", #rows - 1)
    return concat(lines, "\n") .. "\n"
  end

  -- A window wraps its lines: what does not fit into this many characters stands on a line of its own.
  local function conversation_list()
    local lines = {}
    for _, session in ipairs(listed()) do
      local row = row_of(session)
      lines[#lines + 1] = format("%s  %s %s  %s", row[1], row[2], row[5], row[6])
      lines[#lines + 1] = format("      %s -> %s", row[3], row[4])
      lines[#lines + 1] = format("      %s, at %s s, reply after %s s, %s octets sent, %s received",
        row[7], row[8], row[9], row[10], row[11])
    end
    lines[#lines + 1] = format("%d conversations", #listed())
    return concat(lines, "\n") .. "\n"
  end

  -- For programs: TCP stream, depth, first frame, and the octets, a line each.
  local function octets_table()
    local lines = {}
    for _, session in ipairs(listed()) do
      local outermost = session
      while outermost.parent do outermost = outermost.parent end
      local flow = flow_of[outermost]
      lines[#lines + 1] = format("octets\t%d\t%d\t%d\t%d\t%d", flow and flow.stream or -1, session.depth or 0,
        session[AT.first], relayed_octets(session, session.client), relayed_octets(session, 1 - session.client))
    end
    return concat(lines, "\n") .. "\n"
  end

  local MAX_BRANCHES = 20 -- of one heading, the most frequent ones

  local function count_branch(tree, heading, name)
    local branch = tree[heading]
    branch[name] = (branch[name] or 0) + 1
  end

  local HEADINGS = { "Outcome", "Protocol", "Command", "Method", "Proxy", "Destination" }

  local function count_session(tree, session)
    local row = row_of(session)
    count_branch(tree, "Outcome", row[7])
    count_branch(tree, "Protocol", row[2])
    count_branch(tree, "Command", row[5])
    count_branch(tree, "Method", session.selection and method_name(session.selection.method) or "-")
    count_branch(tree, "Proxy", row[4])
    count_branch(tree, "Destination", row[6])
  end

  local function branch_lines(lines, branch, total)
    local names = {}
    for name in pairs(branch) do names[#names + 1] = name end
    table.sort(names, function(a, b)
      if branch[a] ~= branch[b] then return branch[a] > branch[b] end
      return a < b
    end)
    for i = 1, min(#names, MAX_BRANCHES) do
      lines[#lines + 1] = format("  %8d  %5.1f %%  %s", branch[names[i]], 100 * branch[names[i]] / total, names[i])
    end
    if #names > MAX_BRANCHES then lines[#lines + 1] = format("  and %d others", #names - MAX_BRANCHES) end
  end

  local function statistics_tree()
    local tree, list = {}, listed()
    for _, heading in ipairs(HEADINGS) do tree[heading] = {} end
    for _, session in ipairs(list) do count_session(tree, session) end
    local lines = { format("%d conversations", #list) }
    for _, heading in ipairs(HEADINGS) do
      lines[#lines + 1] = heading
      branch_lines(lines, tree[heading], max(1, #list))
    end
    return concat(lines, "\n") .. "\n"
  end

  -- Counts octets while the file is read (again), then draws.
  local function tap_with(draw)
    flows, flow_of = {}, {}
    local tap = Listener.new("tcp")
    function tap.packet(pinfo, _, info) count_segment(pinfo, info) end
    function tap.draw() draw() end
    function tap.reset() flows, flow_of = {}, {} end
    return tap
  end

  register_stat_cmd_arg("socks5,conversations", function()
    tap_with(function() print(conversation_table()) end)
  end)

  register_stat_cmd_arg("socks5,octets", function()
    tap_with(function() print(octets_table()) end)
  end)

  register_stat_cmd_arg("socks5,tree", function()
    tap_with(function() print(statistics_tree()) end)
  end)

  local function filter_conversation(number)
    if not tonumber(number) then return end
    set_filter(format("socks5.stream == %d", tonumber(number)))
    apply_filter()
  end

  local function open_window(title, content, with_filter)
    local window = TextWindow.new(title)
    local tap = tap_with(function() window:set(content()) end)
    window:set_atclose(function() tap:remove() end)
    if with_filter then
      window:add_button("Filter a conversation", function()
        new_dialog("Filter a SOCKS conversation", filter_conversation, "Its number")
      end)
    end
    retap_packets()
  end

  if gui_enabled() then
    register_menu("SOCKS5/Conversations", function()
      open_window("SOCKS5 Conversations", conversation_list, true)
    end, MENU_STAT_UNSORTED)
    register_menu("SOCKS5/Statistics", function()
      open_window("SOCKS5 Statistics", statistics_tree)
    end, MENU_STAT_UNSORTED)
  end
end

---------------------------------------------------------------------------------------------------------------------
-- Registration
---------------------------------------------------------------------------------------------------------------------

-- All octets are taken where nothing is returned.
function P.dissector(tvb, pinfo, tree)
  if not add then use_methods(tvb, pinfo, tree) end
  -- Only TCP lets us ask for more octets; where it does not, the type of the ports tells.
  local more = desegments(pinfo)
  if more == 0 and port_type_of(pinfo) == UDP_PORT_TYPE then return dissect_udp_port(tvb, pinfo, tree) end
  if not dissect_tcp(tvb, pinfo, tree, true, false, more) then return 0 end
end

local ports -- of the preference, as they are claimed now
local owners = {} -- port -> the dissector that a claimed port belongs to

local function claim(ranges)
  ports = ranges
  read_ports(ranges)
  if ranges == "" then return end
  for _, range in ipairs(proxy_ports) do
    for port = range[1], range[2] do
      local owner = tcp_table:get_dissector(port)
      if owner and not find(tostring(owner), "^SOCKS5$") then owners[port] = owners[port] or owner end
    end
  end
  tcp_table:add(ranges, P)
end

-- What the preference does not list any more goes back to where it was.
local function release()
  if ports == "" then return end
  tcp_table:remove(ports, P)
  for port, owner in pairs(owners) do tcp_table:add(port, owner) end
  owners = {}
end

read_preferences()
claim(P.prefs.ports)

function P.prefs_changed()
  read_preferences()
  listen_to_dns(P.prefs.local_dns)
  if P.prefs.ports == ports then return end
  release()
  claim(P.prefs.ports)
end

-- Called when a file is opened and when it is closed. The built-in socks dissector puts itself back on a port that
-- the user set for it; the last to register wins, so this registers again.
function P.init()
  forget_all()
  read_preferences()
  listen_to_dns(P.prefs.local_dns)
  our_dissector = Dissector.get("socks5")
  if ports ~= "" then tcp_table:add(ports, P) end
end

forget_all()
tcp_table:add_for_decode_as(P)
udp_table:add_for_decode_as(P)
P:register_heuristic("tcp", find_anywhere)
-- A relay's port is put into the port table, where a lower port that somebody else registered wins; with Wireshark's
-- preference "udp.try_heuristic_first" this one is asked before.
P:register_heuristic("udp", function(tvb, pinfo, tree)
  if not add then use_methods(tvb, pinfo, tree) end
  learn_names(tvb, pinfo)
  return next(relays) ~= nil and dissect_datagram(tvb, pinfo, tree)
end)
