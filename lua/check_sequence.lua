-- The CSeq numbers of a client grow in each dialog (RFC 3261 §12.2.2). An edge asks before it answers a request in a dialog, or
-- one that begins a dialog. A dialog in which nothing came for `ttl_ms` may begin with any number: nothing that was sent before
-- is under way.
--
-- KEYS:
--   sequence  imc:{S}:cseq:DIALOG  string
--
-- ARGV:
--   number  CSeq of the request
--   ttl_ms  how long the highest number is kept
--
-- Returns:
--   lower  a request with a higher number came before
--   next   none did; the same number is that of a retransmission
local sequence = KEYS[1]
local number, ttl_ms = unpack(ARGV)
number, ttl_ms = tonumber(number), math.max(1, tonumber(ttl_ms))
local known = tonumber(redis.call("GET", sequence) or "")
if known and number < known then
    return "lower"
end
redis.call("SET", sequence, string.format("%d", number), "PX", string.format("%d", ttl_ms))
return "next"
