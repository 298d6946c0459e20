-- SOCKS4, SOCKS4A and SOCKS5 for Wireshark and tshark 3.6 to 4.6, on any port.
--
-- How it works
--   Wireshark's TCP calls this script with octets in stream order. `advance` turns the octets of one side into SOCKS
--   frames and keeps the conversation's state; `show_frame` puts a frame into the packet details; `tunnel` hands
--   what the proxy relays to the dissector that fits.
--   A packet's first dissection (`pinfo.visited` is false) is the only one that changes state, and leaves a record of
--   which frames lie where; every later dissection of the packet, in whatever order, replays that record.
--   Roles come from octets: the client is the side that sends the greeting or the SOCKS4 request.
--
-- Rules that keep Wireshark alive, each learnt from a failure
--   * The built-in socks dissector is never called (it crashes without TCP's data), nor DissectorTable.try_heuristics.
--   * A C dissector that raises skips the rest of our function. State is therefore complete before any dissector of
--     the payload is called, and such calls are counted: see `call_payload`.
--   * Lua 5.2 and 5.4 both load this file: no integer operators, no bit32, no utf8 library.

set_plugin_info({
  version = "1.0.0",
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
}
-- END GENERATED CODE POINTS

local byte, sub, find, format, rep = string.byte, string.sub, string.find, string.format, string.rep
local concat, floor = table.concat, math.floor

local MAX_DEPTH = 8 -- SOCKS inside SOCKS inside SOCKS ...
local MAX_SOCKS4_STRING = 512 -- the codec's limit, for the codec's reason: a NUL is not waited for any longer
local MAX_LEAKS = 60 -- payload dissectors that raised through us; near 95 Lua itself would fail
local MAX_RESOLVED = 100000 -- addresses remembered from DNS answers
local FRAGMENT_LIFE = 5 -- seconds, RFC 1928 s7
local MAX_FRAGMENTED = 65536 -- octets put together from UDP fragments
local UDP_PORT_TYPE = 3 -- pinfo.port_type of a UDP datagram

---------------------------------------------------------------------------------------------------------------------
-- Names
---------------------------------------------------------------------------------------------------------------------

local function hex2(value)
  return format("0x%02x", value)
end

local function method_name(value)
  return METHODS[value] or (value >= 0x80 and "private-" or "unassigned-") .. hex2(value)
end

local function command_name(value)
  return COMMANDS[value] or "unknown-" .. hex2(value)
end

local function command_title(value)
  local name = COMMANDS[value]
  if not name then return "command " .. hex2(value) end
  return value == 0xF1 and "RESOLVE_PTR" or (name:upper():gsub("-", " "))
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
  type = ProtoField.string("socks5.type", "Frame type"),
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

local DST = address_fields("destination", "Destination")
local BND = address_fields("bound", "Bound")
local PEER = address_fields("peer", "Peer")
local UDP = address_fields("udp", "UDP")

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

-- Field extractors give nothing in the first pass of `tshark -2` without a filter, so nothing may depend on them alone.
local tcp_stream = Field.new("tcp.stream")
local tcp_seq = Field.new("tcp.seq")
local tcp_len = Field.new("tcp.len")
local tcp_ack = Field.new("tcp.ack")
local tcp_completeness = Field.new("tcp.completeness") -- bits 1 and 2: SYN, SYN with ACK
local dns_name = Field.new("dns.qry.name")
local dns_a = Field.new("dns.a")
local dns_aaaa = Field.new("dns.aaaa")

-- The value of the innermost TCP header's field (there can be TCP inside TCP), or nil.
local function innermost(extractor)
  local first, second = extractor()
  if not second then return first and first() end
  local all = { extractor() }
  return all[#all]()
end

-- Kept here, since a packet's dissection asks for it each time.
local dissect_payload
local function read_preferences()
  dissect_payload = P.prefs.payload
end

-- Methods of Tvb and TreeItem, from the first ones seen: looking them up at each call costs more than some calls.
local length_of, octets_of, offset_of
local add, set_generated, set_text

local function use_methods(tvb, tree)
  length_of, octets_of, offset_of = tvb.len, tvb.raw, tvb.offset
  add, set_generated, set_text = tree.add, tree.set_generated, tree.set_text
end

local tcp_table = DissectorTable.get("tcp.port")
local udp_table = DissectorTable.get("udp.port")

---------------------------------------------------------------------------------------------------------------------
-- Text from the wire
---------------------------------------------------------------------------------------------------------------------

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

-- Octets as UTF-8, others as \xNN. Control characters too: Wireshark's strings end at a NUL, and its XML is broken by
-- others.
local function text(octets)
  if not find(octets, "[%c\128-\255]") then return octets end
  local out, at, size = {}, 1, #octets
  while at <= size do
    local length = utf8_length(octets, at)
    local first = byte(octets, at)
    if length and first >= 32 and first ~= 127 then
      out[#out + 1] = sub(octets, at, at + length - 1)
    else
      length = 1
      out[#out + 1] = format("\\x%02x", first)
    end
    at = at + length
  end
  return concat(out)
end

local function ipv4_text(octets)
  return format("%d.%d.%d.%d", byte(octets, 1, 4))
end

-- RFC 5952: the longest (first) run of two zero groups or more becomes "::".
local function ipv6_text(octets)
  if sub(octets, 1, 12) == rep("\0", 10) .. "\255\255" then return "::ffff:" .. ipv4_text(sub(octets, 13)) end
  local groups, best, best_length, start = {}, nil, 1, nil
  for i = 1, 8 do
    local high, low = byte(octets, 2 * i - 1, 2 * i)
    groups[i] = high * 256 + low
    if groups[i] == 0 then
      start = start or i
      if i - start + 1 > best_length then best, best_length = start, i - start + 1 end
    else
      start = nil
    end
    groups[i] = format("%x", groups[i])
  end
  if not best then return concat(groups, ":") end
  return concat(groups, ":", 1, best - 1) .. "::" .. concat(groups, ":", best + best_length)
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

---------------------------------------------------------------------------------------------------------------------
-- Octets to frames. Each decoder: octets that begin with the frame -> frame | nil (more needed) | false (never).
-- A frame has kind, size and its fields, places in it count from 1, and `odd` lists code, message, code, message, ...
-- It says nothing about the conversation, and is not changed after: many packets share one (see `decode`).
---------------------------------------------------------------------------------------------------------------------

local function odd(frame, code, message)
  local list = frame.odd
  if not list then
    list = {}
    frame.odd = list
  end
  list[#list + 1] = code
  list[#list + 1] = message
end

local function note(notes, code, message)
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

local function check_domain(frame, name)
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
  frame.host_type, frame.host_at, frame.host_size = kind, host_at, size
  local raw = sub(octets, host_at, host_at + size - 1)
  frame.raw_host = raw
  frame.host = host_text(kind, raw)
  frame.port = high * 256 + low
  return host_at + size + 2
end

-- Space for all that such a frame gets: a table that grows key by key is allocated four times.
local function addressed_frame(kind)
  return {
    kind = kind, version = nil, reserved = nil, size = nil, host_type = nil, host_at = nil, host_size = nil,
    raw_host = nil, host = nil, port = nil, line = nil, asked_by = nil,
  }
end

local decoders = {}

function decoders.greeting(octets)
  local version, count = byte(octets, 1, 2)
  if not count or #octets < 2 + count then return nil end
  local methods = sub(octets, 3, 2 + count)
  local frame = { kind = "greeting", size = 2 + count, version = version, methods = methods }
  check_version(frame, "the greeting", 5)
  if count == 0 then
    odd(frame, "no-methods-offered", "the greeting offers no method")
  elseif count > 1 then
    local seen, twice = {}, {}
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
    if #octets < frame.size then return nil end
    frame.token = sub(octets, 5, frame.size)
  end
  check_version(frame, "the GSSAPI message", 1, "auth-version")
  return frame
end

function decoders.request(octets)
  local frame = addressed_frame("request")
  local after = read_address(frame, octets)
  if not after then return after end
  frame.version, frame.command, frame.reserved = byte(octets, 1, 3)
  frame.size = after - 1
  check_version(frame, "the request", 5)
  if not COMMANDS[frame.command] then
    odd(frame, "unknown-command", format("no command 0x%02x is known", frame.command))
  end
  if frame.reserved ~= 0 then odd(frame, "reserved-nonzero", format("RSV of the request is 0x%02x", frame.reserved)) end
  if frame.host_type == DOMAIN then check_domain(frame, frame.raw_host) end
  if frame.command == 1 and frame.port == 0 then odd(frame, "zero-port", "CONNECT to port 0") end
  return frame
end

function decoders.reply(octets)
  local frame = addressed_frame("reply")
  local after = read_address(frame, octets)
  if not after then return after end
  frame.version, frame.code, frame.reserved = byte(octets, 1, 3)
  frame.size = after - 1
  check_version(frame, "the reply", 5)
  if not REPLIES[frame.code] then odd(frame, "unknown-reply", format("reply code 0x%02x is unassigned", frame.code)) end
  if frame.reserved ~= 0 then odd(frame, "reserved-nonzero", format("RSV of the reply is 0x%02x", frame.reserved)) end
  if frame.host_type == DOMAIN then check_domain(frame, frame.raw_host) end
  return frame
end

decoders["socks4-request"] = function(octets)
  if #octets < 8 then return nil end
  local version, command, high, low, a, b, c, d = byte(octets, 1, 8)
  local user_end = find(octets, "\0", 9, true)
  if not user_end or user_end > 9 + MAX_SOCKS4_STRING then
    if #octets > 8 + MAX_SOCKS4_STRING then return false end
    return nil
  end
  local frame = {
    kind = "request", socks4 = true, version = version, command = command, port = high * 256 + low,
    username = sub(octets, 9, user_end - 1), size = user_end,
    host_type = IPV4, host_at = 5, host_size = 4,
  }
  check_version(frame, "the SOCKS4 request", 4)
  if not SOCKS4_COMMANDS[command] then
    odd(frame, "unknown-command", format("SOCKS4 has no command 0x%02x", command))
  end
  if command == 1 and frame.port == 0 then odd(frame, "zero-port", "CONNECT to port 0") end
  if a == 0 and b == 0 and c == 0 and d ~= 0 then
    local host_end = find(octets, "\0", user_end + 1, true)
    if not host_end or host_end > user_end + 1 + MAX_SOCKS4_STRING then
      if #octets > user_end + MAX_SOCKS4_STRING then return false end
      return nil
    end
    frame.host_type, frame.host_at, frame.host_size = DOMAIN, user_end + 1, host_end - user_end - 1
    frame.size = host_end
    frame.raw_host = sub(octets, user_end + 1, host_end - 1)
    check_domain(frame, frame.raw_host)
  else
    frame.raw_host = sub(octets, 5, 8)
  end
  frame.host = host_text(frame.host_type, frame.raw_host)
  return frame
end

decoders["socks4-reply"] = function(octets)
  if #octets < 8 then return nil end
  local version, code, high, low = byte(octets, 1, 4)
  local frame = {
    kind = "reply", socks4 = true, size = 8, version = version, code = code, port = high * 256 + low,
    host_type = IPV4, host_at = 5, host_size = 4, raw_host = sub(octets, 5, 8),
  }
  frame.host = ipv4_text(frame.raw_host)
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

local function decode(kind, octets)
  local by_octets = remembered[kind]
  if not by_octets then
    by_octets = {}
    remembered[kind] = by_octets
  end
  local frame = by_octets[octets]
  if frame then return frame end
  frame = decoders[kind](octets)
  if frame and frame.size == #octets and frame.size < 300 then
    if remembered_count >= MAX_REMEMBERED then
      remembered, remembered_count = {}, 0
      by_octets = {}
      remembered[kind] = by_octets
    end
    remembered_count = remembered_count + 1
    by_octets[octets] = frame
  end
  return frame
end

-- The plaintext of a Kerberos wrap token that is not sealed (RFC 4121 s4.2.6.2, RFC 1964 s1.2.2), or nil.
local function unwrap(token)
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

---------------------------------------------------------------------------------------------------------------------
-- The conversation
---------------------------------------------------------------------------------------------------------------------

local sessions -- all, in the order of their first packets
local by_stream -- tcp.stream -> session
local by_ends -- addresses and ports -> the latest session between them, which leads to earlier ones by `before`
local records -- (frame, offset, depth) -> what the first dissection found there, see `pack`
local relays -- UDP port -> associations
local datagrams -- frame -> what the first dissection found in that datagram
local resolved -- client -> address -> name, from DNS answers
local resolved_count
local relative_sequence_numbers = true -- TCP's preference
local in_flight, leaks -- see call_payload
local visited -- whether the packet in hand has been dissected before: `pinfo.visited`
local last_place -- {session, number} where a sequence number was read last
local last_call -- the last call's {frame, key}: several calls for one packet share its Info column

local function forget_all()
  sessions, by_stream, by_ends, records = {}, {}, {}, {}
  for port in pairs(relays or {}) do udp_table:remove(port, P) end
  relays, datagrams, resolved, resolved_count = {}, {}, {}, 0
  in_flight, leaks, last_place, last_call = false, 0, {}, {}
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

-- One SOCKS conversation: a TCP connection, or the inside of another's tunnel. Sides are 0 (sent first) and 1.
local function new_session(pinfo, trusted, source, destination, stream)
  return {
    trusted = trusted,
    first = pinfo.number,
    start = pinfo.rel_ts,
    sent = 0,
    received = 0,
    address0 = source,
    port0 = pinfo.src_port,
    address1 = destination,
    port1 = pinfo.dst_port,
    stream = stream,
    -- Those that nearly every conversation gets, so that the table is made large enough at once, and no larger: 32 is
    -- a power of two, and in Lua 5.2 even a key that is set to nil takes a place.
    id = nil, place0 = nil, place1 = nil, client = nil, methods = nil, method = nil, asked = nil, greeting_frame = nil,
    selection_frame = nil, selection_after = nil, command = nil, host_type = nil, host = nil, port = nil,
    tunnel_title = nil, request_frame = nil, code = nil, reply_frame = nil, reply_after = nil, open = nil,
    payload = nil,
  }
end

local function new_nested_session(pinfo, parent)
  local session = new_session(pinfo, false, parent.address0, parent.address1)
  session.port0, session.port1 = parent.port0, parent.port1
  session.parent, session.depth = parent, (parent.depth or 0) + 1
  return session
end

-- The same for both directions.
local function ends_key(address0, port0, address1, port1)
  if port0 > port1 or (port0 == port1 and address0 > address1) then
    address0, port0, address1, port1 = address1, port1, address0, port0
  end
  return address0 .. " " .. port0 .. " " .. address1 .. " " .. port1
end

local function remember(session)
  session.id = #sessions + 1
  sessions[session.id] = session
  if session.parent then return end
  local key = ends_key(session.address0, session.port0, session.address1, session.port1)
  if by_ends[key] then session.before = by_ends[key] end
  by_ends[key] = session
  if session.stream then by_stream[session.stream] = session end
end

local function side_of(session, pinfo)
  if session.port0 ~= session.port1 then return pinfo.src_port == session.port0 and 0 or 1 end
  return tostring(pinfo.src) == session.address0 and 0 or 1
end

-- The session this packet belongs to, or nil; and the packet's addresses, where they had to be looked at.
local function lookup(pinfo, stream)
  if stream then
    local session = by_stream[stream]
    if session then return session end
  end
  local number = pinfo.number
  local source, destination = tostring(pinfo.src), tostring(pinfo.dst)
  local session = by_ends[ends_key(source, pinfo.src_port, destination, pinfo.dst_port)]
  while session and session.first > number do session = session.before end
  if session and stream then
    -- The same addresses and ports, but another connection.
    if session.stream then return nil, source, destination end
    session.stream = stream
    by_stream[stream] = session
  end
  return session, source, destination
end

local function protocol_of(session)
  if not session.socks4 then return "SOCKS5" end
  return session.host_type == DOMAIN and "SOCKS4A" or "SOCKS4"
end

local function target_of(session)
  return session.host and endpoint_text(session.host_type, session.host, session.port)
end

local function is_client(session, side)
  return session.client == side
end

local function peer_address(session, side)
  if side == 0 then return session.address0 end
  return session.address1
end

local function client_address(session)
  return peer_address(session, session.client)
end

local function proxy_address(session)
  return peer_address(session, 1 - session.client)
end

-- Whether the proxy has said something that fits what the client said.
local function confirmed(session)
  return session.method ~= nil or session.code ~= nil
end

-- Whether octets can begin a greeting. Without trust in the port, methods must be distinct and known (or private).
local function looks_like_greeting(octets, at, trusted)
  local version, count = byte(octets, at, at + 1)
  if version ~= 5 then return false end
  if not count then return true end
  if trusted and #octets - at + 1 == 2 + count then return true end
  if count == 0 then return false end
  local seen = {}
  for i = at + 2, math.min(#octets, at + 1 + count) do
    local method = byte(octets, i)
    local odd_one = method == 4 or method == 0xFF or (method > 9 and method < 0x80)
    if seen[method] or (odd_one and not trusted) then return false end
    seen[method] = true
  end
  local after = byte(octets, at + 2 + count)
  return after == nil or after == 1 or after == 5
end

local function looks_like_socks4(octets, at, trusted)
  local version, command = byte(octets, at, at + 1)
  if version ~= 4 then return false end
  if command and not SOCKS4_COMMANDS[command] then return false end
  if trusted then return true end
  local frame = decode("socks4-request", sub(octets, at))
  if frame == nil then return #octets - at < 9 or not find(sub(octets, at + 8), "[%c\127-\255]") end
  if not frame or find(frame.username, "[%c\127-\255]") or #frame.username > 64 then return false end
  if frame.host_type == DOMAIN then
    if frame.raw_host == "" or find(frame.raw_host, "[%c\127-\255 ]") then return false end
  elseif byte(frame.raw_host) == 0 then
    return false
  end
  return #octets - at + 1 == frame.size and (frame.port ~= 0 or frame.command ~= 1)
end

local function after_greeting(session, octets, at, inside)
  local method, first = session.method, byte(octets, at)
  if method == nil then -- pipelined: the choice has not come yet
    if first == 5 then return "request" end
    if find(session.methods, "\2", 1, true) and not session.auth_frame then return "auth-request" end
    if find(session.methods, "\1", 1, true) then return "gssapi" end
    return "opaque"
  elseif method == 2 then
    if session.auth_frame or first == 5 then return "request" end
    return "auth-request"
  elseif method == 1 then
    return (inside or first == 5) and "request" or "gssapi"
  elseif method ~= 0 then
    return first == 5 and "request" or "opaque"
  end
  return "request"
end

-- Whether the port tells that a side is the proxy.
local function speaks_for_proxy(session, side)
  local own, other = session.port0, session.port1
  if side == 1 then own, other = other, own end
  return is_proxy_port(own) and not is_proxy_port(other)
end

local PIPELINED = {
  [true] = "several frames of the client came in one segment",
  [false] = "several frames of the proxy came in one segment",
}

local FAILURES = {
  refused = "the refusal", ["auth-failed"] = "a failed authentication", rejected = "a failure reply",
}

local HTTP_METHODS = {}
for name in ("GET POST HEAD PUT DELETE OPTIONS PATCH CONNECT TRACE PROPFIND PRI"):gmatch("%S+") do
  HTTP_METHODS[name] = true
end

-- What the octets at `at` of a side are: a decoder's name, "tunnel", or nil when they cannot be SOCKS.
-- `inside` is set for octets that came out of GSSAPI frames.
local function expected(session, side, octets, at, inside)
  -- A rejection may come before the request, which is still read.
  if session.failed and (session.request_frame or session.failed ~= "rejected" or side ~= session.client) then
    return "extra"
  end
  if session.client == nil then
    local trusted = session.trusted
    if trusted and (octets == "\5\0" or octets == "\5\255") and speaks_for_proxy(session, side) then
      return "method-selection" -- before any greeting
    end
    if looks_like_greeting(octets, at, trusted) then return "greeting" end
    if looks_like_socks4(octets, at, trusted) then return "socks4-request" end
    return nil
  end
  if session.lost then return "lost" end
  if session.sealed and not inside then return "gssapi" end
  if side == session.client then
    if session.request_frame then return session.resolving and "extra" or "tunnel" end
    if session.socks4 then return "socks4-request" end
    if not session.methods then
      if looks_like_greeting(octets, at, false) then return "greeting" end
      return session.midstream and "request" or nil
    end
    return after_greeting(session, octets, at, inside)
  end
  if session.socks4 then
    if not session.code or (session.command == 2 and not session.peer_frame) then return "socks4-reply" end
    return session.resolving and "extra" or "tunnel"
  end
  if session.method == nil then return "method-selection" end
  local first = byte(octets, at)
  if session.method == 2 and session.authenticated == nil and not session.skipped_auth then return "auth-reply" end
  if not session.request_frame and not inside then
    if session.method == 1 then return "gssapi" end
    if session.method ~= 0 and session.method ~= 2 then return first == 5 and "reply" or "opaque" end
  elseif session.method == 1 and first == 1 and not session.code and not inside then
    return "gssapi"
  end
  if not session.code or (session.command == 2 and not session.peer_frame) then return "reply" end
  return session.resolving and "extra" or "tunnel"
end

-- What a frame changes in its conversation, and what is odd about it there.
local apply = {}

function apply.greeting(session, side, frame, _, number, now)
  session.client = side
  session.methods = frame.methods
  session.greeting_frame, session.asked = number, now
end

apply["method-selection"] = function(session, side, frame, notes, number, now)
  if session.client == nil then
    session.client = 1 - side
    if not session.midstream then
      note(notes, "server-spoke-first", "the proxy sent before the client's first frame was whole")
    end
  end
  session.method = frame.method
  session.selection_frame, session.selection_after = number, session.asked and now - session.asked
  if frame.method == 0xFF then
    note(notes, "no-acceptable-method", "the proxy accepts none of the offered methods")
    session.failed = "refused"
  elseif session.methods and not find(session.methods, string.char(frame.method), 1, true) then
    note(notes, "method-not-offered", format("the proxy chose 0x%02x, which was not offered", frame.method))
  end
end

apply["auth-request"] = function(session, _, frame, notes, number, now)
  session.username = frame.username
  session.auth_frame, session.asked = number, now
  if not (is_loopback(session.address0) and is_loopback(session.address1)) then
    note(notes, "cleartext-credentials", "user name and password crossed in clear")
  end
end

apply["auth-reply"] = function(session, _, frame, notes, number, now)
  session.authenticated = frame.status == 0
  session.auth_reply_frame, session.auth_after = number, session.asked and now - session.asked
  if not session.authenticated then
    note(notes, "auth-failed", format("the proxy refused the credentials (status 0x%02x)", frame.status))
    session.failed = "auth-failed"
  end
end

function apply.gssapi(session, side, frame, notes)
  if frame.message_type == 0xFF then
    session.authenticated = false
    session.failed = "auth-failed"
    note(notes, "auth-failed",
      format("the %s refused the GSSAPI security context", is_client(session, side) and "client" or "proxy"))
  elseif frame.message_type == 2 then
    if #frame.token == 1 then
      if not session.unprotected then
        note(notes, "gssapi-level-unprotected", "the protection level was sent unwrapped")
      end
      session.unprotected = true
    end
    if not is_client(session, side) then session.authenticated = true end
  elseif frame.message_type == 3 then
    session.sealed = true
    if not is_client(session, side) then session.authenticated = true end
  end
end

local function unmapped(address)
  return (address:gsub("^::ffff:", ""))
end

function apply.request(session, side, frame, notes, number, now)
  session.client = side
  if frame.socks4 then session.socks4, session.username = true, frame.username end
  session.command = frame.command
  session.host_type, session.host, session.port = frame.host_type, frame.host, frame.port
  if frame.command == 3 then session.raw_host = frame.raw_host end
  session.tunnel_title = protocol_of(session) .. ", Tunnel: " .. target_of(session)
  session.request_frame, session.asked = number, now
  if frame.command == 0xF0 or frame.command == 0xF1 then session.resolving = true end
  if session.method == 2 and not session.auth_frame then session.skipped_auth = true end
  if session.skipped_auth then note(notes, "bad-version", "a request came where user name and password were due") end
  if session.method == 1 then session.authenticated = true end
  -- The reply came before: see `apply.reply`.
  if session.code == 0 and frame.command ~= 2 then session.open = not session.resolving end
  if frame.command == 3 and not frame.socks4 then
    local own = unmapped(client_address(session))
    if frame.host_type == DOMAIN then
      note(notes, "associate-names-target", "UDP ASSOCIATE for a domain name")
    elseif find(frame.raw_host, "[^%z]") and unmapped(frame.host) ~= own then
      note(notes, "associate-names-target", format("UDP ASSOCIATE for %s, but the client is %s", frame.host, own))
    end
  end
end

local function open_relay(session, frame, notes, number)
  local port = frame.port
  local address = frame.host
  if frame.host_type == DOMAIN then
    address = nil
  elseif not find(frame.raw_host, "[^%z]") then
    note(notes, "bound-unspecified", format("the relay's address is %s: that of the proxy",
      endpoint_text(frame.host_type, frame.host, frame.port)))
    address = proxy_address(session)
  end
  if port == 0 then return end
  local there = relays[port]
  if not there then
    there = {}
    relays[port] = there
    udp_table:add(port, P)
  end
  local own = unmapped(session.host) == unmapped(client_address(session)) or not find(session.raw_host, "[^%z]")
  local client_port = session.host_type ~= DOMAIN and own and session.port or 0
  there[#there + 1] = {
    session = session, address = address, client = client_address(session), client_port = client_port, first = number,
    queues = {}, sent = 0, received = 0, remotes = {},
  }
  session.relay = there[#there]
end

function apply.reply(session, _, frame, notes, number, now)
  local granted = session.socks4 and 90 or 0
  local peer = session.code ~= nil
  if not peer then
    session.code = frame.code
    session.reply_frame, session.reply_after = number, session.request_frame and now - session.asked
    if not session.request_frame then
      note(notes, "reply-before-request", "the proxy sent before the client's request")
    end
    if frame.code == granted and session.command == 3 and not session.socks4 then
      open_relay(session, frame, notes, number)
    end
  else
    session.peer_code = frame.code
    session.peer_frame, session.peer_after = number, session.request_frame and now - session.asked
  end
  if frame.code ~= granted then
    session.failed = "rejected"
  elseif session.command ~= 2 or peer then
    session.open = session.request_frame ~= nil and not session.resolving
  end
end

local VERSION_DUE = {
  greeting = 5, ["method-selection"] = 5, ["auth-request"] = 1, ["auth-reply"] = 1, gssapi = 1, request = 5, reply = 5,
  ["socks4-request"] = 4, ["socks4-reply"] = 0,
}

-- The protocol that the first octets of a side show, where it is worth a name.
local function foreign_name(octets, at)
  local a, b = byte(octets, at, at + 1)
  if a == 6 then return "SOCKS6" end
  if a == 0x16 and b == 3 then return "TLS" end
  if sub(octets, at, at + 3) == "SSH-" then return "SSH" end
  if sub(octets, at, at + 4) == "HTTP/" then return "HTTP" end
  local word = octets:match("^(%u+) ", at)
  return word and HTTP_METHODS[word] and "HTTP" or nil
end

-- Octets that are no frame that is due: the reading of this conversation ends here.
local function unreadable(session, kind, octets, notes)
  session.lost = "malformed"
  local first, due = byte(octets), VERSION_DUE[kind]
  if first ~= due then
    local name = foreign_name(octets, 1)
    note(notes, "bad-version", format("version %d where %d is due%s", first, due, name and " (" .. name .. ")" or ""))
  elseif kind == "request" or kind == "reply" then
    note(notes, "unknown-address-type", format("no address type 0x%02x is known", byte(octets, 4)))
  else
    note(notes, "not-socks-on-socks-port", format("no SOCKS4: a string has no NUL within %d octets", MAX_SOCKS4_STRING))
  end
  return decode("lost", octets)
end

-- Whether the proxy's first frame fits what the client said. Without trust in the port, SOCKS is claimed only then.
local function fits(session, frame)
  if session.trusted or confirmed(session) then return true end
  if frame.kind == "method-selection" then
    return frame.version == 5
      and (frame.method == 0xFF or find(session.methods, string.char(frame.method), 1, true) ~= nil)
  elseif frame.socks4 and frame.kind == "reply" then
    return frame.version == 0 and SOCKS4_REPLIES[frame.code] ~= nil
  end
  return true
end

-- What octets after a failure mean. Each anomaly is noted once a conversation.
local function judge_rest(session, side, notes)
  if not session.failed then return end
  if session.failed == "refused" and not is_client(session, side) then
    if not session.too_long then note(notes, "refusal-too-long", "octets follow the refusal of all methods") end
    session.too_long = true
  else
    if not session.talked_on then
      local who = is_client(session, side) and "client" or "proxy"
      note(notes, "data-after-failure", format("octets of the %s after %s", who, FAILURES[session.failed]))
    end
    session.talked_on = true
  end
end

local unseal -- below: it advances the conversation with what was inside a GSSAPI frame
local scratch = {} -- notes on the frame in hand

-- Turn the octets of a side into frames.
-- Returns them, what stopped it ("end", "more", "tunnel", "foreign") and the place where. Of the i-th frame, `at[i]` is
-- the place (nil: 1), `notes[i]` what is odd about it here, `inner[i]` what a GSSAPI frame encloses; `peer` is the
-- index of BIND's second reply. The first frame may have been decoded before: `ready`, see `in_step`.
local function advance(session, side, octets, number, now, split, inside, ready)
  local found = { ready }
  local at, size = 1, #octets
  local whole = 0 -- SOCKS frames in these octets
  local i = 0
  while at <= size do
    local kind, due, rest
    local frame = ready
    if ready then
      due, ready = ready.version, nil
    else
      kind = expected(session, side, octets, at, inside)
      if kind == nil then return found, "foreign", at end
      if kind == "tunnel" then return found, "tunnel", at end
      due = VERSION_DUE[kind]
      rest = at == 1 and octets or sub(octets, at)
      frame = false
      if not due or byte(rest) == due or not foreign_name(rest, 1) then frame = decode(kind, rest) end
    end
    i = i + 1
    if frame == nil then
      if whole > 0 and session.piped ~= number then
        session.piped = number
        found.notes = found.notes or {}
        found.notes[i - 1] = found.notes[i - 1] or {}
        note(found.notes[i - 1], "pipelined-frames", PIPELINED[is_client(session, side)])
      end
      return found, "more", at
    end
    if not frame then
      if session.client == nil or not (confirmed(session) or session.trusted) then return found, "foreign", at end
      frame = unreadable(session, kind, rest, scratch)
    elseif not fits(session, frame) then
      return found, "foreign", at
    elseif due then
      if frame.kind == "reply" and session.code then found.peer = i end
      apply[frame.kind](session, side, frame, scratch, number, now)
      if frame.message_type == 3 then
        found.inner = found.inner or {}
        found.inner[i] = unseal(session, side, frame, number, now)
      end
      if split then note(scratch, "split-frame", "the " .. frame.kind .. " came in several segments") end
      if whole > 0 and session.piped ~= number then
        session.piped = number
        note(scratch, "pipelined-frames", PIPELINED[is_client(session, side)])
      end
      whole = whole + 1
    elseif kind == "extra" then
      judge_rest(session, side, scratch)
    end
    split = false
    found[i] = frame
    if at > 1 then
      found.at = found.at or {}
      found.at[i] = at
    end
    if #scratch > 0 then
      found.notes = found.notes or {}
      found.notes[i], scratch = scratch, {}
    end
    at = at + frame.size
  end
  return found, "end", at
end

-- What a GSSAPI frame that is not encrypted encloses: SOCKS frames, then tunnel octets. Nil where it is encrypted.
function unseal(session, side, frame, number, now)
  local plain = unwrap(frame.token)
  if not plain then
    session.encrypted = true
    return nil
  end
  local pending = session.pending or {}
  session.pending = pending
  local octets = (pending[side] or "") .. plain
  local outer_notes = scratch
  scratch = {}
  local found, stopped, at = advance(session, side, octets, number, now, pending[side] ~= nil, true)
  scratch = outer_notes
  pending[side] = stopped == "more" and #octets < 1024 and sub(octets, at) or nil
  return { octets = octets, found = found, tunnel = stopped == "tunnel" and at or nil, early = not session.open }
end

---------------------------------------------------------------------------------------------------------------------
-- Packet details and columns
---------------------------------------------------------------------------------------------------------------------

local function masked(octets)
  return P.prefs.show_passwords and text(octets) or "********"
end

local function words_of(session, frame, peer)
  local kind = frame.kind
  if kind == "greeting" then
    local names = {}
    for i = 1, #frame.methods do names[i] = method_name(byte(frame.methods, i)) end
    return "Greeting: " .. (#names > 0 and concat(names, ", ") or "no methods")
  elseif kind == "method-selection" then
    return "Method selection: " .. method_name(frame.method)
  elseif kind == "auth-request" then
    return "Username/password: " .. text(frame.username)
  elseif kind == "auth-reply" then
    return frame.status == 0 and "Authentication succeeded"
      or format("Authentication failed (status 0x%02x)", frame.status)
  elseif kind == "gssapi" then
    return "GSSAPI: " .. gssapi_message_name(frame.message_type)
  elseif kind == "request" then
    return "Request: " .. command_title(frame.command) .. " "
      .. endpoint_text(frame.host_type, frame.host, frame.port)
  elseif kind == "reply" then
    local name = frame.socks4 and socks4_reply_name(frame.code) or reply_name(frame.code)
    if frame.code ~= (frame.socks4 and 90 or 0) then return "Reply: " .. name end
    local bound = endpoint_text(frame.host_type, frame.host, frame.port)
    if session.resolving then return "Reply: " .. name .. ", " .. frame.host end
    if peer then return "Reply: " .. name .. ", peer " .. bound end
    if session.command == 2 then return "Reply: " .. name .. ", listening on " .. bound end
    if session.command == 3 and not session.socks4 then return "Reply: " .. name .. ", relay " .. bound end
    return "Reply: " .. name
  elseif kind == "opaque" then
    return "Negotiation of " .. method_name(session.method or 0xFF)
  elseif kind == "extra" then
    return format("%d octets after the %s", frame.size, session.failed and "failure" or "answer")
  end
  return format("%d octets that cannot be read", frame.size)
end

-- One line for a frame. Frames are shared, so are their lines; that of a reply depends on what was asked.
local function summary(session, frame, peer)
  local asked_by = frame.kind == "reply" and (peer and "peer" or session.command) or frame.kind
  if frame.asked_by ~= asked_by then
    frame.line, frame.asked_by = words_of(session, frame, peer), asked_by
  end
  return frame.line
end

local function add_anomalies(item, list)
  for i = 1, list and #list or 0, 2 do
    item:add_proto_expert_info(E[list[i]], list[i + 1])
    set_generated(add(item, F.anomaly, list[i]))
  end
end

-- ATYP, host and port of `frame`, which begins at `at` in the tvb.
local function show_address(item, tvb, at, frame, fields)
  local kind = frame.host_type
  local host_at, host_size = at + frame.host_at - 1, frame.host_size
  local host = tvb(host_at, host_size)
  if frame.socks4 then
    add(item, fields.port, tvb(at + 2, 2), frame.port)
    set_generated(add(item, fields.type, host, kind))
  else
    add(item, fields.type, tvb(at + 3, 1), kind)
    if kind == DOMAIN then add(item, fields.length, tvb(at + 4, 1), host_size) end
  end
  add(item, fields.host, host, frame.host)
  if kind == IPV4 then
    add(item, fields.ipv4, host)
  elseif kind == IPV6 then
    add(item, fields.ipv6, host)
  else
    add(item, fields.domain, host, frame.host)
    if host_size > 0 and host_size ~= #frame.host then add(item, fields.octets, host) end
  end
  if not frame.socks4 then add(item, fields.port, tvb(host_at + host_size, 2), frame.port) end
end

local function show_username(item, range, octets)
  add(item, F.username, range, text(octets))
  if find(octets, "[%z\128-\255]") then add(item, F.username_octets, range) end
end

local function link_answer(item, number)
  if number then set_generated(add(item, F.response_in, number)) end
end

local function link_question(item, number, after)
  if not number or not after then return end
  set_generated(add(item, F.response_to, number))
  local seconds = floor(after)
  set_generated(add(item, F.time, NSTime.new(seconds, floor((after - seconds) * 1e9 + 0.5))))
end

local show = {}

function show.greeting(session, frame, item, tvb, at)
  local count = #frame.methods
  add(item, F.version, tvb(at, 1), frame.version)
  add(item, F.method_count, tvb(at + 1, 1), count)
  for i = 1, count do add(item, F.methods, tvb(at + 1 + i, 1), byte(frame.methods, i)) end
  link_answer(item, session.selection_frame)
end

show["method-selection"] = function(session, frame, item, tvb, at)
  add(item, F.version, tvb(at, 1), frame.version)
  add(item, F.method, tvb(at + 1, 1), frame.method)
  link_question(item, session.greeting_frame, session.selection_after)
end

show["auth-request"] = function(session, frame, item, tvb, at)
  local password_at = at + 3 + frame.user_size
  add(item, F.version, tvb(at, 1), frame.version)
  add(item, F.username_length, tvb(at + 1, 1), frame.user_size)
  show_username(item, tvb(at + 2, frame.user_size), frame.username)
  add(item, F.password_length, tvb(password_at - 1, 1), frame.password_size)
  local range = tvb(password_at, frame.password_size)
  add(item, F.password, range, masked(frame.password_size > 0 and range:raw() or ""))
  link_answer(item, session.auth_reply_frame)
end

show["auth-reply"] = function(session, frame, item, tvb, at)
  add(item, F.version, tvb(at, 1), frame.version)
  add(item, F.auth_status, tvb(at + 1, 1), frame.status)
  set_generated(add(item, F.authenticated, frame.status == 0))
  link_question(item, session.auth_frame, session.auth_after)
end

function show.gssapi(_, frame, item, tvb, at)
  add(item, F.version, tvb(at, 1), frame.version)
  add(item, F.gssapi_type, tvb(at + 1, 1), frame.message_type)
  if not frame.token then return end
  add(item, F.gssapi_length, tvb(at + 2, 2), #frame.token)
  local token = tvb(at + 4, #frame.token)
  if #frame.token > 0 then add(item, F.gssapi_token, token) end
  if frame.message_type == 2 then
    local plain = #frame.token == 1 and frame.token or unwrap(frame.token)
    if plain and #plain == 1 then set_generated(add(item, F.gssapi_level, token, byte(plain))) end
  elseif frame.message_type == 3 then
    set_generated(add(item, F.gssapi_encrypted, unwrap(frame.token) == nil))
  end
end

function show.request(session, frame, item, tvb, at)
  -- DST of UDP ASSOCIATE is where the client comes from, and an unspecified one may stand for any place.
  local place = frame.command == 1 or (frame.command ~= 3 and find(frame.raw_host, "[^%z]"))
  local names = place and frame.host_type ~= DOMAIN and resolved[client_address(session)]
  local name = names and names[frame.host]
  if name and name[2] < session.request_frame then
    add_anomalies(item, { "local-dns", format("a DNS answer gave %s for %s", frame.host, name[1]) })
  end
  add(item, F.version, tvb(at, 1), frame.version)
  add(item, F.command, tvb(at + 1, 1), frame.command)
  if frame.socks4 then
    show_address(item, tvb, at, frame, DST)
    show_username(item, tvb(at + 8, #frame.username), frame.username)
  else
    add(item, F.reserved, tvb(at + 2, 1), frame.reserved)
    show_address(item, tvb, at, frame, DST)
  end
  link_answer(item, session.reply_frame)
end

function show.reply(session, frame, item, tvb, at, peer)
  add(item, F.version, tvb(at, 1), frame.version)
  add(item, frame.socks4 and F.reply_code4 or F.reply_code, tvb(at + 1, 1), frame.code)
  if not frame.socks4 then add(item, F.reserved, tvb(at + 2, 1), frame.reserved) end
  show_address(item, tvb, at, frame, peer and PEER or BND)
  if peer then set_generated(add(item, F.reply_peer, true)) end
  link_question(item, session.request_frame, peer and session.peer_after or session.reply_after)
end

local SPEAKERS = {
  greeting = "client", ["method-selection"] = "proxy", ["auth-request"] = "client", ["auth-reply"] = "proxy",
  request = "client", reply = "proxy",
}

-- The i-th of the frames found in a tvb. Our layer is always there, its fields only when somebody looks (`all`) or
-- when there is something odd: expert information counts even where nobody looks at the tree.
local function show_frame(session, side, found, i, tvb, tree, all)
  local frame = found[i]
  local at = (found.at and found.at[i] or 1) - 1
  local peer = found.peer == i
  local range = frame.size == length_of(tvb) and tvb or tvb(at, frame.size)
  local notes = found.notes and found.notes[i]
  if not all and not frame.odd and not notes then
    add(tree, P, range)
    return
  end
  local item = add(tree, P, range)
  set_text(item, protocol_of(session) .. ", " .. summary(session, frame, peer))
  set_generated(add(item, F.type, frame.kind))
  if session.depth then set_generated(add(item, F.depth, session.depth)) end
  local details = show[frame.kind]
  if not SPEAKERS[frame.kind] then -- the type does not tell
    set_generated(add(item, F.sender, is_client(session, side) and "client" or "proxy"))
  end
  if details then
    details(session, frame, item, tvb, at, peer)
  else
    add(item, F.data, tvb(at, frame.size))
  end
  if frame.odd then add_anomalies(item, frame.odd) end
  if notes then add_anomalies(item, notes) end
end

-- Whether anybody looks at our part of the tree. When nobody does, building it would be the larger part of the cost.
local our_dissector
local function wanted(tree)
  return tree.visible or tree:referenced(our_dissector)
end

---------------------------------------------------------------------------------------------------------------------
-- What the proxy relays
---------------------------------------------------------------------------------------------------------------------

local dissectors = {}
local function dissector(name)
  local found = dissectors[name]
  if found == nil then
    local ok, there = pcall(Dissector.get, name)
    found = ok and there or false
    dissectors[name] = found
  end
  return found
end

-- The dissector that a port of the table names, unless that is SOCKS itself (the built-in one must not be called).
local function names_port(ports, port)
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

local function by_content(octets)
  local a, b, c = byte(octets, 1, 3)
  if a == 0x16 and b == 3 and c and c <= 4 then return by_dissector("tls") end
  if sub(octets, 1, 14) == "PRI * HTTP/2.0" then return by_dissector("http2") end
  local word = octets:match("^(%u+) ")
  if (word and HTTP_METHODS[word]) or find(octets, "^HTTP/1%.") then return by_dissector("http") end
  if find(octets, "^SSH%-") then return by_port(22) end
  if find(octets, "^220[ %-]") and find(octets, "SMTP", 1, true) then return by_port(25) end
  if find(octets, "^[EeHhLl][HhEe][Ll][Oo] ") then return by_port(25) end
  if a == 0x13 and find(octets, "^\19BitTorrent protocol") then return by_dissector("bittorrent.tcp") end
  if a == 3 and b == 0 and byte(octets, 6) == 0xE0 then return by_dissector("tpkt") end
  if a == 0 and find(octets, "^%z...[\253\254\255]SMB") then return SMB end
  return nil
end

local BEGINNINGS = { "HTTP/1.", "SSH-", "220 ", "220-", "EHLO ", "HELO ", "\22\3", "\5\1\0", "\4\1" }
for name in pairs(HTTP_METHODS) do BEGINNINGS[#BEGINNINGS + 1] = name .. " " end

-- Whether a few octets may go on to be something that `by_content` knows.
local function says_too_little(octets)
  if #octets > 8 then return false end
  for _, beginning in ipairs(BEGINNINGS) do
    if #octets < #beginning and sub(beginning, 1, #octets) == octets then return true end
  end
  return false
end

local function choose_payload(session, octets)
  if (session.depth or 0) + 1 < MAX_DEPTH
    and (looks_like_greeting(octets, 1, false) or looks_like_socks4(octets, 1, false)) and #octets > 2 then
    return { nested = true }
  end
  local found = by_content(octets)
  if found ~= nil then return found or nil end
  local port = session.port or 0
  if port == 139 or port == 445 then return SMB end
  if port ~= 0 and names_port(tcp_table, port) then return by_port(port) end
  return nil
end

-- Call a dissector with what the proxy relays. One that raises a C exception never comes back here: `in_flight` then
-- stays set, and is counted at the next packet. Each such exit uses up some of Lua's C stack, hence the limit.
local function call_payload(pinfo, call, ...)
  in_flight = true
  pinfo.can_desegment = 2 -- C gives us 1, and a dissector that we call would get none
  pcall(call, ...)
  in_flight = false
end

local function count_leaks()
  if in_flight then
    in_flight = false
    leaks = leaks + 1
  end
end

-- SMB's NetBIOS dissector wants TCP's own data, which Lua has not got; the exported-PDU dissector makes it from a tag.
-- Its tags: 14 a table's name, 32 the number in it, 34 TCP's data (version 1, the rest is not looked at), 0 the end.
local SMB_TAGS = "\0\14\0\8tcp.port\0\32\0\4\0\0\0\139\0\34\0\19\0\1" .. rep("\0", 17) .. "\0\0\0\0"

local function call_smb(payload, pinfo, tree)
  local exported = dissector("exported_pdu")
  if not exported then return end
  local whole = ByteArray.new(SMB_TAGS .. payload:raw(), true):tvb("Relayed octets")
  call_payload(pinfo, exported.call, exported, whole, pinfo, tree)
  if pinfo.desegment_len ~= 0 then pinfo.desegment_offset = math.max(0, pinfo.desegment_offset - #SMB_TAGS) end
end

local function call_by_port(ports, port, is_from_client, payload, pinfo, tree)
  local source, destination = pinfo.src_port, pinfo.dst_port
  if is_from_client then pinfo.dst_port = port else pinfo.src_port = port end
  call_payload(pinfo, ports.try, ports, port, payload, pinfo, tree)
  pinfo.src_port, pinfo.dst_port = source, destination
end

local dissect_octets -- below; nested conversations need it here

-- Datagrams on the TCP stream: hev-socks5's FWD UDP (0x05) and GOST's UDP over TCP (0xF3).
local function stream_datagrams(session, side, tvb, at, pinfo, tree, item)
  local octets = octets_of(tvb, at)
  local place = 1
  local from_client = is_client(session, side)
  while place <= #octets do
    local frame = decoders.udp(sub(octets, place, place + 262))
    if frame == false then return end
    if frame == nil or #octets < place + frame.size + frame.reserved - 1 then
      pinfo.desegment_offset = at + place - 1
      pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
      return
    end
    if item then
      local header = add(item, P, tvb(at + place - 1, frame.size))
      local remote = endpoint_text(frame.host_type, frame.host, frame.port)
      set_text(header, format("UDP in TCP, %s, %d octets", remote, frame.reserved))
      add(header, F.udp_data_length, tvb(at + place - 1, 2), frame.reserved)
      if session.command == 5 then add(header, F.udp_header_length, tvb(at + place + 1, 1), frame.fragment) end
      show_address(header, tvb, at + place - 1, frame, UDP)
    end
    if dissect_payload and leaks < MAX_LEAKS and frame.reserved > 0 and names_port(udp_table, frame.port) then
      local payload = tvb(at + place - 1 + frame.size, frame.reserved):tvb()
      call_by_port(udp_table, frame.port, from_client, payload, pinfo, tree)
    end
    place = place + frame.size + frame.reserved
  end
end

-- Octets of an open tunnel (or sent early into one), from `at` to the end of the tvb.
local function tunnel(session, side, tvb, at, pinfo, tree, number, early)
  local length = length_of(tvb) - at
  local from_client = is_client(session, side)
  local item
  local range = at == 0 and tvb or tvb(at)
  if early and from_client then session.early_noted = session.early_noted or number end
  if not wanted(tree) and not (early and session.early_noted == number) then
    add(tree, P, range)
  else
    item = add(tree, P, range)
    set_text(item, session.tunnel_title or protocol_of(session) .. ", Tunnel: ?")
    set_generated(add(item, F.type, "tunnel"))
    if session.depth then set_generated(add(item, F.depth, session.depth)) end
    if session.host then
      set_generated(add(item, DST.host, session.host))
      set_generated(add(item, DST.port, session.port))
    end
    if early then
      set_generated(add(item, F.tunnel_early, true))
      if session.early_noted == number then
        add_anomalies(item, { "early-data", "data from the client before the reply" })
      end
    end
  end
  if not visited then
    if from_client then session.sent = session.sent + length else session.received = session.received + length end
  end

  if session.command == 5 or session.command == 0xF3 then
    stream_datagrams(session, side, tvb, at, pinfo, tree, item)
  elseif dissect_payload and leaks < MAX_LEAKS then
    local handler = session.payload
    if visited then
      if handler and session.payload_since and number < session.payload_since then handler = nil end
    elseif handler == nil then
      if early and not confirmed(session) and not session.trusted then
        handler = false -- no octet of the proxy has confirmed that this is SOCKS
      else
        local octets = octets_of(tvb, at, math.min(length, 600))
        handler = choose_payload(session, octets)
        if not handler and says_too_little(octets) then
          if from_client then session.sent = session.sent - length else session.received = session.received - length end
          pinfo.desegment_offset, pinfo.desegment_len = at, DESEGMENT_ONE_MORE_SEGMENT
          return true
        end
        if handler then
          session.payload = handler
          if session.tries then session.payload_since = number end
        else
          session.tries = (session.tries or 0) + 1
          if session.tries >= 6 then session.payload = false end
        end
      end
    end
    if handler then
      local payload = at == 0 and tvb or range:tvb()
      if handler.dissector then
        call_payload(pinfo, handler.call, handler.dissector, payload, pinfo, tree)
      elseif handler.port then
        call_by_port(tcp_table, handler.port, from_client, payload, pinfo, tree)
      elseif handler.smb then
        call_smb(payload, pinfo, tree)
      else
        local inner = handler.session
        if not inner then
          inner = new_nested_session(pinfo, session)
          handler.session = inner
        end
        if not dissect_octets(inner, side, payload, pinfo, tree) and not visited then
          session.payload = nil
          session.tries = 6
          handler = choose_payload(session, "") -- by port only: it was not SOCKS
          session.payload, session.payload_since = handler or false, number
        end
      end
      local more = pinfo.desegment_len
      if more ~= 0 then
        if at > 0 then pinfo.desegment_offset = pinfo.desegment_offset + at end
        if not visited then -- those octets will be seen again
          local again = length_of(tvb) - pinfo.desegment_offset
          if from_client then session.sent = session.sent - again else session.received = session.received - again end
        end
      end
      -- A payload dissector may have made itself the connection's dissector.
      if not session.parent then pinfo.conversation = P end
    else
      if item then add(item, F.data, tvb(at, length)) end
      if at == 0 then
        local cols = pinfo.cols
        cols.protocol = protocol_of(session)
        cols.info = format("Tunnel: %s, %d octets", target_of(session) or "?", length)
      end
    end
  end
  return true
end

---------------------------------------------------------------------------------------------------------------------
-- TCP
---------------------------------------------------------------------------------------------------------------------

local function key_of(number, offset, depth)
  return (number * 131072 + offset) * 16 + depth
end

local function decoder_of(frame)
  if not frame.socks4 then return frame.kind end
  return frame.kind == "request" and "socks4-request" or "socks4-reply"
end

local function set_info(pinfo, number, key, session, words)
  local cols = pinfo.cols
  cols.protocol = protocol_of(session)
  if last_call.number == number and last_call.key ~= key then
    cols.info:append(", " .. words)
  else
    cols.info = words
  end
  last_call.number, last_call.key = number, key
end

-- What a later dissection needs to show the same frames: decoders and places, and what was odd. For one frame of which
-- nothing else is to be said, the name of its decoder.
local function pack(found)
  if #found == 1 and not found.notes and not found.inner and not found.peer then return decoder_of(found[1]) end
  local record = { notes = found.notes, peer = found.peer }
  for i, frame in ipairs(found) do
    record[2 * i - 1] = decoder_of(frame)
    record[2 * i] = found.at and found.at[i] or 1
  end
  for i, inner in pairs(found.inner or {}) do
    record.inner = record.inner or {}
    record.inner[i] = { octets = inner.octets, record = pack(inner.found), tunnel = inner.tunnel, early = inner.early }
  end
  return record
end

local function unpack_record(record, octets)
  if type(record) == "string" then return { decode(record, octets) } end
  local found = { at = {}, notes = record.notes, peer = record.peer }
  for i = 1, #record / 2 do
    local at = record[2 * i]
    local frame = decode(record[2 * i - 1], sub(octets, at))
    if not frame then break end
    found[i], found.at[i] = frame, at
  end
  for i, inner in pairs(record.inner or {}) do
    found.inner = found.inner or {}
    found.inner[i] = {
      octets = inner.octets, found = unpack_record(inner.record, inner.octets),
      tunnel = inner.tunnel, early = inner.early,
    }
  end
  return found
end

local function words_for(session, found)
  local words = summary(session, found[1], found.peer == 1)
  if #found == 1 and not found.inner then return words end
  words = {}
  for i, frame in ipairs(found) do
    words[i] = summary(session, frame, found.peer == i)
    local inner = found.inner and found.inner[i]
    if inner and #inner.found > 0 then words[i] = words[i] .. " (" .. words_for(session, inner.found) .. ")" end
  end
  return concat(words, ", ")
end

-- Octets of a tunnel inside a GSSAPI frame. What their dissector asks for comes in another such frame, if at all: TCP,
-- which would look for it behind this one, must not hear of it.
local function enclosed_tunnel(session, side, inner, plain, pinfo, tree, number)
  local offset, length = pinfo.desegment_offset, pinfo.desegment_len
  local sent, received = session.sent, session.received
  pinfo.desegment_len = 0
  tunnel(session, side, plain, inner.tunnel - 1, pinfo, tree, number, inner.early)
  if pinfo.desegment_len ~= 0 and not visited then
    local octets = #inner.octets - inner.tunnel + 1
    if is_client(session, side) then session.sent = sent + octets else session.received = received + octets end
    local nested = session.payload and session.payload.session
    if nested then nested.lost = nested.lost or "gap" end
  end
  pinfo.desegment_offset, pinfo.desegment_len = offset, length
end

local function present(session, side, found, tvb, pinfo, tree, number, key)
  if #found == 0 then return end
  local all = wanted(tree)
  for i = 1, #found do show_frame(session, side, found, i, tvb, tree, all) end
  set_info(pinfo, number, key, session, words_for(session, found))
  if not found.inner then return end
  for place = 1, #found do
    local inner = found.inner[place]
    if inner and #inner.octets > 0 then
      local plain = ByteArray.new(inner.octets, true):tvb("GSSAPI plaintext")
      for i = 1, #inner.found do show_frame(session, side, inner.found, i, plain, tree, all) end
      if inner.tunnel then enclosed_tunnel(session, side, inner, plain, pinfo, tree, number) end
    end
  end
end

local function ask_for_more(pinfo, at)
  pinfo.desegment_offset = at
  pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
end

-- After the frames of a segment: octets that need others to be a frame, or the tunnel's first.
local function go_on(record, session, side, tvb, pinfo, tree, number, has_frames)
  if type(record) == "string" then return end
  if record.more then ask_for_more(pinfo, record.more) end
  if record.tunnel then
    if has_frames then
      pinfo.cols.info:append(" | ")
      pinfo.cols.info:fence()
    end
    tunnel(session, side, tvb, record.tunnel, pinfo, tree, number, record.early)
  end
end

local function replay(session, side, tvb, pinfo, tree, number)
  if session.foreign then return false end
  local key = key_of(number, offset_of(tvb), session.depth or 0)
  local record = records[key]
  if not record then
    local since = session.early_noted or (session.open and (session.peer_frame or session.reply_frame))
    if since and number >= since then
      tunnel(session, side, tvb, 0, pinfo, tree, number, number < (session.reply_frame or number))
    end
    return true
  end
  local found = unpack_record(record, octets_of(tvb))
  present(session, side, found, tvb, pinfo, tree, number, key)
  go_on(record, session, side, tvb, pinfo, tree, number, #found > 0)
  return true
end

-- Where the octets of this call begin in their side's stream (from 1, relative to TCP's start), and how many octets of
-- the handshake are missing before them. What TCP put together from several packets (it then lies at offset 0, and
-- tcp.seq is that of one of them) continues where the last call stopped; so does what follows it in the same packet.
local PLACE = { [0] = "place0", [1] = "place1" }

local function place_of(session, side, number, tvb)
  local due = session[PLACE[side]]
  if session.parent or (last_place.session == session and last_place.number == number)
    or (offset_of(tvb) == 0 and due) then
    return due or 1, 0
  end
  last_place.session, last_place.number = session, number
  local seq = innermost(tcp_seq)
  if not seq then return due or 1, 0 end
  due = due or (relative_sequence_numbers and 1 or seq)
  local gap = (seq - due) % 4294967296
  if gap > 0 and gap < 2147483648 then return seq, gap end
  if side == session.client or session.request_frame or not session.method then return seq, 0 end
  -- The proxy acknowledges more than the client was seen to send: a request, or what comes before one, is lost.
  local acknowledged, sent = innermost(tcp_ack), session[PLACE[1 - side]]
  gap = acknowledged and sent and (acknowledged - sent) % 4294967296 or 0
  return seq, gap < 2147483648 and gap or 0
end

-- The frame that is due next, if octets are exactly that and nothing about it is odd: then nothing can be missing
-- before them. (Reading a sequence number costs more than the frame.)
local function in_step(session, side, octets)
  if session.client == nil then return nil end
  local kind = expected(session, side, octets, 1)
  local due = VERSION_DUE[kind]
  if not due or byte(octets) ~= due then return nil end
  if (kind == "auth-reply" and not session.auth_frame) or (kind == "reply" and not session.request_frame) then
    return nil
  end
  local frame = decode(kind, octets)
  if frame and frame.size == #octets and not frame.odd then return frame end
  return nil
end

-- One call: the octets of one side in order. Returns whether they are SOCKS.
function dissect_octets(session, side, tvb, pinfo, tree)
  local number = pinfo.number
  if visited then return replay(session, side, tvb, pinfo, tree, number) end
  if session.foreign then return false end
  if session.open and not session.sealed then
    return tunnel(session, side, tvb, 0, pinfo, tree, number, false)
  end
  local octets = octets_of(tvb)
  local key = key_of(number, offset_of(tvb), session.depth or 0)
  local waiting = session.waiting and session.waiting[side]
  if waiting then session.waiting[side] = nil end
  local ready, place, missing
  if not waiting then ready = in_step(session, side, octets) end
  if ready then
    place, missing = session[PLACE[side]] or 1, 0
  else
    place, missing = place_of(session, side, number, tvb)
  end
  if missing > 0 and not session.failed and not (side == session.client and session.request_frame) then
    session.lost = session.lost or "gap"
  end
  -- Octets that TCP itself held back, because they came out of order, are split without our having asked.
  local split = waiting or (not session.parent and offset_of(tvb) == 0 and (innermost(tcp_len) or #octets) < #octets)
  local found, stopped, at = advance(session, side, octets, number, pinfo.rel_ts, split, false, ready)
  if stopped == "foreign" then
    session.foreign = true
    return false
  end
  session[PLACE[side]] = (place + at - 1) % 4294967296
  if not session.id then
    remember(session)
    if session.midstream and found[1] then
      found.notes = found.notes or {}
      found.notes[1] = found.notes[1] or {}
      note(found.notes[1], "midstream", "the connection's start is not in the capture")
    end
  end
  if missing > 0 and found[1] and found[1].kind == "lost" then
    found.notes = found.notes or {}
    found.notes[1] = found.notes[1] or {}
    note(found.notes[1], "handshake-gap", format("%d octets of the handshake are not in the capture", missing))
  end
  local record = pack(found)
  if stopped == "more" or stopped == "tunnel" then
    if type(record) == "string" then record = { record, 1 } end
    record[stopped] = at - 1
  end
  records[key] = record
  if stopped == "more" then
    session.waiting = session.waiting or {}
    session.waiting[side] = true
  elseif stopped == "tunnel" then
    record.early = not session.open or nil
  end
  present(session, side, found, tvb, pinfo, tree, number, key)
  go_on(record, session, side, tvb, pinfo, tree, number, #found > 0)
  return true
end

-- A protocol of another kind on a SOCKS port: pointed out once, without claiming the packet.
local function point_out_foreign(session, tvb, pinfo, tree)
  if not session.trusted or session.pointed_out ~= pinfo.number then return end
  local name = foreign_name(octets_of(tvb, 0, math.min(length_of(tvb), 16)), 1) or "unknown protocol"
  tree:add_proto_expert_info(E["not-socks-on-socks-port"], name .. " on a SOCKS port")
end

-- Where the port table named us, but a conversation that we know is open, its addresses and ports are in use again.
local function used_again(tvb, pinfo)
  local matched = pinfo.match_uint
  if matched ~= pinfo.src_port and matched ~= pinfo.dst_port then return false end
  return looks_like_greeting(octets_of(tvb, 0, math.min(length_of(tvb), 300)), 1, false)
end

local function dissect_tcp(tvb, pinfo, tree, trusted)
  count_leaks()
  if not add then use_methods(tvb, tree) end
  visited = pinfo.visited
  local stream = innermost(tcp_stream)
  local session, source, destination = lookup(pinfo, stream)
  if session and not stream and not visited and used_again(tvb, pinfo) then session = nil end
  local fresh = not session
  if fresh then
    if visited then return false end
    trusted = trusted or is_proxy_port(pinfo.src_port) or is_proxy_port(pinfo.dst_port)
    session = new_session(pinfo, trusted, source, destination, stream)
    local completeness = innermost(tcp_completeness)
    if completeness and completeness % 4 == 0 then session.midstream = true end
  end
  if dissect_octets(session, side_of(session, pinfo), tvb, pinfo, tree) then
    if fresh then pinfo.conversation = P end
    return true
  end
  if fresh and session.trusted then
    -- Remembered, so that no later octets of a foreign connection are taken for a greeting.
    session.pointed_out = pinfo.number
    remember(session)
  end
  point_out_foreign(session, tvb, pinfo, tree)
  return false
end

-- On a port that nobody named: the first octets of a direction, and only those.
local function find_anywhere(tvb, pinfo, tree)
  local first = byte(tvb:raw(0, 1))
  if (first ~= 5 and first ~= 4) or not P.prefs.heuristic then return false end
  local seq = innermost(tcp_seq)
  if seq and relative_sequence_numbers and seq ~= 1 and not lookup(pinfo, innermost(tcp_stream)) then return false end
  return dissect_tcp(tvb, pinfo, tree, false)
end

---------------------------------------------------------------------------------------------------------------------
-- UDP
---------------------------------------------------------------------------------------------------------------------

-- The association of a datagram: of those on its port the latest that was open by then.
local function find_association(list, address, number)
  for i = #list, 1, -1 do
    local association = list[i]
    if association.first <= number and (association.address == nil or association.address == address) then
      return association
    end
  end
  return nil
end

-- Fragments of one direction on their way to being one datagram (RFC 1928 s7); returns its octets when it is whole.
local function put_together(association, outward, fragment, octets, now)
  local position = fragment % 128
  local queue = association.queues[outward]
  if not queue then
    queue = { highest = 0, began = 0, size = 0 }
    association.queues[outward] = queue
  end
  if position <= queue.highest or now - queue.began > FRAGMENT_LIFE then queue.highest = 0 end
  if position ~= queue.highest + 1 or queue.size + #octets > MAX_FRAGMENTED then
    queue.highest, queue.size, queue.parts = 0, 0, nil
    if position ~= 1 then return nil end
  end
  if position == 1 then queue.began, queue.parts, queue.size = now, {}, 0 end
  queue.highest = position
  queue.parts[position] = octets
  queue.size = queue.size + #octets
  if fragment < 128 then return nil end
  queue.highest = 0
  return concat(queue.parts)
end

-- Anomalies of an association are noted once each: a stream of datagrams repeats what is wrong with it.
local function note_once(association, list, code, message)
  if association[code] then return end
  association[code] = true
  list[#list + 1] = code
  list[#list + 1] = message
end

local function first_look(tvb, pinfo, number)
  local source, destination = tostring(pinfo.src), tostring(pinfo.dst)
  local there = relays[pinfo.dst_port]
  local association = there and find_association(there, destination, number)
  local outward = association ~= nil
  if not outward then
    there = relays[pinfo.src_port]
    association = there and find_association(there, source, number)
    if not association then return nil end
  end
  local party, port = outward and source or destination, outward and pinfo.src_port or pinfo.dst_port
  if association.remotes[party .. ":" .. port] then return nil end -- the proxy's leg to the destination: no header
  local octets = octets_of(tvb)
  local frame = decoders.udp(octets)
  local list = {}
  local look = { association = association, outward = outward, odd = list }
  if party ~= association.client or (outward and association.client_port ~= 0 and association.client_port ~= port) then
    if not outward or not frame or frame.reserved ~= 0 or frame.odd then return nil end
    look.stranger = true
    if not association.stranger then association.stranger = {} end
    if not association.stranger[party .. ":" .. port] then
      association.stranger[party .. ":" .. port] = true
      list[1] = "udp-unassociated"
      list[2] = format("%s:%d sends to the relay, which is another client's", party, port)
    end
    return look
  end
  if not frame then
    if frame == nil or not outward then return nil end
    note_once(association, list, "unknown-address-type", format("no address type 0x%02x is known", byte(octets, 4)))
    look.bad = true
    return look
  end
  if frame.reserved ~= 0 then
    note_once(association, list, "reserved-nonzero", format("RSV of the UDP header is 0x%04x", frame.reserved))
  end
  if frame.host_type == DOMAIN then
    check_domain(frame, frame.raw_host)
    for i = 1, #(frame.odd or {}), 2 do note_once(association, list, frame.odd[i], frame.odd[i + 1]) end
  else
    association.remotes[frame.host .. ":" .. frame.port] = true
  end
  local size = #octets - frame.size
  if frame.fragment ~= 0 then
    note_once(association, list, "udp-fragmented",
      format("datagram %s:%d is sent in fragments", frame.host, frame.port))
    look.whole = put_together(association, outward, frame.fragment, sub(octets, frame.size + 1), pinfo.rel_ts)
    size = look.whole and #look.whole or 0
  end
  local session = association.session
  if outward then session.sent = session.sent + size else session.received = session.received + size end
  return look
end

local function show_datagram(look, frame, tvb, tree)
  local session = look.association.session
  local item = add(tree, P, tvb(0, frame.size))
  set_text(item, format("SOCKS5, UDP %s %s, %d octets", look.outward and "to" or "from",
    endpoint_text(frame.host_type, frame.host, frame.port), length_of(tvb) - frame.size))
  set_generated(add(item, F.type, "udp"))
  set_generated(add(item, F.sender, look.outward and "client" or "proxy"))
  add(item, F.udp_reserved, tvb(0, 2), frame.reserved)
  local fragment = add(item, F.udp_fragment, tvb(2, 1), frame.fragment)
  if frame.fragment ~= 0 then
    add(fragment, F.udp_position, tvb(2, 1))
    add(fragment, F.udp_last, tvb(2, 1))
  end
  show_address(item, tvb, 0, frame, UDP)
  set_generated(add(item, DST.host, frame.host))
  set_generated(add(item, DST.port, frame.port))
  set_generated(add(item, F.udp_data_length, length_of(tvb) - frame.size))
  set_generated(add(item, F.request_in, session.request_frame))
  add_anomalies(item, look.odd)
end

local function dissect_datagram(tvb, pinfo, tree)
  if pinfo.in_error_pkt then return 0 end
  count_leaks()
  if not add then use_methods(tvb, tree) end
  local number = pinfo.number
  local look
  if pinfo.visited then
    look = datagrams[number]
  else
    look = first_look(tvb, pinfo, number)
    datagrams[number] = look
  end
  if not look then return 0 end
  pinfo.cols.protocol:set("SOCKS5")
  local frame = decoders.udp(octets_of(tvb))
  if not frame or look.stranger then
    pinfo.cols.info:set(look.stranger and "UDP from a stranger to the association" or "UDP, unreadable header")
    local item = add(tree, P, tvb)
    set_generated(add(item, F.request_in, look.association.session.request_frame))
    add(item, F.data, tvb(0))
    add_anomalies(item, look.odd)
    return length_of(tvb)
  end
  if wanted(tree) then show_datagram(look, frame, tvb, tree) end
  local size = length_of(tvb) - frame.size
  pinfo.cols.info:set(format("UDP %s %s, %d octets%s, ", look.outward and "to" or "from",
    endpoint_text(frame.host_type, frame.host, frame.port), size,
    frame.fragment ~= 0 and format(", fragment %d", frame.fragment % 128) or ""))
  pinfo.cols.info:fence()
  local payload
  if frame.fragment ~= 0 then
    payload = look.whole and #look.whole > 0 and ByteArray.new(look.whole, true):tvb("Reassembled datagram")
  elseif size > 0 then
    payload = tvb(frame.size):tvb()
  end
  if payload and dissect_payload and leaks < MAX_LEAKS and names_port(udp_table, frame.port) then
    call_by_port(udp_table, frame.port, look.outward, payload, pinfo, tree)
  elseif payload and tree.visible then
    Dissector.get("data"):call(payload, pinfo, tree)
  end
  return length_of(tvb)
end

---------------------------------------------------------------------------------------------------------------------
-- The conversation table
---------------------------------------------------------------------------------------------------------------------

local function outcome_of(session)
  if session.lost == "malformed" then return "malformed" end
  if session.failed == "refused" then return "no-acceptable-method" end
  if session.failed == "rejected" then
    local code = session.peer_code or session.code
    return "rejected: " .. (session.socks4 and socks4_reply_name(code) or reply_name(code))
  end
  if session.failed then return session.failed end
  if session.open or (session.resolving and session.code) then return "succeeded" end
  return "incomplete"
end

local TITLES = {
  "Id", "Protocol", "Client", "Proxy", "Command", "Destination", "Outcome", "Start", "Reply", "Sent", "Received",
}
local FIRST_NUMBER = 8 -- from this column on, to the right

local function row_of(session)
  local client_port, proxy_port = session.port0, session.port1
  if session.client == 1 then client_port, proxy_port = proxy_port, client_port end
  return {
    session.id .. (session.parent and " in " .. session.parent.id or ""),
    protocol_of(session),
    client_address(session) .. ":" .. client_port,
    proxy_address(session) .. ":" .. proxy_port,
    session.command and command_name(session.command) or "-",
    target_of(session) or (session.encrypted and "(encrypted)" or "-"),
    outcome_of(session),
    format("%.6f", session.start),
    session.reply_after and format("%.6f", session.reply_after) or "-",
    tostring(session.sent),
    tostring(session.received),
  }
end

local function conversation_table()
  local rows, widths = { TITLES }, {}
  for _, session in ipairs(sessions) do
    if session.client and (session.greeting_frame or session.request_frame) and not session.foreign then
      rows[#rows + 1] = row_of(session)
    end
  end
  for _, row in ipairs(rows) do
    for i, value in ipairs(row) do widths[i] = math.max(widths[i] or 0, #value) end
  end
  local lines = {}
  for n, row in ipairs(rows) do
    local cells = {}
    for i, value in ipairs(row) do
      local padding = rep(" ", widths[i] - #value)
      cells[i] = i >= FIRST_NUMBER and padding .. value or value .. padding
    end
    lines[n] = concat(cells, "  ")
  end
  lines[#lines + 1] = format("%d conversations", #rows - 1)
  return concat(lines, "\n") .. "\n"
end

register_stat_cmd_arg("socks5,conversations", function()
  local tap = Listener.new("frame") -- only to be called when the file has been read
  function tap.packet() end
  function tap.draw() print(conversation_table()) end
  function tap.reset() end
end)

if gui_enabled() then
  register_menu("SOCKS5 Conversations", function()
    local window = TextWindow.new("SOCKS5 Conversations")
    local tap = Listener.new("frame")
    window:set_atclose(function() tap:remove() end)
    function tap.packet() end
    function tap.draw() window:set(conversation_table()) end
    function tap.reset() window:clear() end
    retap_packets()
  end, MENU_STAT_UNSORTED)
end

-- Which names a client resolved itself, for `local-dns`. DNS that came through a proxy is none of that.
do
  local tap = Listener.new("dns")
  local function learn(client, name, number, ...)
    for i = 1, select("#", ...) do
      local address = tostring((select(i, ...)))
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
  end
  function tap.packet(pinfo)
    if not dns_a() and not dns_aaaa() then return end
    if datagrams[pinfo.number] or innermost(tcp_stream) then return end
    local client = tostring(pinfo.dst)
    local there = relays[pinfo.dst_port]
    if there and find_association(there, client, pinfo.number) then return end -- the relay is on the client's machine
    local name = dns_name()
    name = name and name.value or "?"
    learn(client, name, pinfo.number, dns_a())
    learn(client, name, pinfo.number, dns_aaaa())
  end
  function tap.reset() end
  function tap.draw() end
end

---------------------------------------------------------------------------------------------------------------------
-- Registration
---------------------------------------------------------------------------------------------------------------------

function P.dissector(tvb, pinfo, tree)
  if pinfo.port_type == UDP_PORT_TYPE then return dissect_datagram(tvb, pinfo, tree) end
  return dissect_tcp(tvb, pinfo, tree, true) and length_of(tvb) or 0
end

read_preferences()
local ports = P.prefs.ports
if ports ~= "" then tcp_table:add(ports, P) end
read_ports(ports)

function P.prefs_changed()
  read_preferences()
  if P.prefs.ports == ports then return end
  if ports ~= "" then tcp_table:remove(ports, P) end
  ports = P.prefs.ports
  if ports ~= "" then tcp_table:add(ports, P) end
  read_ports(ports)
end

-- Called when a file is opened and when it is closed. The built-in socks dissector puts itself back on a port that
-- the user set for it; the last to register wins, so this registers again.
function P.init()
  forget_all()
  read_preferences()
  our_dissector = Dissector.get("socks5")
  if ports ~= "" then tcp_table:add(ports, P) end
  local ok, relative = pcall(get_preference, "tcp.relative_sequence_numbers")
  relative_sequence_numbers = not ok or relative ~= false
end

-- Nearly all that a packet makes here is garbage when it is done, but the conversations stay, and the collector walks
-- over them in each of its cycles. Lua's own pause of 200 % means twice as many cycles, and 5 % more time.
collectgarbage("setpause", 400)

forget_all()
tcp_table:add_for_decode_as(P)
udp_table:add_for_decode_as(P)
P:register_heuristic("tcp", find_anywhere)
-- A relay's port is put into the port table, where a lower port that somebody else registered wins; with Wireshark's
-- preference "udp.try_heuristic_first" this one is asked before.
P:register_heuristic("udp", function(tvb, pinfo, tree)
  return next(relays) ~= nil and dissect_datagram(tvb, pinfo, tree) > 0
end)
